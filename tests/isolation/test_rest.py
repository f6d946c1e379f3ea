"""Isolation: a REST session is identified by key, agent and session id together."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from cmw_agent.identity import channel_principals
from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import connected
from tests.harness import canary, served, settings_for
from tests.isolation.storm import canaries
from tests.isolation.toolhouse import app_with_tools
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import BANK, SHOP, Client, Reply, client
from tests.service import wait_until

ROOT = Path(__file__).parents[2]
NEXT = "n" * 32  # a second key of the shop's
SITE, BANK_SITE = "https://shop.example", "https://bank.example"
VAULT = "v" * 32  # a second key of the bank's
KEYS = f"shop:{SHOP}:{SITE},shop:{NEXT},bank:{BANK}:{BANK_SITE},bank:{VAULT}"
AGENTS = f"""
[[agents]]
id = "assistant"
allowed_origins = ["{SITE}", "{BANK_SITE}"]
[[agents]]
id = "clerk"
name = "Clerk"
allowed_origins = ["{SITE}"]
"""
SESSIONS = "/api/chat/assistant/sessions"
MESSAGE = "/api/chat/assistant/message"

shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("rest")
    (folder / "agents.toml").write_text(AGENTS, encoding="utf-8")
    async with app_with_model(folder, api_keys=KEYS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def shop(here: AppWithModel) -> AsyncIterator[Client]:
    async with client(here.url, origin=SITE) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def bank(here: AppWithModel) -> AsyncIterator[Client]:
    async with client(here.url, BANK, origin=BANK_SITE) as made:
        yield made


def plain(reply: Reply) -> tuple[int, bytes, set[str]]:
    """Return all of a reply that could tell two apart, but for what is new each time."""
    changing = {"Date", "X-Request-ID"}
    return (
        reply.status,
        reply.body,
        {f"{k}: {v}" for k, v in reply.headers.items()}
        - {f"{k}: {reply.headers.get(k)}" for k in changing},
    )


@shared
async def test_the_same_id_under_another_key_or_agent_is_another_session(
    here: AppWithModel, shop: Client, bank: Client
) -> None:
    async with client(here.url, agent="clerk", origin=SITE) as clerk:
        said = [canary() for _ in range(3)]
        everybody = (shop, bank, clerk)
        for each, text in zip(everybody, said, strict=True):
            reply = await each.say(text, "the-same")
            assert reply.json["response"] == f"You said: {text}"
        for each, text in zip(everybody, said, strict=True):
            history = await each.at("the-same")
            assert [m["content"] for m in history.json["messages"]] == [text, f"You said: {text}"]
            assert canaries(each.received.decode()) == {text}
    owners = {
        row["owner_id"] for row in here.rows()["agent_sessions"] if row["external_id"] == "the-same"
    }
    assert len(owners) == 3
    for text in said:
        (request,) = here.endpoint.matching(text)
        assert canaries(str(request.body)) == {text}


@shared
async def test_two_keys_of_one_name_are_one_holder(here: AppWithModel, shop: Client) -> None:
    text = canary()
    await shop.say(text, "changed-key")
    async with client(here.url, NEXT) as later:
        history = (await later.at("changed-key")).json
        assert history["messages"][0]["content"] == text


PATHS = ("", "?limit=1", "?versions=all", "/export", "/export?format=json", "/approvals")


@shared
async def test_a_stranger_s_key_reads_nothing_and_guesses_nothing(
    here: AppWithModel, shop: Client, bank: Client
) -> None:
    secret = canary()
    await shop.say(secret, "mine")
    mine = (await shop.at("mine")).json
    before = here.rows()
    for path in PATHS:
        wanted = plain(await bank.at("never-there", path))
        assert wanted[0] == 404
        for guess in ("mine", "MINE", "mine%20", "%20mine", "mine%00", "mine'", "mi%25", "*",
                      "x" * 200, "%F0%9F%92%AC", mine["conversation_id"], "..%252f"):  # fmt: skip
            assert plain(await bank.at(guess, path)) == wanted, (guess, path)
    asked = f"?conversation={mine['conversation_id']}"
    await bank.say("Hello", "own")
    for rest in ("", "/export"):
        assert plain(await bank.at("own", rest + asked)) == plain(
            await bank.at("own", rest + "?conversation=never-there")
        )
    for rest, method in (("/end", "POST"), ("", "DELETE")):
        wanted = plain(await bank.at("never-there", rest, method))
        assert plain(await bank.at("mine", rest, method)) == wanted
    renamed = {"title": "his", "archived": True}
    wanted = plain(await bank.ask("PATCH", f"{SESSIONS}/never-there", renamed))
    assert wanted[0] == 404
    assert plain(await bank.ask("PATCH", f"{SESSIONS}/mine", renamed)) == wanted
    settled = {"call": "call_1", "answer": "approved"}
    wanted = plain(await bank.ask("POST", f"{SESSIONS}/never-there/approvals", settled))
    assert plain(await bank.ask("POST", f"{SESSIONS}/mine/approvals", settled)) == wanted
    assert secret.encode() not in bank.received
    own = {row["owner_id"] for row in here.rows()["agent_sessions"] if row["external_id"] == "own"}
    assert here.rows(but=own) == before
    assert (await shop.at("mine")).json["messages"][0]["content"] == secret


@shared
async def test_a_session_is_renamed_pinned_filed_and_archived(
    here: AppWithModel, shop: Client
) -> None:
    await shop.say("Hello", "in-order")
    path = f"{SESSIONS}/in-order"
    changed = await shop.ask("PATCH", path, {"title": "Mine", "pinned": True, "folder": "Work"})
    assert changed.status == 200
    read = (await shop.at("in-order")).json
    for item in (changed.json, read):
        assert [item[name] for name in ("title", "pinned", "archived", "folder")] == [
            "Mine", True, False, "Work",
        ]  # fmt: skip
    again = (await shop.ask("PATCH", path, {"archived": True, "folder": ""})).json
    assert [again[name] for name in ("title", "pinned", "archived", "folder")] == [
        "Mine", True, True, None,
    ]  # fmt: skip
    for wrong in ({"pinned": "yes"}, {"titel": "x"}, {"title": " "}, {"folder": "a\0b"}):
        assert (await shop.ask("PATCH", path, wrong)).status == 422, wrong
    assert (await shop.at("in-order")).json["title"] == "Mine"


@shared
async def test_the_list_shows_what_came_through_the_key_to_the_agent(
    here: AppWithModel,
) -> None:
    async with client(here.url, NEXT) as shop, client(here.url, VAULT) as bank:
        await _each_lists_its_own(shop, bank)


async def _each_lists_its_own(shop: Client, bank: Client) -> None:
    await shop.say("Hello", "shop-1")
    await bank.say("Hello", "bank-1")
    path = "/api/chat/assistant/sessions?limit=200"

    async def listed(each: Client) -> set[str]:
        return {item["session_id"] for item in (await each.ask("GET", path)).json["sessions"]}

    assert "shop-1" in await listed(shop)
    assert "bank-1" in await listed(bank)
    assert not await listed(bank) & {"shop-1", "mine", "changed-key"}
    assert "bank-1" not in await listed(shop)
    # A cursor of another's list leads nowhere but into one's own.
    cursor = (await shop.ask("GET", "/api/chat/assistant/sessions?limit=1")).json["next"]
    reply = await bank.ask("GET", f"{path}&before={cursor}")
    assert reply.status == 200
    assert "shop-1" not in str(reply.json)


@shared
async def test_a_key_that_stands_in_pages_reaches_the_sessions_that_one_knows_and_no_more(
    shop: Client,
) -> None:
    secret, path = canary(), "/api/chat/assistant/sessions"
    assert (await shop.say(secret, "of-the-page")).status == 200
    refused = await shop.ask("GET", path)
    assert (refused.status, refused.json["status"]) == (403, 403)
    nowhere = await shop.ask("GET", "/whatsapp/nowhere")
    for closed in (
        await shop.ask("POST", "/whatsapp/send", {"to": "491511234567", "message": "x"}),
        await shop.ask("GET", "/whatsapp/status"),
    ):
        assert (closed.status, closed.body) == (404, nowhere.body)
    assert secret.encode() not in refused.body
    own = await shop.ask("GET", f"{path}/of-the-page")
    assert own.json["messages"][-2]["content"] == secret
    async with client(shop.url) as program:  # who has read the page, with a program
        for each in (
            await program.say(secret, "of-the-page"),
            await program.ask("GET", f"{path}/of-the-page"),
            await program.ask("GET", path),
        ):
            assert each.status == 403
            assert secret.encode() not in each.body
    async with client(shop.url, NEXT) as secretly:
        listed = (await secretly.ask("GET", path)).json["sessions"]
    assert "of-the-page" in {item["session_id"] for item in listed}


async def test_messages_with_a_key_that_stands_in_pages_count_for_their_addresses(
    tmp_path: Path,
) -> None:
    asked = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}

    async def statuses(each: Client) -> list[int]:
        replies = [await each.say("Hello", name) for name in ("one", "two")]
        replies += [
            await each.ask("POST", "/v1/chat/completions", asked, **headers)
            for headers in ({}, {"X_Session_Id": "three"})
        ]
        return [reply.status for reply in replies]

    (tmp_path / "agents.toml").write_text(AGENTS, encoding="utf-8")
    async with (
        app_with_model(tmp_path, api_keys=KEYS, turns_per_address=1) as here,
        client(here.url, SHOP, origin=SITE) as public,
        client(here.url, NEXT) as secret,
    ):
        assert await statuses(secret) == [200] * 4
        assert await statuses(public) == [200, 429, 404, 404]


@shared
async def test_anothers_idempotency_key_repeats_nothing(here: AppWithModel) -> None:
    async with client(here.url, NEXT) as shop, client(here.url, VAULT) as bank:
        mine, hers = canary(), canary()
        await shop.say(mine, "same", Idempotency_Key="same")
        reply = await bank.say(hers, "same", Idempotency_Key="same")
        assert reply.json["response"] == f"You said: {hers}"
        nameless = await shop.say(mine, Idempotency_Key="nameless")
        other = await bank.say(hers, Idempotency_Key="nameless")
        assert nameless.json["session_id"] != other.json["session_id"]
        assert mine.encode() not in bank.received


@shared
async def test_visitors_who_name_their_requests_alike_share_no_session(here: AppWithModel) -> None:
    secret = canary()
    async with client(here.url, origin=SITE) as one, client(here.url, origin=SITE) as other:
        before = here.rows()
        for visitor in (one, other):
            for text in (secret, "/help", "/new"):
                refused = await visitor.say(text, Idempotency_Key="1")
                assert refused.status == 422
                assert refused.json["detail"] == "Send a session_id with an Idempotency-Key."
        assert here.rows() == before
        assert not here.endpoint.matching(secret)
        assert (await one.say(secret, "of-one", Idempotency_Key="1")).status == 200
        nameless = [(await visitor.say("Hello")).json["session_id"] for visitor in (one, other)]
        assert len(set(nameless)) == 2
        assert secret.encode() not in other.received


@shared
async def test_who_knows_how_a_request_is_named_cannot_work_out_its_session(
    here: AppWithModel,
) -> None:
    async with client(here.url, NEXT) as shop, client(here.url, origin=SITE) as visitor:
        made = (await shop.say(canary(), Idempotency_Key="order-1")).json["session_id"]
        for parts in (("cmw.session", "shop", "assistant", "order-1"), ("order-1",)):
            guess = sha256("\0".join(parts).encode()).hexdigest()[:32]
            assert guess != made
            assert (await visitor.at(guess)).status == 404


NO_KEYS = (
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {SHOP[:-1]}",
    f"Bearer {SHOP}s",
    f"Bearer {SHOP.upper()}",
    f"Basic {SHOP}",
    SHOP,
)


@shared
async def test_without_a_known_key_everything_is_refused_alike(here: AppWithModel) -> None:
    routes = (
        ("POST", MESSAGE),
        ("GET", "/api/chat/assistant/sessions"),
        ("POST", "/api/chat/assistant/sessions"),
        ("GET", "/api/chat/assistant/sessions/mine"),
        ("GET", "/api/chat/nobody/sessions/mine"),
        ("PATCH", "/api/chat/assistant/sessions/mine"),
        ("DELETE", "/api/chat/assistant/sessions/mine"),
        ("POST", "/api/chat/assistant/sessions/mine/end"),
        ("GET", "/api/chat/assistant/sessions/mine/export"),
        ("GET", "/api/chat/assistant/sessions/mine/approvals"),
        ("POST", "/api/chat/assistant/sessions/mine/approvals"),
        ("POST", "/api/chat/assistant/sessions/mine/messages/1/retry"),
        ("POST", "/api/chat/assistant/sessions/mine/messages/1/edit"),
        ("POST", "/api/chat/assistant/sessions/mine/messages/1/select"),
        ("POST", "/api/chat/assistant/sessions/mine/messages/1/fork"),
        ("POST", "/api/chat/assistant/sessions/mine/messages/1/rate"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/assistant"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/audio/transcriptions"),
    )
    before = here.rows()
    async with client(here.url, None) as nobody:
        await nobody.ask("GET", "/")  # the page's cookie plays no part
        for method, path in routes:
            for given in NO_KEYS:
                headers = {} if given is None else {"Authorization": given}
                reply = await nobody.ask(method, path, **headers)
                assert reply.status == 401, (method, path, given)
                assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert here.rows() == before


@shared
async def test_a_page_may_use_a_key_where_its_origin_stands_beside_it(
    here: AppWithModel, shop: Client, bank: Client
) -> None:
    allowed = await shop.say("Hello", "from-page")
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == SITE
    assert allowed.headers["Vary"] == "Origin"
    missing = await shop.ask("GET", "/api/chat/assistant/sessions/none")
    assert (missing.status, missing.headers["Access-Control-Allow-Origin"]) == (404, SITE)
    for each in (bank, shop):
        for origin in (
            "https://evil.example",
            "null",
            "https://shop.example.evil",
            "http://shop.example",
            here.url,  # of /api/docs, where one's own key is tried out and not a page's
        ):
            refused = await each.say("Hello", "from-page", Origin=origin)
            assert refused.status == 403
            assert "Access-Control-Allow-Origin" not in refused.headers
    assert (await bank.say("Hello", "from-page", Origin=SITE)).status == 403
    async with client(here.url) as program:
        assert (await program.say("Hello", "from-page")).status == 403
    async with client(here.url, NEXT) as later:  # an origin stands beside a key, not a name
        assert (await later.say("Hello", "from-page", Origin=SITE)).status == 403
        answered = await later.say("Hello", "from-page", Origin=here.url)  # /api/docs
        assert answered.status == 200
        assert answered.headers.get("Access-Control-Allow-Origin") is None


@shared
async def test_a_browser_is_told_which_origins_may_ask(here: AppWithModel) -> None:
    async with client(here.url, None) as browser:
        for path in (MESSAGE, "/api/chat/assistant/sessions/a", "/v1/chat/completions"):
            told = await browser.ask("OPTIONS", path, Origin=SITE)
            assert (told.status, told.body) == (204, b"")
            assert told.headers["Access-Control-Allow-Origin"] == SITE
            assert "Idempotency-Key" in told.headers["Access-Control-Allow-Headers"]
            assert "Access-Control-Allow-Credentials" not in told.headers
            for headers in ({}, {"Origin": "https://evil.example"}):
                told = await browser.ask("OPTIONS", path, **headers)
                assert told.status == 204
                assert not [name for name in told.headers if name.startswith("Access-Control")]


@shared
@pytest.mark.slow
async def test_two_hundred_sessions_at_once_hear_nothing_of_each_other(here: AppWithModel) -> None:
    async def talk(each: Client, session_id: str, n: int) -> set[str]:
        said = [f"note {canary()} please" for _ in range(2)]
        for text in said:
            reply = await each.say(
                text, session_id, **({"Accept": "text/event-stream"} if n % 2 else {})
            )
            told = reply.events[-1][1] if n % 2 else reply.json
            assert told["response"] == f"You said: {text}"
        history = await each.at(session_id)
        assert [m["content"] for m in history.json["messages"][::2]] == said
        assert canaries(each.received.decode()) == canaries(" ".join(said))
        return canaries(" ".join(said))

    async with client(here.url, NEXT) as first, client(here.url, VAULT) as second:
        crowd = []
        for n in range(200):
            by, agent = (first, second)[n % 2], ("assistant", "clerk")[n // 2 % 2]
            mine = Client(by.url, by.key, by.http, agent)
            crowd.append(talk(mine, f"crowd-{n // 4}", n // 4))  # each id four times
        groups = await asyncio.gather(*crowd)
    owner = {found: n for n, group in enumerate(groups) for found in group}
    assert len(owner) == 400
    rows: dict[str, set[int]] = {}
    for row in here.rows()["agent_messages"]:
        found = {owner[each] for each in canaries(row["content"]) if each in owner}
        rows.setdefault(row["owner_id"], set()).update(found)
    assert all(len(users) <= 1 for users in rows.values())
    for request in here.endpoint.requests:
        users = {owner[each] for each in canaries(str(request.body)) if each in owner}
        assert len(users) <= 1


async def test_the_readme_s_script_shows_two_sessions_apart(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- rest -->\n```sh\n(.*?)```\n<!-- /rest -->", readme, re.DOTALL)
    assert found is not None
    async with served(settings_for(tmp_path, api_keys=f"shop:{SHOP}")) as app:
        script = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            found[1],
            env={**os.environ, "URL": app.url, "KEY": SHOP},
            stdout=asyncio.subprocess.PIPE,
        )
        written, _ = await asyncio.wait_for(script.communicate(), 20)
    assert script.returncode == 0
    first, second, third = written.decode().splitlines()
    assert '"response":"Hello, Alice!' in first
    assert '"response":"I don\'t know your name yet."' in second
    assert '"response":"Your name is Alice!"' in third


async def test_a_streamed_answer_asks_and_its_own_key_alone_decides(tmp_path: Path) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url, NEXT) as shop,
        client(house.app.url, VAULT) as bank,
    ):
        owner = channel_principals.client("shop", "assistant", "buyer")
        user = ConnectionUser.of(owner).value
        await connected(house.app, house.composio, owner.id)
        name, approvals = canary(), house.app.application.runtime.approvals
        order = f'do ASANA_CREATE_TASK {{"name": "{name}"}}'
        # Who does not stream cannot be asked in time: the call is denied at once.
        denied = await shop.say(order, "buyer")
        assert [tool["ok"] for tool in denied.json["metadata"]["tools"]] == [False]
        assert house.composio.tasks.get(user, []) == []
        running = asyncio.create_task(shop.say(order, "buyer", Accept="text/event-stream"))
        await wait_until(lambda: len(approvals) == 1)
        (asked,) = (await shop.at("buyer", "/approvals")).json["waiting"]
        assert asked["arguments"] == {"name": name}
        settled = {"call": asked["call"], "answer": "approved"}
        path = "/api/chat/assistant/sessions/{}/approvals"
        await bank.say("Hello", "buyer")
        assert (await bank.at("buyer", "/approvals")).json == {"waiting": []}
        refused = await bank.ask("POST", path.format("buyer"), settled)
        assert refused.status == 404
        assert len(approvals) == 1
        assert (await shop.ask("POST", path.format("buyer"), settled)).status == 204
        events = (await running).events
        (begun,) = [told for kind, told in events if kind == "tool"]
        (opened,) = [told for kind, told in events if kind == "approval"]
        assert opened["call"] == asked["call"] != opened["tool_call"] == begun["call"]
        (done,) = [told for kind, told in events if kind == "approval_done"]
        assert done == {
            "call": asked["call"],
            "answer": "approved",
            "arguments": {"name": name},
            "tool_call": begun["call"],
        }
        assert house.composio.tasks[user] == [name]
        assert name.encode() not in bank.received


async def test_an_edited_argument_is_told_in_the_stream_before_the_tool_runs(
    tmp_path: Path,
) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url, NEXT) as shop,
    ):
        owner = channel_principals.client("shop", "assistant", "buyer")
        user = ConnectionUser.of(owner).value
        await connected(house.app, house.composio, owner.id)
        approvals = house.app.application.runtime.approvals
        order = 'do ASANA_CREATE_TASK {"name": "as the model wrote it"}'
        running = asyncio.create_task(shop.say(order, "buyer", Accept="text/event-stream"))
        await wait_until(lambda: len(approvals) == 1)
        (asked,) = (await shop.at("buyer", "/approvals")).json["waiting"]
        edited = {"name": canary()}
        word = {"call": asked["call"], "answer": "approved", "arguments": edited}
        path = "/api/chat/assistant/sessions/buyer/approvals"
        assert (await shop.ask("POST", path, word)).status == 204
        told = [(kind, told.get("arguments")) for kind, told in (await running).events]
        assert [kind for kind, _ in told].index("approval_done") < [k for k, _ in told].index(
            "tool_done"
        )
        assert ("approval_done", edited) in told
        assert house.composio.tasks[user] == [edited["name"]]


@pytest.mark.parametrize("by", ["/end", "/new"])
async def test_nothing_waits_for_a_word_in_an_ended_conversation(by: str, tmp_path: Path) -> None:
    async with (
        app_with_tools(tmp_path, api_keys=KEYS) as house,
        client(house.app.url, NEXT) as shop,
    ):
        owner = channel_principals.client("shop", "assistant", "buyer")
        user = ConnectionUser.of(owner).value
        await connected(house.app, house.composio, owner.id)
        runtime, order = house.app.application.runtime, 'do ASANA_CREATE_TASK {"name": "x"}'
        orders = [
            asyncio.create_task(shop.say(order, session, Accept="text/event-stream"))
            for session in ("buyer", "another")
        ]
        another = channel_principals.client("shop", "assistant", "another")
        await connected(house.app, house.composio, another.id)
        await wait_until(lambda: len(runtime.approvals) == 2)
        if by == "/end":
            assert (await shop.at("buyer", by, "POST")).status == 204
        else:
            assert (await shop.say(by, "buyer")).status == 200
        assert (len(runtime.approvals), runtime.running_turns) == (1, 1)
        name, told = (await orders[0]).events[-1]
        assert (name, told["metadata"]["status"]) == ("done", "interrupted")
        assert house.composio.tasks.get(user, []) == []
        assert (await shop.say("Hello", "buyer")).json["response"] == "You said: Hello"
        (waiting,) = (await shop.at("another", "/approvals")).json["waiting"]  # another's stays
        word = {"call": waiting["call"], "answer": "denied"}
        path = "/api/chat/assistant/sessions/another/approvals"
        assert (await shop.ask("POST", path, word)).status == 204
        await orders[1]

"""What programs get of an answer beside its text: by REST, and by OpenAI's own client."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from cmw_agent.core.finish_reasons import SENTENCES
from tests.answers import ENDS, SCRIPTS, SOURCES, THOUGHT, png
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import served, settings_for
from tests.rest import BANK, KEYS, SHOP, Client, Reply

shared = pytest.mark.asyncio(loop_scope="module")
EVENTS = "text/event-stream"
SITE = "https://shop.example"
AGENTS = "\n".join(
    f'[[agents]]\nid = "{name}"\nname = "{name}"\nprompt = "x"\nmodel = "{name}"\n'
    f'allowed_origins = ["{SITE}"]\n'
    for name in SCRIPTS
)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """Serve the app with an agent for each script."""
    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        (folder / "agents.toml").write_text(AGENTS)
        models = ",".join(SCRIPTS)
        settings = settings_for(
            folder, openai_base_url=endpoint.base_url, model="echo", models=models, api_keys=KEYS
        )
        async with served(settings) as app:
            yield app.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with serving(tmp_path_factory.mktemp("answers")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ai(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=SHOP, max_retries=0, timeout=20
    ) as made:
        yield made


async def said(
    http: aiohttp.ClientSession, url: str, agent: str, *include: str, session: str, **headers: str
) -> Reply:
    client = Client(url, SHOP, http, agent)
    content = {"message": "hello", "session_id": session, "include": list(include)}
    return await client.ask("POST", f"/api/chat/{agent}/message", content, **headers)


# -- REST -------------------------------------------------------------------------


@shared
@pytest.mark.parametrize("reason", ENDS)
async def test_rest_says_how_an_answer_ended(
    reason: str, http: aiohttp.ClientSession, url: str
) -> None:
    whole = await said(http, url, reason, session="ends", Idempotency_Key="k")
    assert whole.status == 200
    told = whole.json
    assert told["response"] == "Half of it"
    metadata = told["metadata"]
    assert (metadata["status"], metadata["finish_reason"]) == ("interrupted", reason)
    assert metadata["notice"] == SENTENCES[reason]
    repeated = await said(http, url, reason, session="ends", Idempotency_Key="k")
    assert repeated.json == told
    streamed = await said(http, url, reason, session="ends", Accept=EVENTS, Idempotency_Key="k")
    assert streamed.events[-1] == ("done", told)
    history = (await Client(url, SHOP, http, reason).at("ends")).json["messages"]
    assert (history[1]["finish_reason"], history[1]["notice"]) == (reason, SENTENCES[reason])


@shared
@pytest.mark.parametrize("agent", ["thinking", "unopened"])
async def test_rest_gives_thoughts_on_request_alone(
    agent: str, http: aiohttp.ClientSession, url: str
) -> None:
    told = await said(http, url, agent, session="thoughts")
    assert told.json["response"].strip() == "Yes"
    assert THOUGHT not in told.body.decode()
    asked = await said(http, url, agent, "thinking", session="thoughts")
    assert asked.json["metadata"]["thinking"].strip() == f"{THOUGHT} hm"
    client = Client(url, SHOP, http, agent)
    assert THOUGHT not in (await client.at("thoughts")).body.decode()
    shown = (await client.at("thoughts", "?include=thinking")).json["messages"]
    assert [(m["thinking"] or "").strip() for m in shown] == ["", f"{THOUGHT} hm"] * 2
    for form in ("md", "json", "html"):
        path = f"/export?format={form}"
        assert THOUGHT not in (await client.at("thoughts", path)).body.decode()
        assert THOUGHT in (await client.at("thoughts", f"{path}&include=thinking")).body.decode()


@shared
async def test_a_rest_stream_gives_thoughts_as_events_of_their_own_where_they_are_asked_for(
    http: aiohttp.ClientSession, url: str
) -> None:
    plain = await said(http, url, "thinking", session="stream", Accept=EVENTS)
    assert THOUGHT not in plain.body.decode()
    asked = await said(http, url, "thinking", "thinking", session="stream", Accept=EVENTS)
    thought = "".join(data["text"] for name, data in asked.events if name == "thinking")
    assert thought == f"{THOUGHT} hm"
    names = [name for name, _ in asked.events]
    assert names.index("thinking") < names.index("delta")


@shared
async def test_a_rest_stream_takes_back_text_that_was_thoughts(
    http: aiohttp.ClientSession, url: str
) -> None:
    told = await said(http, url, "unopened", session="replaced", Accept=EVENTS)
    text = ""
    for name, data in told.events:
        if name == "delta":
            text += data["text"]
        elif name == "replaced":
            text = data["response"]
    assert text == told.events[-1][1]["response"]
    assert text.strip() == "Yes"


@shared
async def test_rest_gives_sources_in_their_order(http: aiohttp.ClientSession, url: str) -> None:
    whole = await said(http, url, "citing", session="sources")
    assert whole.json["metadata"]["sources"] == SOURCES
    streamed = await said(http, url, "citing", session="sources", Accept=EVENTS)
    assert [s for name, data in streamed.events if name == "sources" for s in data["sources"]] == (
        SOURCES
    )
    shown = (await Client(url, SHOP, http, "citing").at("sources")).json["messages"]
    assert shown[1]["sources"] == SOURCES


@shared
async def test_rest_gives_pictures_to_their_session_s_key_alone(
    http: aiohttp.ClientSession, url: str
) -> None:
    streamed = await said(http, url, "pictured", session="pictures", Accept=EVENTS)
    (picture,) = (data for name, data in streamed.events if name == "picture")
    assert streamed.events[-1][1]["metadata"]["pictures"] == [picture]
    shop, bank = (Client(url, key, http, "pictured") for key in (SHOP, BANK))
    file = await shop.ask("GET", picture["url"])
    assert (file.status, file.body) == (200, png())
    assert file.headers["Content-Type"] == "image/png"
    assert (await shop.at("pictures")).json["messages"][1]["pictures"] == [picture]
    other_session = picture["url"].replace("/pictures/", "/others/")
    for client, path in ((bank, picture["url"]), (shop, other_session)):
        assert (await client.ask("GET", path)).status == 404
    assert (await Client(url, None, http, "pictured").ask("GET", picture["url"])).status == 401


@shared
async def test_rest_says_below_the_answer_that_a_picture_was_not_kept(
    http: aiohttp.ClientSession, url: str
) -> None:
    told = (await said(http, url, "damaged-picture", session="damaged")).json
    assert told["metadata"]["status"] == "complete"
    assert told["metadata"]["notice"].startswith("A picture of this answer was not kept.")
    shown = (await Client(url, SHOP, http, "damaged-picture").at("damaged")).json["messages"]
    assert shown[1]["notice"] == told["metadata"]["notice"]


# -- the widget -------------------------------------------------------------------


@shared
@pytest.mark.parametrize("agent", ["pictured", "damaged-picture", "length", "citing"])
async def test_the_widget_s_history_has_the_notice_of_the_answer(
    agent: str, http: aiohttp.ClientSession, url: str
) -> None:
    headers = {"Origin": SITE}
    async with http.post(f"{url}/embed/{agent}/visit", json={}, headers=headers) as visit:
        headers["Authorization"] = f"Bearer {(await visit.json())['token']}"
    message = {"message": "hello", "key": "k"}
    async with http.post(f"{url}/embed/{agent}/message", json=message, headers=headers) as response:
        reply = Reply(response.status, await response.read(), dict(response.headers))
    async with http.get(f"{url}/embed/{agent}/messages", headers=headers) as messages:
        stored = (await messages.json())["messages"][1]
    name, done = reply.events[-1]
    assert name == "done"
    assert stored["notice"] == done["metadata"].get("notice")
    assert (stored["notice"] is None) == (agent == "citing")


# -- OpenAI's form ----------------------------------------------------------------


async def completed(ai: openai.AsyncOpenAI, model: str, **more: Any) -> Any:
    return await ai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], **more
    )


async def streamed_chunks(ai: openai.AsyncOpenAI, model: str, **more: Any) -> list[Any]:
    return [chunk async for chunk in await completed(ai, model, stream=True, **more)]


def joined(chunks: list[Any], name: str) -> str:
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


@shared
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("echo", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("missing", "stop"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-Session-Id": "v1"}], ids=["stateless", "stored"])
async def test_openai_s_form_gives_the_true_finish_reason(
    model: str, reason: str, headers: dict[str, str], ai: openai.AsyncOpenAI
) -> None:
    whole = (await completed(ai, model, extra_headers=headers)).choices[0]
    chunks = await streamed_chunks(ai, model, extra_headers=headers)
    last = next(chunk.choices[0] for chunk in reversed(chunks) if chunk.choices)
    for choice in (whole, last):
        assert choice.finish_reason == reason
        native = getattr(choice, "native_finish_reason", None)
        assert native == ("missing" if model == "missing" else None)
    text = "You said: hello" if model == "echo" else "Half of it"
    assert whole.message.content == joined(chunks, "content") == text


@shared
async def test_openai_s_form_makes_an_error_of_an_answer_that_ended_with_one(
    ai: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        await completed(ai, "error")
    assert failed.value.status_code == 502
    assert SENTENCES["error"] in str(failed.value)
    with pytest.raises(openai.APIError, match="reported an error"):
        await streamed_chunks(ai, "error")


@shared
@pytest.mark.parametrize("model", ["thinking", "unopened"])
async def test_openai_s_form_gives_thoughts_as_reasoning_content(
    model: str, ai: openai.AsyncOpenAI
) -> None:
    message = (await completed(ai, model)).choices[0].message
    assert message.content.strip() == "Yes"
    assert message.reasoning_content.strip() == f"{THOUGHT} hm"
    chunks = await streamed_chunks(ai, model)
    assert joined(chunks, "reasoning_content").strip() == f"{THOUGHT} hm"
    if model == "thinking":  # elsewhere the thoughts may have been sent before they were known
        assert joined(chunks, "content") == "Yes"


@shared
async def test_openai_s_form_gives_sources_as_annotations(ai: openai.AsyncOpenAI) -> None:
    message = (await completed(ai, "citing")).choices[0].message
    assert [(a.type, a.url_citation.url, a.url_citation.title) for a in message.annotations] == [
        ("url_citation", source["url"], source["title"]) for source in SOURCES
    ]
    chunks = await streamed_chunks(ai, "citing")
    annotations = [a for c in chunks if c.choices for a in _extra(c, "annotations")]
    assert [a["url_citation"]["url"] for a in annotations] == [s["url"] for s in SOURCES]


@shared
async def test_openai_s_form_gives_the_pictures_of_a_session_as_images(
    ai: openai.AsyncOpenAI, http: aiohttp.ClientSession, url: str
) -> None:
    headers = {"X-Session-Id": "images"}
    message = (await completed(ai, "pictured", extra_headers=headers)).choices[0].message
    (image,) = message.images
    file = await Client(url, SHOP, http).ask("GET", image["image_url"]["url"])
    assert file.body == png()
    assert not hasattr((await completed(ai, "pictured")).choices[0].message, "images")


@shared
async def test_openai_s_form_gives_kinds_of_tokens(ai: openai.AsyncOpenAI) -> None:
    usage = (await completed(ai, "counted")).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 20)
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details.reasoning_tokens == 15


def _extra(chunk: Any, name: str) -> list[Any]:
    found: list[Any] = (chunk.choices[0].delta.model_extra or {}).get(name, [])
    return found

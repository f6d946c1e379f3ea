"""A temporary chat is in its page's session alone: in no database, no log and no list."""

import contextlib
import re
from pathlib import Path

import orjson

from cmw_agent.web.page.temporary import GONE, KEY_MARK, MAX_MESSAGES, NO_FILES, TemporaryChat
from tests.harness import Browser, Event, Tab, canary, last_text, served, settings_for, texts
from tests.isolation.world import app_with_model
from tests.logbook import logbook
from tests.rows import count
from tests.service import live_sessions

KEY = f"{KEY_MARK}{'0' * 31}"


async def begun(browser: Browser) -> Tab:
    """Open a page with a temporary chat."""
    tab = await browser.open()
    assert (await tab.run("new_temporary", [])).values == [[[], ""]]
    return tab


async def say(tab: Tab, text: str, files: str = "") -> Event:
    return await tab.run("send", [text, f"{KEY}{canary()}", files, None])


def stored_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_temporary_chat_goes_on_and_leaves_nothing_behind(tmp_path: Path) -> None:
    secret = canary()
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab = await begun(alice)
        with logbook() as book:
            await say(tab, f"My name is {secret}")
            event = await say(tab, "What is my name?")
            assert secret in last_text(event.value)
            assert len(texts(event.value, "user")) == 2
            assert event.values[-1][1] == ""  # no id: the page's address names no conversation
        assert secret not in book.text
        ends = [
            line for line in book.lines if "turn complete" in line or "outcome=complete" in line
        ]
        assert len(ends) == 2
        for line in ends:
            assert re.search(r"principal=- ", f"{line} "), line
            assert re.search(r"request=- ", f"{line} "), line
        async with alice.http.get(f"{alice.url}/history") as answer:
            assert (await answer.json())["conversations"] == []
        assert count(tmp_path) == (0, 0, 0)
        reloaded = await tab.open()
        assert reloaded.value == []
    assert secret.encode() not in stored_bytes(tmp_path)


async def test_a_marked_message_is_never_stored_in_an_ordinary_chat(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab = await begun(alice)
        await say(tab, "one")
        # as when the process has let the session go, or another one answers
        for session in live_sessions(app.application.runtime).values():
            session.view = None
        refused = await say(tab, "two")
        assert GONE in (refused.error or "")
        ordinary = await alice.open()
        assert GONE in ((await say(ordinary, "three")).error or "")
        assert count(tmp_path) == (0, 0, 0)


async def test_a_new_chat_after_it_is_stored_again_and_knows_nothing_of_it(tmp_path: Path) -> None:
    secret = canary()
    async with app_with_model(tmp_path, "memory") as here, Browser(here.url) as alice:
        tab = await begun(alice)
        await say(tab, secret)
        await tab.run("new_chat", [])
        await tab.send("ordinary")
        assert secret not in str(here.endpoint.requests[-1].body)
        assert next(row["content"] for row in here.rows()["agent_messages"]) == "ordinary"
        assert count(here.database.parent)[0] == 1
        assert (await tab.run("new_temporary", [])).value == []
        await say(tab, "again")
        assert "ordinary" not in str(here.endpoint.requests[-1].body)
        assert count(here.database.parent)[0] == 1


async def test_its_last_message_is_answered_once_more_and_edited(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "echo") as here, Browser(here.url) as alice:
        tab = await begun(alice)
        await say(tab, "first")
        await say(tab, "second")
        again = await tab.run("retry", ["3"])
        assert texts(again.value, "user") == ["first", "second"]
        assert len(again.value) == 4
        edited = await tab.run("edit", ["3", "third"])
        assert texts(edited.value, "user") == ["first", "third"]
        assert here.endpoint.requests[-1].user_texts == ["first", "third"]
        for name, data in (("edit", ["1", "other"]), ("retry", ["1"]), ("retry", ["9"])):
            assert (await tab.run(name, data)).error
        assert texts((await tab.run("redraw", [])).value, "user") == ["first", "third"]
        assert count(tmp_path) == (0, 0, 0)


async def test_its_answer_is_stopped_and_stays_on_the_page(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "gated-3") as here, Browser(here.url) as alice:
        tab = await begun(alice)
        event = Event(await tab.join("send", ["hello", KEY, "", None]))
        await here.endpoint.wait_held()
        await tab.join("stop", [])
        async with contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
            async for _ in updates:
                pass
        assert "⏸" in last_text(event.value)
        await here.endpoint.wait_aborted(1)
        assert count(tmp_path) == (0, 0, 0)


async def test_it_takes_no_files_and_no_ratings_and_has_an_end(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab = await begun(alice)
        assert NO_FILES in ((await say(tab, "hi", orjson.dumps(["x"]).decode())).error or "")
        await say(tab, "hi")
        assert "cannot be rated" in ((await tab.run("rate", ["2", "like"])).error or "")
        assert "no versions" in ((await tab.run("retry", ["9"])).error or "")
        assert (await tab.run("redraw", [])).value[0]["role"] == "user"
        assert len((await tab.run("join", [])).value) == 2
        (session,) = live_sessions(app.application.runtime).values()
        chat = session.view
        assert isinstance(chat, TemporaryChat)
        chat.messages = chat.messages[:1] * MAX_MESSAGES
        assert "as long as one can be" in ((await say(tab, "hi")).error or "")


async def test_no_other_page_reaches_it(tmp_path: Path) -> None:
    secret = canary()
    async with (
        app_with_model(tmp_path, "memory") as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        hers = await begun(alice)
        await say(hers, secret)
        second = await begun(alice)
        his = bob.tab(session_hash=hers.hash)
        await his.open()
        await his.run("new_temporary", [])
        for tab in (second, his):
            assert secret not in str((await say(tab, "What did I say?")).value)
            assert secret not in str(here.endpoint.requests[-1].body)
        assert secret.encode() not in bytes(his.received)
        assert secret in str((await say(hers, "And now?")).value)


async def test_the_model_sees_what_fits_its_window(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, history_tokens=200) as here,
        Browser(here.url) as alice,
    ):
        tab = await begun(alice)
        for n in range(5):
            await say(tab, f"{n} " + "lorem ipsum " * 20)
        event = await say(tab, "5 " + "lorem ipsum " * 20)
        assert len(texts(event.value, "user")) == 6
        seen = here.endpoint.requests[-1].user_texts
        assert 0 < len(seen) < 6
        assert seen[-1].startswith("5 ")

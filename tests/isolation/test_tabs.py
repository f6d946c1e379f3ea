"""Isolation 12: two tabs of one user do not mix."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from memory.manager import ConversationMemoryManager
from memory.records import StoredMessage
from tests.harness import WAIT, Browser, Event, Tab, applied, canary, last_text, texts
from tests.isolation.storm import canaries
from tests.isolation.world import AppWithModel, Following, app_with_model, unstored
from tests.service import wait_until

TURNS = 6
KEPT_ON_THE_WAY = {"content", "tool_calls", "lease_expires_at"}


async def talk(tab: Tab, said: list[str]) -> list[Event]:
    return [await tab.send(text) for text in said]


def conversations(here: AppWithModel) -> dict[str, list[tuple[str, str, str]]]:
    """Return (role, text, status) of each stored conversation's messages, oldest first."""
    ids = [row["session_id"] for row in here.rows()["agent_sessions"]]
    return {conversation_id: here.texts(conversation_id) for conversation_id in ids}


async def test_two_tabs_with_two_conversations_do_not_mix(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tabs = [await browser.open() for _ in range(2)]
        said = [[f"note {canary()}" for _ in range(TURNS)] for _ in tabs]
        talks = await asyncio.gather(*(talk(t, s) for t, s in zip(tabs, said, strict=True)))
        own = [canaries(" ".join(s)) for s in said]
        for number, events in enumerate(talks):
            for event in events:
                # The chat alone: the list of recent ones names both, which are one user's.
                assert not canaries(str([v[0] for v in event.values])) - own[number]
            assert texts(events[-1].value, "user") == said[number]
        stored = conversations(here)
        assert len(stored) == 2
        assert {frozenset(canaries(str(messages))) for messages in stored.values()} == {
            frozenset(found) for found in own
        }
        for request in here.endpoint.requests:
            assert any(canaries(str(request.body)) <= found for found in own)
        assert len({session.owner for session in here.sessions().values()}) == 1


def settled(here: AppWithModel) -> dict[str, list[dict[str, Any]]]:
    """All rows, without what is stored now and then of an answer that is being written."""
    return {
        table: [{key: row[key] for key in row.keys() - KEPT_ON_THE_WAY} for row in rows]
        for table, rows in here.rows().items()
    }


async def test_what_one_tab_has_shown_whole_another_shows_whole(tmp_path: Path) -> None:
    said = canary()
    async with app_with_model(tmp_path, "gated-0") as here, Browser(here.url) as browser:
        one = await browser.open()
        async with Following(one, await one.join("send", [said, "", "", None])) as stream:
            await here.endpoint.wait_held(said)
            (conversation_id,) = conversations(here)
            async with unstored(here, said):
                await stream.seen(f"You said: {said}")
                opening = asyncio.create_task(browser.tab(query=f"?c={conversation_id}").open())
                # a page that does not wait for it is open by then, and shows no answer
                await asyncio.wait({opening}, timeout=1)
            await stream.done()
            shown = await opening
        assert last_text(shown.value) == f"You said: {said}"


async def test_one_conversation_in_two_tabs_says_busy_and_then_goes_on(tmp_path: Path) -> None:
    first, rest, second = canary(), canary(), canary()
    async with app_with_model(tmp_path, "gated-3") as here, Browser(here.url) as browser:
        one = await browser.open()
        async with Following(
            one, await one.join("send", [f"{first} {rest}", "", "", None])
        ) as stream:
            await stream.seen(f"You said: {first}")
            (conversation_id,) = conversations(here)
            two = await browser.open(query=f"?c={conversation_id}")
            before = settled(here)
            busy = await two.send(second)
            assert busy.error is not None
            assert "still being written" in busy.error
            assert settled(here) == before
            assert not here.endpoint.matching(second)
            here.endpoint.release(first)
            event = await stream.done()
        assert last_text(event.value) == f"You said: {first} {rest}"
        async with Following(two, await two.join("send", [second, "", "", None])) as stream:
            await here.endpoint.wait_held(second)
            here.endpoint.release(second)
            event = await stream.done()
        assert last_text(event.value) == f"You said: {second}"
        assert conversations(here)[conversation_id] == [
            ("user", f"{first} {rest}", "complete"),
            ("assistant", f"You said: {first} {rest}", "complete"),
            ("user", second, "complete"),
            ("assistant", f"You said: {second}", "complete"),
        ]


async def test_one_conversation_in_two_tabs_never_interleaves(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        one = await browser.open()
        await one.send("hello")
        (conversation_id,) = conversations(here)
        tabs = [one, *[await browser.open(query=f"?c={conversation_id}") for _ in range(3)]]
        said = [[f"note {canary()}" for _ in range(TURNS)] for _ in tabs]
        talks = await asyncio.gather(*(talk(t, s) for t, s in zip(tabs, said, strict=True)))
        taken = ["hello"]
        for tab_said, events in zip(said, talks, strict=True):
            for text, event in zip(tab_said, events, strict=True):
                if event.error is None:
                    assert last_text(event.value) == f"You said: {text}"
                    taken.append(text)
                else:
                    assert "still being written" in event.error
        stored = conversations(here)
        assert set(stored) == {conversation_id}
        messages = stored[conversation_id]
        assert len(messages) == 2 * len(taken)
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            assert (question[0], answer[0]) == ("user", "assistant")
            assert answer[1:] == (f"You said: {question[1]}", "complete")
        assert sorted(text for role, text, _ in messages if role == "user") == sorted(taken)


async def test_closing_one_tab_leaves_the_other_one_s_answer_alone(tmp_path: Path) -> None:
    first, rest = canary(), canary()
    async with app_with_model(tmp_path, "gated-3") as here, Browser(here.url) as browser:
        one, two = await browser.open(), await browser.open()
        async with Following(
            one, await one.join("send", [f"{first} {rest}", "", "", None])
        ) as stream:
            await stream.seen(f"You said: {first}")
            await two.run("stop", [])
            await two.run("new_chat", [])
            await two.close()
            here.endpoint.release(first)
            event = await stream.done()
        assert last_text(event.value) == f"You said: {first} {rest}"


@pytest.mark.parametrize("name", ["retry", "edit"])
async def test_a_tab_that_is_behind_changes_no_message_that_it_does_not_show(
    name: str, tmp_path: Path
) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        one = await browser.open()
        await one.send("first")
        (conversation_id,) = conversations(here)
        two = await browser.open(query=f"?c={conversation_id}")
        await one.send("second")
        event = await two.run(name, {"retry": ["1"], "edit": ["1", "changed"]}[name])
        # Whatever it answers, the message that the other tab wrote must not be lost, and
        # what is shown must be what is stored.
        assert ("user", "second", "complete") in conversations(here)[conversation_id]
        if event.error is None:
            asked = texts(event.value, "user")
            stored = [
                text for role, text, _ in conversations(here)[conversation_id] if role == "user"
            ]
            assert asked == stored


class SlowMemory(ConversationMemoryManager):
    """A store that can be made to wait before it hands messages out."""

    go_on: asyncio.Event | None = None
    asked: asyncio.Event | None = None

    async def messages(
        self,
        owner: str,
        conversation_id: str,
        *,
        limit: int = 40,
        before_seq: int | None = None,
        all_versions: bool = False,
    ) -> list[StoredMessage]:
        found = await super().messages(
            owner,
            conversation_id,
            limit=limit,
            before_seq=before_seq,
            all_versions=all_versions,
        )
        if self.go_on is not None and self.asked is not None:
            self.asked.set()
            await self.go_on.wait()
        return found


async def test_a_chat_that_is_read_slowly_is_not_shown_as_another(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        one = await browser.open()
        await one.send("first")
        (conversation_id,) = conversations(here)
        two = await browser.open()
        (session,) = [s for s in here.sessions().values() if s.conversation_id != conversation_id]
        slow = session.memory = SlowMemory(session.memory._database)
        slow.go_on, slow.asked = asyncio.Event(), asyncio.Event()
        # The page opens a chat; before it is read, the user turns to a new one.
        two.query = f"?c={conversation_id}"
        opening = await two.join("open_page", [])
        await asyncio.wait_for(slow.asked.wait(), WAIT)
        two.query = ""
        turning = await two.join("new_chat", [])
        await wait_until(lambda: session.conversation_id != conversation_id)
        slow.go_on.set()
        events = {opening: Event(opening), turning: Event(turning)}
        async for message in two.events():
            if message.get("event_id") in events:
                applied(events[message["event_id"]], message)
        for event in events.values():
            messages, shown_id = event.values[-1][:2]
            assert bool(messages) is (shown_id == conversation_id)
        event = await two.send("second")
        assert texts(event.value, "user") == ["second"]
        assert [text for role, text, _ in here.texts(conversation_id) if role == "user"] == [
            "first"
        ]

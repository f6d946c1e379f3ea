"""However a turn ends, its text is stored, the model's request ends, the conversation is free."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from cmw_agent.chat.turn import TurnReader
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ConversationInUseError, ServiceUnavailableError
from cmw_agent.core.events import TextDelta, TurnFinished
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.harness import (
    WAIT,
    Browser,
    Event,
    Served,
    Tab,
    canary,
    last_text,
    served,
    settings_for,
    texts,
)
from tests.logbook import logbook
from tests.rows import count, messages, rows, sound, turns
from tests.service import (
    all_events,
    answer_text,
    running_app,
    session_of,
    turn_end,
    until_unread,
    wait_until,
)

LET_GO = 2.0  # seconds within which the model must be let go


def settings_at(endpoint: OpenAIDouble, folder: Path, model: str, **changes: object) -> Settings:
    return settings_for(folder, openai_base_url=endpoint.base_url, model=model, **changes)


async def until_text(turn: TurnReader) -> None:
    """Read a turn's events until the first text."""
    async with asyncio.timeout(WAIT):
        async for event in turn:
            if isinstance(event, TextDelta):
                return
    raise AssertionError("the turn ended without text")


# -- on the page ------------------------------------------------------------------


@dataclass
class Page:
    """An open page on which an answer is half there, and who reads it."""

    tab: Tab
    event: Event
    reader: "asyncio.Task[None]"
    secret: str


@dataclass
class House:
    app: Served
    endpoint: OpenAIDouble
    folder: Path

    @contextlib.asynccontextmanager
    async def half_answered(self) -> AsyncIterator[Page]:
        secret = canary()
        async with Browser(self.app.url) as browser:
            tab = await browser.open()
            event = Event(await tab.join("send", [secret, "", "", None]))
            shown = asyncio.Event()

            async def read() -> None:
                async with contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
                    async for update in updates:
                        if last_text(update.value).startswith("You "):
                            shown.set()

            reader = asyncio.create_task(read())
            async with asyncio.timeout(WAIT):
                await shown.wait()
            try:
                yield Page(tab, event, reader, secret)
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def until_unread(self) -> None:
        """Wait until no page reads a running answer."""
        await until_unread(self.app.application.runtime)

    async def check_let_go(self, page: Page, before: int) -> None:
        """Check that the model was let go and that what came is stored as interrupted."""
        await self.endpoint.wait_aborted(before + 1, within=LET_GO)
        (request,) = self.endpoint.matching(page.secret)
        assert request.aborted
        # The row follows the abort.
        await wait_until(lambda: turns(self.folder, page.secret)[0]["state"] != "running")
        question, answer = messages(self.folder, page.secret)
        assert (question["content"], question["status"]) == (page.secret, "complete")
        assert (answer["content"], answer["status"]) == ("You ", "interrupted")
        assert [turn["state"] for turn in turns(self.folder, page.secret)] == ["interrupted"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    async with (
        OpenAIDouble() as endpoint,
        served(settings_at(endpoint, folder, "gated-1")) as app,
    ):
        yield House(app, endpoint, folder)


@pytest.mark.asyncio(loop_scope="module")
async def test_stop_lets_the_model_go_and_keeps_what_came(house: House) -> None:
    before = house.endpoint.aborted_count
    async with house.half_answered() as page:
        await page.tab.join("stop", [])
        async with asyncio.timeout(WAIT):
            await page.reader
        await house.check_let_go(page, before)
        shown = texts(page.event.value, "assistant")
        assert shown[0] == "You "
        assert len(shown) == 2
        assert page.event.error is None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", ["close", "break", "new_chat"])
async def test_an_answer_that_its_page_leaves_comes_to_its_end(way: str, house: House) -> None:
    aborted = house.endpoint.aborted_count
    async with house.half_answered() as page:
        match way:
            case "close":
                await page.tab.close()
            case "break":
                page.reader.cancel()
            case "new_chat":
                await page.tab.join("new_chat", [])
        await house.until_unread()
        house.endpoint.release(page.secret)
        await wait_until(lambda: turns(house.folder, page.secret)[0]["state"] == "complete")
    assert messages(house.folder, page.secret)[1]["content"] == f"You said: {page.secret}"
    assert len(house.endpoint.matching(page.secret)) == 1
    assert house.endpoint.aborted_count == aborted


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stopped_conversation_goes_on_at_once(house: House) -> None:
    async with house.half_answered() as page:
        await page.tab.join("stop", [])
        async with asyncio.timeout(WAIT):
            await page.reader
        secret = canary()
        joined = await page.tab.join("send", [secret, "", "", None])
        await house.endpoint.wait_held(secret)
        house.endpoint.release(secret)
        event = Event(joined)
        async with contextlib.aclosing(page.tab.follow(event)) as updates:  # type: ignore[type-var]
            async for _ in updates:
                pass
        assert last_text(event.value) == f"You said: {secret}"


async def test_the_end_of_the_app_keeps_what_came(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint, contextlib.AsyncExitStack() as stack:
        async with served(settings_at(endpoint, tmp_path, "gated-1")) as app:
            house = House(app, endpoint, tmp_path)
            page = await stack.enter_async_context(house.half_answered())
        await house.check_let_go(page, 0)
        # The server has cut the heartbeat off; that is how the page learns of the end.
        heartbeat, page.tab._heartbeat = page.tab._heartbeat, None
        assert heartbeat is not None
        await asyncio.gather(heartbeat, return_exceptions=True)


# -- below the page ---------------------------------------------------------------


async def test_the_message_is_stored_before_the_model_is_asked(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        seen = []

        def look(request: Request) -> Sequence[Step]:
            seen.append((messages(tmp_path), turns(tmp_path)))
            return [Text(["fine"])]

        endpoint._scripts["look"] = look
        async with running_app(settings_at(endpoint, tmp_path, "look")) as runtime:
            session = await session_of(runtime)
            assert turn_end(
                await all_events(runtime.chat.turn(session, "hello", key="k"))
            ).outcome == ("complete")
        ((stored, running),) = seen
        assert [(m["role"], m["content"], m["status"]) for m in stored] == [
            ("user", "hello", "complete"),
            ("assistant", "", "interrupted"),
        ]
        assert [turn["state"] for turn in running] == ["running"]


async def test_a_turn_that_lasts_too_long_ends_with_a_sentence(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_at(endpoint, tmp_path, "hang", turn_timeout=4)
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            end = turn_end(await all_events(runtime.chat.turn(session, "hello", key="k")))
            assert end.outcome == "interrupted"
            assert end.sentence == "The answer took longer than 4 seconds."
            await endpoint.wait_aborted(1, within=LET_GO)
            assert messages(tmp_path)[1]["content"] == "You "
            assert messages(tmp_path)[1]["error_id"] == end.error_id
            assert endpoint.request_count == 1


async def test_a_reader_that_is_killed_leaves_an_interrupted_turn(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime,
    ):
        session = await session_of(runtime)
        reader = asyncio.create_task(all_events(runtime.chat.turn(session, "hello", key="k")))
        await endpoint.wait_held()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await endpoint.wait_aborted(1, within=LET_GO)
        assert runtime.chat.running == 0
        assert not session.readers
        assert [turn["state"] for turn in turns(tmp_path)] == ["interrupted"]


async def test_a_reader_that_never_reads_hinders_nobody(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "tokens-2000")) as runtime,
    ):
        turn = runtime.chat.turn(await session_of(runtime), "hello", key="k")
        await turn.ended()
        assert [turn["state"] for turn in turns(tmp_path)] == ["complete"]
        # What nobody has fetched is one text, however long it took.
        events = await all_events(turn)
        assert len([event for event in events if isinstance(event, TextDelta)]) == 1
        assert answer_text(events) == messages(tmp_path)[1]["content"]


async def test_the_end_of_the_process_stores_running_turns_as_interrupted(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        async with running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime:
            asked = []
            session = await session_of(runtime)
            for number in range(5):
                session = await session_of(runtime, f"user {number}")
                turn = runtime.chat.turn(session, f"hello {number}", key="k")
                await until_text(turn)
                asked.append(turn)
            chat = runtime.chat
        assert [turn_end([e async for e in turn]).outcome for turn in asked] == ["interrupted"] * 5
        answers = [m for m in messages(tmp_path) if m["role"] == "assistant"]
        assert [(m["content"], m["status"]) for m in answers] == [("You ", "interrupted")] * 5
        assert [turn["state"] for turn in turns(tmp_path)] == ["interrupted"] * 5
        await endpoint.wait_aborted(5, within=LET_GO)
        with pytest.raises(ServiceUnavailableError):
            chat.turn(session, "too late", key="l")


async def test_one_key_is_one_turn_however_often_it_is_sent(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime,
    ):
        session = await session_of(runtime)
        asking = [
            asyncio.create_task(all_events(runtime.chat.turn(session, "hello", key="k")))
            for _ in range(10)
        ]
        await endpoint.wait_held()
        endpoint.release_all()
        answers = await asyncio.gather(*asking)
        assert {answer_text(events) for events in answers} == {"You said: hello"}
        assert {turn_end(events).outcome for events in answers} == {"complete"}
        assert endpoint.request_count == 1
        assert count(tmp_path) == (1, 2, 1)
        # So it stays after the turn has ended, from another page of the same user too.
        other = await session_of(runtime, conversation=session.conversation_id, page="two")
        for late in (session, other):
            events = await all_events(runtime.chat.turn(late, "hello", key="k"))
            assert answer_text(events) == "You said: hello"
        assert endpoint.request_count == 1
        assert count(tmp_path) == (1, 2, 1)
        assert runtime.chat.running == 0


async def test_a_second_message_waits_its_turn(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime,
    ):
        session = await session_of(runtime)
        first = runtime.chat.turn(session, "one", key="1")
        await endpoint.wait_held("one")
        with pytest.raises(ConversationInUseError):
            runtime.chat.turn(session, "two", key="2")
        other = await session_of(runtime, conversation=session.conversation_id, page="two")
        with pytest.raises(ConversationInUseError):
            await all_events(runtime.chat.turn(other, "two", key="2"))
        endpoint.release("one")
        assert answer_text([event async for event in first]) == "You said: one"
        assert count(tmp_path) == (1, 2, 1)


@pytest.mark.parametrize("model", ["echo", "gated-1"])
async def test_a_turn_that_is_stopped_at_any_of_its_steps_stores_its_message(
    model: str, tmp_path: Path
) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, model)) as runtime,
    ):
        with logbook() as book:
            for steps in range(60):
                session = await session_of(runtime, f"user {steps}")
                turn = runtime.chat.turn(session, f"message {steps}.", key="k")
                for _ in range(steps):
                    await asyncio.sleep(0)
                turn.stop()
                await turn.ended()
                events = [event async for event in turn]
                stored = messages(tmp_path, f"message {steps}.")
                assert turn_end(events).outcome in ("interrupted", "complete")
                assert [m["role"] for m in stored] == ["user", "assistant"]
                assert stored[1]["content"] == answer_text(events)
                assert not session.readers
            assert "running" not in [turn["state"] for turn in turns(tmp_path)]
            assert runtime.chat.running == 0
            assert book.unhandled == []


async def test_a_turn_can_be_stopped_twice(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime,
    ):
        for steps in range(12):
            turn = runtime.chat.turn(await session_of(runtime, f"u{steps}"), "hello", key="k")
            await until_text(turn)
            turn.stop()
            for _ in range(steps):
                await asyncio.sleep(0)
            turn.stop()
            await turn.ended()
        await wait_until(lambda: not runtime.chat.running)
    assert {turn["state"] for turn in turns(tmp_path)} == {"interrupted"}
    assert {m["content"] for m in messages(tmp_path) if m["role"] == "assistant"} == {"You "}


async def test_a_turn_that_is_stopped_while_it_is_stored_is_stored_whole(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "gated-1")) as runtime,
    ):
        sessions = [await session_of(runtime, f"user {number}") for number in range(3)]
        asked = [runtime.chat.turn(session, "hello", key="k") for session in sessions]
        await endpoint.wait_held(count=3)
        # One answer waits for this lock in the writing thread, the others behind it.
        with contextlib.closing(
            sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            endpoint.release_all()
            await wait_until(lambda: len(runtime.chat._settling) == 3)
            for _ in range(2):
                for turn in asked:
                    turn.stop()
                await asyncio.sleep(0)
            other.execute("ROLLBACK")
        for turn in asked:
            await turn.ended()
        await wait_until(lambda: not runtime.chat._settling)
        assert [turn["state"] for turn in turns(tmp_path)] == ["complete"] * 3
        answers = {m["content"] for m in messages(tmp_path) if m["role"] == "assistant"}
        assert answers == {"You said: hello"}
        assert [session.readers for session in sessions] == [set()] * 3


async def test_fifty_first_messages_at_once_are_all_answered_and_stored(tmp_path: Path) -> None:
    async with (
        OpenAIDouble() as endpoint,
        running_app(settings_at(endpoint, tmp_path, "echo")) as runtime,
    ):
        sessions = [await session_of(runtime, f"user {number}") for number in range(50)]
        answers = await asyncio.gather(
            *(
                all_events(runtime.chat.turn(session, f"message {number}", key="k"))
                for number, session in enumerate(sessions)
            )
        )
        assert [answer_text(events) for events in answers] == [
            f"You said: message {number}" for number in range(50)
        ]
        assert {turn_end(events).outcome for events in answers} == {"complete"}
        assert count(tmp_path) == (50, 100, 50)
        assert sound(tmp_path)


@pytest.mark.slow
async def test_a_growing_answer_is_kept_and_a_lost_lease_ends_it(tmp_path: Path) -> None:
    """Partial text is stored every few seconds; the same beat notices a lost lease."""

    def parts(request: Request) -> Sequence[Step]:
        return [Start(), Text(["half"]), Gate(), Text([" and half"]), Gate()]

    async with (
        OpenAIDouble(scripts={"parts": parts}) as endpoint,
        running_app(settings_at(endpoint, tmp_path, "parts")) as runtime,
    ):
        turn = runtime.chat.turn(await session_of(runtime), "hello", key="k")
        await until_text(turn)
        before = turns(tmp_path)[0]["lease_expires_at"]

        await wait_until(lambda: messages(tmp_path)[1]["content"] == "half")
        assert messages(tmp_path)[1]["status"] == "interrupted"
        # The first storing may have been before the first look.
        await wait_until(lambda: turns(tmp_path)[0]["lease_expires_at"] > before)
        with contextlib.closing(sqlite3.connect(tmp_path / "chat.db")) as other, other:
            other.execute("UPDATE agent_turns SET state = 'interrupted'")
        endpoint.release_all()
        async with asyncio.timeout(WAIT):
            events = [event async for event in turn]
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].outcome == "interrupted"
        await endpoint.wait_aborted(1, within=LET_GO)
        # Whoever holds the lease now writes; this turn no more.
        assert messages(tmp_path)[1]["content"] == "half"
        assert rows(tmp_path, "SELECT count(*) AS n FROM agent_messages")[0]["n"] == 2

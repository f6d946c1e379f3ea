"""Parts of the chat service; whole turns are tested in `tests/durability`."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.answer_events import replayed, storable
from cmw_agent.chat.turn import Turn, TurnReader
from cmw_agent.core.errors import (
    ConversationChangedError,
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
    VersionNotShownError,
)
from cmw_agent.core.events import (
    AgentEvent,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UsageReported,
)
from cmw_agent.core.store_errors import refusal_for
from memory.errors import (
    ConversationBusyError,
    ConversationMovedError,
    ConversationNotFoundError,
    DatabaseFullError,
    DatabaseUnavailableError,
    ForkTooLongError,
    InvalidTextError,
    MessageNotShownError,
    NotOwnMessageError,
    StoreError,
)
from memory.records import StoredMessage, ToolRecord
from memory.validation import pack_tools
from memory.validation import storable as is_storable
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, settings_for
from tests.logbook import logbook
from tests.rows import count, messages
from tests.service import Seconds, all_events, answer_text, running_app, session_of, turn_end

SECRET = canary()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


# -- what an answer gathers -------------------------------------------------------


def test_an_answer_gathers_text_tools_and_tokens() -> None:
    answer = AnswerAccumulator()
    for event in (
        TextDelta("a"),
        ToolStarted("1", "calculate", {"expression": "1"}),
        ToolStarted("2", "current_time", {}),
        ToolFinished("2", "current_time", "noon", False, 0.0004),
        ToolFinished("1", "calculate", "1", True, 1.5),
        UsageReported(3, 4),
        TextDelta("b"),
        UsageReported(5, 6),
    ):
        answer.add(event)
    assert answer.text == "ab"
    assert answer.tokens == 18
    assert answer.tools == [
        ToolRecord("2", "current_time", {}, "noon", False, 0),
        ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 1500),
    ]
    assert answer.running == {}


def test_an_answer_of_which_nothing_came_is_empty() -> None:
    assert (AnswerAccumulator().text, AnswerAccumulator().tools, AnswerAccumulator().tokens) == (
        "",
        [],
        None,
    )


@given(st.text(), JSON, st.text())
def test_what_a_model_says_can_always_be_stored(text: str, value: object, result: str) -> None:
    events: list[AgentEvent] = [
        TextDelta(text),
        ToolStarted(text, text, {text: value}),
        ToolFinished(text, text, result, True, 0.1),
    ]
    answer = AnswerAccumulator()
    for event in events:
        answer.add(storable(event))
    assert is_storable(answer.text)
    assert pack_tools(answer.tools)
    assert answer.running == {}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_what_can_be_stored_stays_as_it_is(text: str) -> None:
    arguments = {"a": [text, 1, 1.5, None, True], "b": {text: {}}}
    for event in (
        TextDelta(text),
        ToolStarted(text, "name", arguments),
        ToolFinished("1", "name", text, True, 0.1),
        UsageReported(1, 2),
    ):
        assert storable(event) == event


# -- what a turn hands on ---------------------------------------------------------


async def drained(turn: TurnReader) -> list[object]:
    return [event async for event in turn]


async def test_text_that_nobody_fetched_is_merged_and_nothing_else_is() -> None:
    turn = Turn("k", "hi", is_new=True)
    reader = turn.read()
    tool = ToolStarted("1", "t", {})
    for event in (TextDelta("a"), TextDelta("b"), tool, TextDelta("c"), TextDelta("d")):
        turn.emit(event)
    turn.emit(TurnFinished("complete"))
    assert await drained(reader) == [
        TextDelta("ab"),
        tool,
        TextDelta("cd"),
        TurnFinished("complete"),
    ]


async def test_a_reader_that_waits_gets_each_event_as_it_comes() -> None:
    turn, gate = Turn("k", "hi", is_new=True), asyncio.Event()

    async def work() -> None:
        turn.emit(TextDelta("a"))
        await gate.wait()
        turn.emit(TextDelta("b"))

    reader = turn.read()
    turn.start(work())
    assert await anext(reader) == TextDelta("a")
    gate.set()
    assert await anext(reader) == TextDelta("b")
    assert await drained(reader) == []


async def test_a_refusal_comes_to_each_reader_once_and_ends_the_turn() -> None:
    turn = Turn("k", "hi", is_new=True)

    async def work() -> None:
        turn.refuse(ConversationInUseError())

    readers = turn.read(), turn.read()
    turn.start(work())
    for reader in readers:
        with pytest.raises(ConversationInUseError):
            await anext(reader)
        assert await drained(reader) == []


def endless(unread_seconds: float | None, clock: Seconds) -> tuple[Turn, list[str]]:
    """Start a turn that runs until it is stopped; the list gets a word when that is stored."""
    turn = Turn("k", "hi", is_new=True, unread_seconds=unread_seconds, clock=clock)
    stored: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stored.append("stored")

    turn.start(work())
    return turn, stored


async def test_the_last_reader_of_a_turn_that_ends_with_its_readers_waits_until_it_is_stored() -> (
    None
):
    turn, stored = endless(0.0, Seconds())
    first, second = turn.read(), turn.read()
    await asyncio.sleep(0)
    async with first:
        pass
    assert not stored
    async with second:
        pass
    assert stored == ["stored"]


async def test_a_turn_that_outlives_its_readers_is_ended_by_a_stop_alone() -> None:
    clock = Seconds()
    turn, stored = endless(None, clock)
    await asyncio.sleep(0)
    async with turn.read():
        pass
    clock.now += 1_000_000
    turn.stop_if_unread()
    await asyncio.sleep(0)
    assert not turn.is_stopped
    async with turn.read() as reader:
        reader.stop()
    assert stored == ["stored"]


async def test_a_turn_without_readers_ends_when_its_time_is_up_unless_it_is_read_again() -> None:
    clock = Seconds()
    turn, stored = endless(60.0, clock)
    await asyncio.sleep(0)
    async with turn.read():
        clock.now += 1_000
        turn.stop_if_unread()
    clock.now += 59
    turn.stop_if_unread()
    reader = turn.read()
    clock.now += 59
    turn.stop_if_unread()
    await reader.close()
    clock.now += 59
    turn.stop_if_unread()
    assert not turn.is_stopped
    clock.now += 1
    turn.stop_if_unread()
    await turn.ended()
    assert stored == ["stored"]


async def test_a_reader_that_has_left_gets_nothing_and_no_other_reader_misses_anything() -> None:
    turn = Turn("k", "hi", is_new=True)
    left, stays = turn.read(), turn.read()
    turn.emit(TextDelta("a"))
    left.leave()
    turn.emit(TextDelta("b"))
    late = turn.read(events=[TextDelta("ab")])
    turn.emit(TextDelta("c"))
    assert await drained(left) == []
    assert await drained(stays) == await drained(late) == [TextDelta("abc")]


# -- what is refused, and how it is told ------------------------------------------


@pytest.mark.parametrize(
    ("error", "told_as"),
    [
        (ConversationBusyError(), ConversationInUseError),
        (ConversationMovedError(), ConversationChangedError),
        (ConversationNotFoundError(), NotFoundError),
        (InvalidTextError("text"), InvalidMessageError),
        (MessageNotShownError(), VersionNotShownError),
        (NotOwnMessageError(), InvalidMessageError),
        (ForkTooLongError(), InvalidMessageError),
        (DatabaseUnavailableError(SECRET), ServiceUnavailableError),
        (DatabaseFullError(SECRET), ServiceUnavailableError),
        (StoreError(SECRET), ServiceUnavailableError),
    ],
)
def test_each_failure_of_the_memory_has_a_meaning(
    error: StoreError, told_as: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    told = refusal_for(error)
    assert type(told) is told_as
    assert SECRET not in f"{told} {caplog.text}"
    # What is the service's fault stands in the log under the id that the user reads.
    assert (told.error_id in caplog.text) == (told_as is ServiceUnavailableError)


def test_a_stored_answer_is_told_as_it_was() -> None:
    call = ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 1500)
    stored = StoredMessage(
        seq=2,
        role="assistant",
        content="one",
        tool_calls=(call,),
        status="interrupted",
        model_used="m",
        tokens_used=7,
        latency_ms=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        turn_id="t",
        error_id="abcd1234",
        feedback=None,
    )
    assert replayed(stored) == [
        ToolStarted("1", "calculate", {"expression": "1"}),
        ToolFinished("1", "calculate", "1", True, 1.5),
        TextDelta("one"),
        TurnFinished("interrupted", None, "abcd1234", 7),
    ]


async def test_a_full_or_closed_service_begins_nothing(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(
            tmp_path, openai_base_url=endpoint.base_url, model="gated-1", max_turns=2
        )
        async with running_app(settings) as runtime:
            chat = runtime.chat
            sessions = [await session_of(runtime, f"user {number}") for number in range(3)]
            running = [chat.turn(session, "hi", key="k") for session in sessions[:2]]
            with pytest.raises(OverloadedError):
                chat.turn(sessions[2], "hi", key="k")
            await endpoint.wait_held(count=2)
            assert count(tmp_path) == (2, 4, 2)
            endpoint.release_all()
            for turn in running:
                assert turn_end([event async for event in turn]).outcome == "complete"
            third = asyncio.create_task(all_events(chat.turn(sessions[2], "hi", key="k")))
            await endpoint.wait_held()
            endpoint.release_all()
            assert answer_text(await third) == "You said: hi"
        assert isinstance(chat.refusal(sessions[0].principal, None), ServiceUnavailableError)
        with pytest.raises(ServiceUnavailableError):
            chat.turn(sessions[0], "hi", key="l")


@pytest.mark.parametrize("key", ["", "x" * 101])
async def test_a_key_of_no_use_is_refused(key: str, tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        with pytest.raises(InvalidMessageError):
            runtime.chat.turn(await session_of(runtime), "hi", key=key)


async def test_a_session_without_a_conversation_begins_nothing(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        session.conversation_id = None
        with pytest.raises(NotFoundError):
            runtime.chat.turn(session, "hi", key="k")
        with pytest.raises(NotFoundError):
            runtime.chat.regenerate(session, key="k")


async def test_anothers_conversation_is_not_there(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as runtime:
            alice = await session_of(runtime, "alice")
            await all_events(runtime.chat.turn(alice, "hello", key="k"))
            before = messages(tmp_path)
            bob = await session_of(runtime, "bob", conversation=alice.conversation_id)
            asking: list[Callable[[], TurnReader]] = [
                lambda: runtime.chat.turn(bob, "hi", key="k"),
                lambda: runtime.chat.turn(bob, "hi", key="l"),
                lambda: runtime.chat.regenerate(bob, key="m"),
                lambda: runtime.chat.regenerate(bob, key="n", text="mine"),
            ]
            for ask in asking:
                with pytest.raises(NotFoundError):
                    await all_events(ask())
            assert messages(tmp_path) == before
            assert endpoint.request_count == 1


async def test_a_repeated_message_whose_answer_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            await all_events(runtime.chat.turn(session, "hello", key="k"))
            with contextlib.closing(sqlite3.connect(tmp_path / "chat.db")) as other:
                other.execute("ALTER TABLE agent_messages RENAME TO gone")
            with logbook() as book, pytest.raises(ServiceUnavailableError) as refused:
                await all_events(runtime.chat.turn(session, "hello", key="k"))
            assert book.naming(refused.value.error_id)
            assert endpoint.request_count == 1
            assert not session.readers


async def test_an_edited_message_is_answered_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running_app(settings) as runtime:
            session = await session_of(runtime)
            await all_events(runtime.chat.turn(session, "one", key="1"))
            await all_events(runtime.chat.turn(session, "two", key="2"))
            edited = await all_events(runtime.chat.regenerate(session, key="3", text="three"))
            assert answer_text(edited) == "You said: three"
            with pytest.raises(ConversationChangedError):
                await all_events(runtime.chat.regenerate(session, key="4", expected_seq=1))
            assert endpoint.requests[-1].user_texts == ["one", "three"]
            shown = [m["content"] for m in messages(tmp_path) if not m["superseded"]]
            assert shown == ["one", "You said: one", "three", "You said: three"]

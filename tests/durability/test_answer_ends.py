"""How answers end, and what is kept of them beside their text, over the real wire."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmw_agent.chat.stateless_turn import NO_PICTURES
from cmw_agent.chat.stored_turn import NOT_KEPT
from cmw_agent.core.events import (
    PictureReceived,
    PictureStored,
    Source,
    SourcesCited,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
    UsageReported,
)
from cmw_agent.core.finish_reasons import SENTENCES
from cmw_agent.files.service import FileMissingError, Files
from cmw_agent.files.storage import FileStore
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.runtime.runtime import Runtime
from tests.answers import ENDS, SCRIPTS, SOURCES, THOUGHT, png
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import settings_for
from tests.logbook import logbook
from tests.rows import messages, rows
from tests.service import all_events, answer_text, running_app, session_of, turn_end


@contextlib.asynccontextmanager
async def app(
    folder: Path, model: str, **changes: object
) -> AsyncIterator[tuple[Runtime, OpenAIDouble]]:
    async with OpenAIDouble(scripts=SCRIPTS) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model=model, **changes)
        async with running_app(settings) as runtime:
            yield runtime, endpoint


def thoughts(events: list[TurnEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ThinkingDelta))


@pytest.mark.parametrize("reason", ENDS)
async def test_an_answer_that_did_not_end_well_is_kept_as_interrupted_with_a_sentence(
    reason: str, tmp_path: Path
) -> None:
    async with app(tmp_path, reason) as (runtime, endpoint):
        session = await session_of(runtime)
        with logbook() as book:
            events = await all_events(runtime.chat.turn(session, "hello", key="k"))
        end = turn_end(events)
        assert (end.outcome, end.finish_reason) == ("interrupted", reason)
        assert end.sentence == SENTENCES[reason]
        assert end.error_id is not None
        assert [f"kind={reason}" in line for line in book.naming(end.error_id)] == [True]
        answer = messages(tmp_path)[1]
        assert answer["content"] == "Half of it"
        assert [answer[name] for name in ("status", "finish_reason", "error_id")] == [
            *("interrupted", reason, end.error_id)
        ]
        again = await all_events(runtime.chat.turn(session, "hello", key="k"))
        assert (turn_end(again), answer_text(again)) == (end, "Half of it")
        assert endpoint.request_count == 1


async def test_an_answer_that_ended_well_says_so(tmp_path: Path) -> None:
    async with app(tmp_path, "echo") as (runtime, _):
        events = await all_events(runtime.chat.turn(await session_of(runtime), "hi", key="k"))
        end = turn_end(events)
        assert (end.outcome, end.finish_reason, end.sentence) == ("complete", "stop", None)
        assert messages(tmp_path)[1]["finish_reason"] == "stop"


async def test_a_cut_answer_goes_on_from_where_it_was_cut(tmp_path: Path) -> None:
    async with app(tmp_path, "length") as (runtime, endpoint):
        session = await session_of(runtime)
        await all_events(runtime.chat.turn(session, "hello", key="1"))
        await all_events(runtime.chat.turn(session, "Continue", key="2"))
        said = [(m["role"], m["content"]) for m in endpoint.requests[-1].messages[1:]]
        assert said == [("user", "hello"), ("assistant", "Half of it"), ("user", "Continue")]


async def test_a_conversation_goes_on_after_a_failed_turn_where_roles_must_alternate(
    tmp_path: Path,
) -> None:
    async with app(tmp_path, "alternating") as (runtime, endpoint):
        session = await session_of(runtime)
        events: list[TurnEvent] = []
        for number, text in enumerate(("one", "fail", "two", "three")):
            events = await all_events(runtime.chat.turn(session, text, key=str(number)))
        assert turn_end(events).outcome == "complete"
        sent = [
            [(m["role"], m["content"]) for m in request.messages[1:]]
            for request in endpoint.requests[-3:]
        ]
        before = [("user", "one"), ("assistant", "Well")]
        merged = [*before, ("user", "fail\n\ntwo")]
        assert sent == [
            [*before, ("user", "fail"), ("user", "two")],  # refused, and never sent so again
            merged,
            [*merged, ("assistant", "Well"), ("user", "three")],
        ]
        assert [m["content"] for m in messages(tmp_path) if m["role"] == "user"] == [
            *("one", "fail", "two", "three")
        ]


@pytest.mark.parametrize("model", ["thinking", "unopened"])
async def test_thoughts_are_kept_beside_the_answer_and_no_model_sees_them(
    model: str, tmp_path: Path
) -> None:
    async with app(tmp_path, model) as (runtime, endpoint):
        session = await session_of(runtime)
        events = await all_events(runtime.chat.turn(session, "hello", key="1"))
        assert turn_end(events).outcome == "complete"
        answer = messages(tmp_path)[1]
        assert answer["content"].strip() == "Yes"
        assert answer["thinking"].strip() == f"{THOUGHT} hm"
        again = await all_events(runtime.chat.turn(session, "hello", key="1"))
        assert answer_text(again) == answer["content"]
        assert thoughts(again) == answer["thinking"]
        await all_events(runtime.chat.turn(session, "more", key="2"))
        assert THOUGHT not in str(endpoint.requests[-1].body)
        stored = await session.memory.search(session.owner, THOUGHT)
        assert stored == []


async def test_an_answer_given_anew_has_none_of_the_old_thoughts(tmp_path: Path) -> None:
    async with app(tmp_path, "thinking", models="echo") as (runtime, _):
        session = await session_of(runtime)
        await all_events(runtime.chat.turn(session, "hello", key="1"))
        await all_events(runtime.chat.turn(session, "other", key="2", model="echo"))
        await all_events(runtime.chat.regenerate(session, key="3", text="once more"))
        shown = [m for m in messages(tmp_path) if not m["superseded"]]
        assert [m["thinking"] is not None for m in shown] == [False, True, False, False]


async def test_sources_are_kept_with_their_numbers(tmp_path: Path) -> None:
    async with app(tmp_path, "citing") as (runtime, _):
        session = await session_of(runtime)
        expected = tuple(Source(source["url"], source["title"]) for source in SOURCES)
        for _ in range(2):  # once by the model, once from the memory
            events = await all_events(runtime.chat.turn(session, "hello", key="k"))
            cited = [source for e in events if isinstance(e, SourcesCited) for source in e.sources]
            assert tuple(cited) == expected


async def test_kinds_of_tokens_are_kept(tmp_path: Path) -> None:
    async with app(tmp_path, "counted") as (runtime, _):
        session = await session_of(runtime)
        events = await all_events(runtime.chat.turn(session, "hello", key="k"))
        assert UsageReported(10, 20, False, 4, 15) in events
        _, answer = await session.memory.messages(session.owner, session.conversation_id or "")
        assert (answer.details.cached_tokens, answer.details.reasoning_tokens) == (4, 15)
        assert answer.tokens_used == 30


# -- pictures ---------------------------------------------------------------------


async def test_a_picture_becomes_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    async with app(tmp_path, "pictured") as (runtime, endpoint):
        session, other = await session_of(runtime), await session_of(runtime, "bob")
        events = await all_events(runtime.chat.turn(session, "hello", key="k"))
        assert turn_end(events).outcome == "complete"
        assert not [event for event in events if isinstance(event, PictureReceived)]
        (picture,) = (event for event in events if isinstance(event, PictureStored))
        assert picture.name == "picture-1.png"
        file, path = await runtime.files.open(session.principal, picture.file_id)
        assert (file.seq, file.conversation_id, file.kind) == (2, session.conversation_id, "image")
        assert path.read_bytes() == png()
        with pytest.raises(FileMissingError):
            await runtime.files.open(other.principal, picture.file_id)
        again = await all_events(runtime.chat.turn(session, "hello", key="k"))
        assert picture in again
        await all_events(runtime.chat.turn(session, "more", key="2"))
        assert "image_url" not in str(endpoint.requests[-1].body)
        await runtime.history.forget(session.principal)
        with pytest.raises(FileMissingError):
            await runtime.files.open(session.principal, picture.file_id)
        assert not path.exists()


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("no-picture", {}),
        ("damaged-picture", {}),
        ("large-picture", {"max_file_bytes": 1024}),
        ("large-picture", {"file_quota_bytes": 1024}),
    ],
)
async def test_a_picture_that_cannot_be_kept_is_named_below_the_answer(
    model: str, changes: dict[str, object], tmp_path: Path
) -> None:
    async with app(tmp_path, model, **changes) as (runtime, _):
        session = await session_of(runtime)
        for _ in range(2):  # once by the model, once from the memory
            events = await all_events(runtime.chat.turn(session, "hello", key="k"))
            end = turn_end(events)
            assert end.outcome == "complete"
            assert (end.sentence or "").startswith(NOT_KEPT)
            assert not [event for event in events if isinstance(event, PictureStored)]
        assert rows(tmp_path, "SELECT 1 FROM agent_files") == []
        assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


async def test_an_answer_whose_only_picture_cannot_be_kept_is_a_failure(tmp_path: Path) -> None:
    async with app(tmp_path, "damaged-picture-alone") as (runtime, _):
        session = await session_of(runtime)
        for _ in range(2):  # once by the model, once from the memory
            end = turn_end(await all_events(runtime.chat.turn(session, "hello", key="k")))
            assert (end.outcome, end.finish_reason) == ("failed", None)
            assert (end.sentence or "").startswith(NOT_KEPT)
            assert end.error_id is not None
        assert [messages(tmp_path)[1][name] for name in ("status", "content")] == ["failed", ""]


async def test_an_answer_is_stored_although_the_disk_takes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(FileStore, "_accept", refuse)
    async with app(tmp_path, "pictured") as (runtime, _):
        session = await session_of(runtime)
        with logbook() as book:
            events = await all_events(runtime.chat.turn(session, "hello", key="k"))
        end = turn_end(events)
        assert end.outcome == "complete"
        sentence = re.fullmatch(
            rf"{re.escape(NOT_KEPT)} .+ \(error ([0-9a-f]{{8}})\)", end.sentence or ""
        )
        assert sentence is not None
        assert len(book.naming(sentence[1])) == 1
        answer = messages(tmp_path)[1]
        assert [answer[name] for name in ("status", "content")] == ["complete", "Here "]


async def test_a_stop_while_a_picture_is_being_stored_is_named_below_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_storing = asyncio.Event()

    async def wait(*_: object) -> None:
        is_storing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Files, "add_picture", wait)
    async with app(tmp_path, "pictured") as (runtime, _):
        turn = runtime.chat.turn(await session_of(runtime), "hello", key="k")
        reading = asyncio.create_task(all_events(turn))
        await is_storing.wait()
        turn.stop()
        assert turn_end(await reading).sentence == NOT_KEPT
        assert messages(tmp_path)[1]["content"] == "Here "


async def test_where_nothing_is_stored_the_answer_says_that_there_was_a_picture(
    tmp_path: Path,
) -> None:
    async with app(tmp_path, "pictured") as (runtime, _):
        history = [HistoryMessage("user", "hello")]
        events = await all_events(runtime.chat.complete(await session_of(runtime), history))
        assert answer_text(events) == f"Here \n\n{NO_PICTURES}"
        assert isinstance(events[-2], TextDelta)


# -- limits -----------------------------------------------------------------------


async def test_estimated_tokens_count_for_the_limit_of_a_day(tmp_path: Path) -> None:
    async with app(tmp_path, "uncounted", tokens_per_day=40) as (runtime, _):
        session = await session_of(runtime)
        first = await all_events(runtime.chat.turn(session, "hello", key="1"))
        assert turn_end(first).outcome == "complete"
        with pytest.raises(RateLimitError):
            await all_events(runtime.chat.turn(session, "hello", key="2"))
        assert messages(tmp_path)[1]["tokens_estimated"] == 1

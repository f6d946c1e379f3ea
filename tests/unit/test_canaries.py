"""Canaries: whose text it is shows in any piece of it; nothing else passes for one."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cmw_agent.agent.tripwire import WatchedEvents
from cmw_agent.core.events import (
    AgentEvent,
    PictureReceived,
    TextDelta,
    ThinkingDelta,
    ToolStarted,
)
from cmw_agent.identity.canaries import LENGTH, PREFIX, Canaries, begun
from cmw_agent.identity.tripwire import READ_BYTES, IsolationBreachError, Tripwire
from cmw_agent.observability.canary_filter import LEFT_OUT, CanaryFilter

KEY, OLD = "k" * 40, "o" * 40
CANARIES = Canaries((KEY,))
TRIPWIRE = Tripwire(CANARIES, lambda: None)
ALICE, BOB = CANARIES.of("alice"), CANARIES.of("bob")
NEAR = st.sampled_from(["c", "cm", "cmw", "cmwx", ALICE[:-1], ALICE[1:], PREFIX + "a" * 26, " "])
AROUND = st.lists(st.one_of(NEAR, st.text(max_size=5)), max_size=4).map("".join)


def passed(owner: str, pieces: list[AgentEvent]) -> list[AgentEvent]:
    """Return what a tripwire passes on of a run's events."""
    got: list[AgentEvent] = []
    watched = WatchedEvents(TRIPWIRE, owner, got.append)
    for piece in pieces:
        watched(piece)
    watched.flush()
    return got


async def downloaded(owner: str, text: str, sizes: list[int]) -> tuple[bytes, bool]:
    """Return what an owner gets of a download, and whether it came to its end."""

    async def pieces() -> AsyncGenerator[bytes]:
        for piece in divided(text, sizes):
            yield piece.encode()

    got = b""
    try:
        async for piece in TRIPWIRE.outgoing(owner, pieces()):
            got += piece
    except IsolationBreachError:
        return got, False
    return got, True


def divided(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


def test_an_owner_has_one_canary_and_nobody_else_has_it() -> None:
    assert CANARIES.of("alice") == ALICE != BOB
    assert len(ALICE) == LENGTH
    assert CANARIES.found(f"{ALICE}, {BOB}.") == [ALICE, BOB]


def test_no_text_without_the_key_is_a_canary() -> None:
    assert CANARIES.found(Canaries(("x" * 40,)).of("alice")) == []
    assert CANARIES.found(PREFIX + "a" * 26) == []
    assert CANARIES.found(ALICE[:-1] + ("a" if ALICE[-1] != "a" else "b")) == []


def test_a_canary_outlives_a_change_of_the_key() -> None:
    changed = Canaries((KEY, OLD))
    before = Canaries((OLD,)).of("alice")
    assert changed.found(before) == [before]
    assert before in changed.own("alice")
    assert changed.of("alice") == ALICE


@given(before=AROUND, after=AROUND, sizes=st.lists(st.integers(0, 9), max_size=30))
def test_nothing_of_a_foreign_canary_passes_however_the_text_is_divided(
    before: str, after: str, sizes: list[int]
) -> None:
    got: list[AgentEvent] = []
    watched = WatchedEvents(TRIPWIRE, "bob", got.append)
    with pytest.raises(IsolationBreachError):
        for piece in divided(before + ALICE + after, sizes):
            watched(TextDelta(piece))
    watched.flush()
    text = "".join(event.text for event in got if isinstance(event, TextDelta))
    assert before.startswith(text)


@given(text=AROUND, sizes=st.lists(st.integers(0, 9), max_size=30))
def test_all_other_text_passes_whole(text: str, sizes: list[int]) -> None:
    assume(not CANARIES.found(text))
    got = passed("bob", [TextDelta(piece) for piece in divided(text, sizes)])
    assert "".join(event.text for event in got if isinstance(event, TextDelta)) == text


@given(before=AROUND, after=AROUND, sizes=st.lists(st.integers(0, 9), max_size=30))
def test_ones_own_canary_is_left_out(before: str, after: str, sizes: list[int]) -> None:
    assume(CANARIES.found(before + ALICE + after) == [ALICE])
    pieces = [TextDelta(piece) for piece in divided(before + ALICE + after, sizes)]
    text = "".join(event.text for event in passed("alice", [*pieces]) if hasattr(event, "text"))
    assert text == before + after


def test_text_that_waits_keeps_its_order() -> None:
    call = ToolStarted("1", "calculate", {"expression": "1"})
    events: list[AgentEvent] = [
        TextDelta("see cmw"),
        ThinkingDelta("c"),
        TextDelta("m"),
        call,
        TextDelta("end"),
    ]
    expected = [
        *(TextDelta("see "), TextDelta("cmw"), ThinkingDelta("c"), TextDelta("m"), call),
        TextDelta("end"),
    ]
    assert passed("bob", events) == expected


def test_a_tripped_run_emits_nothing_more() -> None:
    got: list[AgentEvent] = []
    watched = WatchedEvents(TRIPWIRE, "bob", got.append)
    with pytest.raises(IsolationBreachError):
        watched(ToolStarted("1", "calculate", {"expression": ALICE}))
    watched(TextDelta("more"))
    watched.flush()
    assert got == []


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), ("abc", 1), ("a cm", 2), ("cmw", 3), (PREFIX, 4), (ALICE[:-1], LENGTH - 1)],
)
def test_only_the_beginning_of_a_canary_waits(text: str, length: int) -> None:
    assert begun(text) == length
    assert begun(f"{text} ") == 0
    assert begun(ALICE) == 0


@given(before=AROUND, after=AROUND, sizes=st.lists(st.integers(0, 9), max_size=30))
def test_a_download_ends_before_a_foreign_canary_however_it_is_divided(
    before: str, after: str, sizes: list[int]
) -> None:
    got, is_whole = asyncio.run(downloaded("bob", before + ALICE + after, sizes))
    assert not is_whole
    assert before.encode().startswith(got)


@given(text=AROUND, sizes=st.lists(st.integers(0, 9), max_size=30))
def test_a_download_of_ones_own_comes_as_it_is(text: str, sizes: list[int]) -> None:
    assert asyncio.run(downloaded("alice", text + ALICE, sizes)) == (
        (text + ALICE).encode(),
        not any(canary != ALICE for canary in CANARIES.found(text)),
    )


@pytest.mark.parametrize("start", [0, 7, READ_BYTES - LENGTH, READ_BYTES - 1, READ_BYTES])
async def test_a_foreign_canary_anywhere_in_a_file_is_found(start: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * start + ALICE.encode() + b"\x00")
    await TRIPWIRE.check_file("alice", path)
    with pytest.raises(IsolationBreachError):
        await TRIPWIRE.check_file("bob", path)


def test_a_picture_with_a_foreign_canary_in_its_bytes_is_not_passed_on() -> None:
    picture = PictureReceived("image/png", b"\x89PNG\xff" + ALICE.encode())
    assert passed("alice", [picture]) == [picture]
    with pytest.raises(IsolationBreachError):
        passed("bob", [picture])


@pytest.mark.parametrize(
    ("message", "args"),
    [(ALICE, ()), ("%s and %s", ("a", ALICE)), ("%d", (ALICE,)), (f"{ALICE} %d", ("x",))],
)
def test_a_log_line_with_anybodys_canary_is_left_out_once(
    message: str, args: tuple[str, ...]
) -> None:
    reports: list[None] = []
    kept_out = CanaryFilter(CANARIES, lambda: reports.append(None))
    record = logging.LogRecord("app", logging.INFO, "/src/turns.py", 7, message, args, None)
    for _ in ("two", "handlers"):
        assert kept_out.filter(record)
    text = record.getMessage()
    assert text.startswith(f"{LEFT_OUT} error_id=")
    assert text.endswith(" place=turns:7")
    assert record.levelname == "CRITICAL"
    assert len(reports) == 1

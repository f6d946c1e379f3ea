"""What an answer gathers beside its text: thoughts, sources, pictures, another model."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.chat.answer import MAX_PICTURES, MAX_SOURCES, AnswerAccumulator
from cmw_agent.chat.answer_events import MAX_URL_CHARS, replayed, storable
from cmw_agent.chat.turn import Turn
from cmw_agent.core.events import (
    AgentEvent,
    ModelSwitched,
    PictureReceived,
    PictureStored,
    Source,
    SourcesCited,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UsageReported,
)
from cmw_agent.core.finish_reasons import SENTENCES, sentence_for
from memory.records import AnswerDetails, PictureRecord, SourceRecord, StoredMessage, ToolRecord
from memory.validation import pack_details
from memory.validation import storable as is_storable

SOURCE = Source("https://a.example/1", "One")
PICTURE = PictureReceived("image/png", b"png")


class Seconds:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def gathered(*steps: AgentEvent | PictureStored | float) -> AnswerAccumulator:
    """Return an answer of these events; a number lets so many seconds pass."""
    clock = Seconds()
    answer = AnswerAccumulator(clock=clock)
    for step in steps:
        if isinstance(step, int | float):
            clock.now += step
        else:
            answer.add(step)
    return answer


# -- thoughts ---------------------------------------------------------------------


def test_thoughts_are_not_part_of_the_answer() -> None:
    answer = gathered(ThinkingDelta("hm"), ThinkingDelta(" hm"), TextDelta("yes"))
    assert (answer.thinking, answer.text) == ("hm hm", "yes")


@pytest.mark.parametrize(
    "end",
    [TextDelta("a"), ToolStarted("1", "calculate", {}), UsageReported(1, 1)],
    ids=["text", "tool", "end"],
)
def test_a_thought_lasts_from_its_first_word_to_what_follows_it(end: AgentEvent) -> None:
    answer = gathered(5.0, ThinkingDelta("a"), 1.5, ThinkingDelta("b"), 0.5, end, 7.0)
    assert answer.details.thinking_ms == 2000


def test_the_thoughts_of_several_calls_are_added_up_and_one_that_goes_on_counts_so_far() -> None:
    answer = gathered(ThinkingDelta("a"), 1.0, TextDelta("b"), 9.0, ThinkingDelta("c"), 2.0)
    assert answer.details.thinking_ms == 3000


def test_text_that_was_thinking_becomes_thoughts_and_earlier_text_stays() -> None:
    answer = gathered(
        TextDelta("Let me see."),
        1.0,
        UsageReported(1, 1),
        TextDelta("\n\nhm"),
        2.0,
        TextDelta(" hm"),
        TextWasThinking(7),
        3.0,
        TextDelta("yes"),
    )
    assert (answer.text, answer.thinking) == ("Let me see.yes", "\n\nhm hm")
    assert answer.details.thinking_ms == 2000


@pytest.mark.parametrize("length", [0, 2, 99])
def test_no_length_moves_more_text_than_there_is(length: int) -> None:
    answer = gathered(TextDelta("ab"), TextWasThinking(length))
    assert answer.text + answer.thinking == "ab"
    assert len(answer.thinking) == min(length, 2)


def test_thoughts_alone_are_an_empty_answer() -> None:
    assert gathered(ThinkingDelta("hm")).is_empty
    assert not gathered(PICTURE).is_empty


# -- the rest ---------------------------------------------------------------------


def test_an_answer_gathers_sources_pictures_models_and_kinds_of_tokens() -> None:
    answer = gathered(
        ModelSwitched("a", "b"),
        ModelSwitched("b", "c"),
        SourcesCited((SOURCE,)),
        SourcesCited((Source("", "Two"),)),
        PICTURE,
        PictureStored("f1", "p.png"),
        UsageReported(10, 20, False, 3, 4),
        UsageReported(10, 20, False, 1, 1),
    )
    answer.note = "A note."
    assert answer.pictures == [PICTURE]
    assert answer.switched == ModelSwitched("a", "c")
    assert answer.details == AnswerDetails(
        sources=(SourceRecord(SOURCE.url, "One"), SourceRecord("", "Two")),
        pictures=(PictureRecord("f1", "p.png"),),
        cached_tokens=4,
        reasoning_tokens=5,
        switched_from="a",
        note="A note.",
    )


def test_no_answer_holds_more_sources_and_pictures_than_a_few() -> None:
    answer = gathered(*[SourcesCited((SOURCE,) * 70)] * 2, *[PICTURE] * 30)
    assert len(answer.sources) == MAX_SOURCES
    assert len(answer.pictures) == MAX_PICTURES


@given(st.text())
def test_what_a_model_thinks_and_cites_can_always_be_stored(text: str) -> None:
    answer = AnswerAccumulator()
    for event in (
        ThinkingDelta(text),
        SourcesCited((Source(text, text), Source(f"https://a.example/{text}", text))),
        ModelSwitched(text, text),
    ):
        answer.add(storable(event))
    assert is_storable(answer.thinking)
    pack_details(answer.details)
    assert all(s.url == "" or s.url.startswith("https://a.example/") for s in answer.sources)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//a.example",
        "https://a.example/ b",
        'https://a.example/"onclick="x',
        "https://a.example/<b>",
        "https://" + "a" * MAX_URL_CHARS,
        "",
    ],
)
def test_a_source_without_a_web_address_keeps_its_number_and_title_alone(url: str) -> None:
    cited = storable(SourcesCited((Source(url, " A\n title "), SOURCE)))
    assert cited == SourcesCited((Source("", "A title"), SOURCE))


def test_a_page_that_joins_gets_all_that_has_come_in_its_order() -> None:
    call = ToolRecord("1", "calculate", {}, "2", True, 0)
    answer = gathered(
        SourcesCited((SOURCE,)),
        TextDelta("text"),
        PictureStored("f1", "p.png"),
        ThinkingDelta("hm"),
        ToolStarted("1", "calculate", {}),
        ToolFinished("1", "calculate", "2", True, 0.0),
        ModelSwitched("a", "b"),
    )
    whole = [
        ModelSwitched("a", "b"),
        ThinkingDelta("hm"),
        ToolStarted("1", "calculate", {}),
        ToolFinished("1", "calculate", "2", True, 0.0),
        TextDelta("text"),
        SourcesCited((SOURCE,)),
        PictureStored("f1", "p.png"),
    ]
    assert answer.tools == [call]
    assert answer.events() == whole
    end = TurnFinished("complete", None, None, 7, "stop")
    assert replayed(stored(answer)) == [*whole, end]


def stored(answer: AnswerAccumulator) -> StoredMessage:
    return StoredMessage(
        seq=2,
        role="assistant",
        content=answer.text,
        tool_calls=tuple(answer.tools),
        status="complete",
        model_used="b",
        tokens_used=7,
        latency_ms=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        turn_id="t",
        error_id=None,
        feedback=None,
        thinking=answer.thinking or None,
        finish_reason="stop",
        details=answer.details,
    )


@pytest.mark.parametrize("reason", ["length", "content_filter", "error", "missing"])
def test_a_stored_answer_gives_the_sentence_about_its_end_again(reason: str) -> None:
    cut = replace(
        stored(gathered(TextDelta("a"))),
        status="interrupted",
        error_id="abcd1234",
        finish_reason=reason,
        details=AnswerDetails(note="A picture was not kept."),
    )
    end = replayed(cut)[-1]
    assert isinstance(end, TurnFinished)
    assert end.finish_reason == reason
    assert end.sentence == f"{SENTENCES[reason]} A picture was not kept."
    assert (end.outcome, end.error_id) == ("interrupted", "abcd1234")


@pytest.mark.parametrize("reason", ["stop", None, "something of a later version"])
def test_there_is_nothing_to_say_of_a_good_end_or_an_unknown_one(reason: str | None) -> None:
    assert sentence_for(reason) is None
    end = replayed(replace(stored(gathered(TextDelta("a"))), finish_reason=reason))[-1]
    assert isinstance(end, TurnFinished)
    assert end.sentence is None


async def test_thoughts_that_nobody_has_fetched_are_merged() -> None:
    turn = Turn("k", "hi", is_new=True)
    reader = turn.read()
    for event in (ThinkingDelta("a"), ThinkingDelta("b"), TextDelta("c"), ThinkingDelta("d")):
        turn.emit(event)
    turn.emit(TurnFinished("complete"))
    assert [event async for event in reader] == [
        ThinkingDelta("ab"),
        TextDelta("c"),
        ThinkingDelta("d"),
        TurnFinished("complete"),
    ]

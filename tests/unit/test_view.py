"""Rendering of a conversation in Gradio's normal form, in the right order."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from gradio.components.chatbot import ChatbotDataMessages
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.events import (
    ModelSwitched,
    PictureStored,
    Source,
    SourcesCited,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.language import languages
from cmw_agent.web.gradio_transport.protocol import edits
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.page.live_answer import LiveAnswer
from cmw_agent.web.page.steps import MAX_THOUGHTS_CHARS, link_button, thinking_step, tool_step
from memory.records import (
    AnswerDetails,
    PictureRecord,
    SourceRecord,
    StoredMessage,
    ToolRecord,
)

ENGLISH = languages().english
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(role: str, content: str, status: str = "complete", **more: object) -> StoredMessage:
    values: dict[str, object] = {
        "seq": 1,
        "role": role,
        "content": content,
        "tool_calls": (),
        "status": status,
        "model_used": None,
        "tokens_used": None,
        "latency_ms": None,
        "created_at": NOW,
        "turn_id": "t",
        "error_id": None,
        "feedback": None,
        **more,
    }
    return StoredMessage(**values)  # type: ignore[arg-type]


def said(value: list[DrawnMessage]) -> list[str]:
    return [item["content"][0]["text"] for item in value]


GRADIOS = ("title", "status", "duration")  # of a part's metadata; the rest is the pane's


def normal(value: list[DrawnMessage]) -> list[DrawnMessage]:
    """Return what Gradio makes of drawn parts."""
    drawn: list[DrawnMessage] = ChatbotDataMessages(root=value).model_dump()
    return drawn


def without_marks(part: DrawnMessage) -> DrawnMessage:
    metadata = {name: part["metadata"][name] for name in GRADIOS if name in part["metadata"]}
    return {**part, "metadata": metadata}


def test_what_is_drawn_is_gradio_s_own_normal_form() -> None:
    live = LiveAnswer([message("user", "hi", {"seq": 1})], ENGLISH)
    live.add(ToolStarted("1", "calculate", {"expression": "1"}))
    live.add(ToolFinished("1", "calculate", "1", True, 0.01))
    live.add(TextDelta("one"))
    live.add(TurnFinished("interrupted"))
    value = live.drawn()
    assert normal(value) == [without_marks(part) for part in value]


def test_a_sign_of_life_stands_where_the_answer_will_be() -> None:
    live = LiveAnswer([message("user", "hi")], ENGLISH)
    assert said(live.drawn()) == ["hi", rendering.WAITING]
    live.add(TextDelta("yes"))
    assert said(live.drawn()) == ["hi", "yes"]


def test_text_and_tools_keep_their_order() -> None:
    live = LiveAnswer([], ENGLISH)
    for event in (
        TextDelta("Let me "),
        TextDelta("see."),
        ToolStarted("1", "calculate", {}),
        ToolStarted("2", "current_time", {}),
        ToolFinished("2", "current_time", "noon", True, 0.1),
        ToolFinished("1", "calculate", "boom", False, 0.1),
        TextDelta("\n\nDone"),
        TextDelta("."),
    ):
        live.add(event)
    value = live.drawn()
    assert [said(value)[0], said(value)[-1]] == ["Let me see.", "Done."]
    titles = [item["metadata"]["title"] for item in value if "title" in item["metadata"]]
    assert titles == ["⚠️ calculate", "🛠️ current_time"]


def test_a_message_that_was_handed_out_is_never_changed() -> None:
    live = LiveAnswer([message("user", "hi")], ENGLISH)
    live.add(TextDelta("a"))
    first = live.drawn()
    copy = [dict(item, content=[dict(part) for part in item["content"]]) for item in first]
    live.add(TextDelta("b"))
    second = live.drawn()
    assert first == copy
    assert second[0] is first[0]
    assert said(second) == ["hi", "ab"]


@given(st.text())
def test_a_result_cannot_leave_its_fence(result: str) -> None:
    text = tool_step("t", {"a": result}, ENGLISH, result)["content"][0]["text"]
    fences = re.findall(r"^(`{3,})$", text, re.MULTILINE)
    longest = max((len(run) for run in re.findall(r"`+", result)), default=0)
    assert len(fences[-1]) > longest
    assert text.endswith(f"\n{fences[-1]}\n")


def test_each_part_knows_its_message_and_each_answer_its_rating() -> None:
    call = ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 12)
    given = [
        stored("user", "hi", seq=3),
        stored("assistant", "half", "interrupted", tool_calls=(call,), seq=4, feedback="like"),
        stored("user", "again", seq=7),
        stored("assistant", "whole", seq=8),
    ]
    drawn = rendering.history(given, ENGLISH)
    marks = [(part["metadata"]["seq"], part["metadata"].get("rating")) for part in drawn]
    assert marks == [(3, None), *[(4, "like")] * 3, (7, None), (8, None)]
    live = LiveAnswer(drawn[:-1], ENGLISH)
    events = (TurnStarted("t", "c", 7, 8), ThinkingDelta("hm"), ToolStarted("1", "calculate", {}))
    for event in (*events, TextDelta("whole"), TurnFinished("interrupted")):
        live.add(event)
        assert {part["metadata"]["seq"] for part in live.drawn()[len(drawn) - 1 :]} == {8}


def test_a_stored_answer_shows_what_became_of_it() -> None:
    call = ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 12)
    drawn = rendering.history(
        [
            stored("user", "hi"),
            stored("assistant", "half", "interrupted", tool_calls=(call,)),
            stored("user", "again"),
            stored("assistant", "", "failed", error_id="abcd1234"),
        ],
        ENGLISH,
    )
    texts = said(drawn)
    assert texts[0] == "hi"
    assert drawn[1]["metadata"]["duration"] == 0.012
    assert texts[2] == "half"
    assert "stopped" in texts[3]
    assert "abcd1234" in texts[5]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(events: Sequence[TurnEvent], clock: Clock | None = None) -> list[tuple[str | None, str]]:
    """Return what is drawn of events, a second apart: the title, if any, and the text of each part."""
    clock = clock or Clock()
    live = LiveAnswer([], ENGLISH, clock)
    for event in events:
        live.add(event)
        clock.now += 1
    return parts(live.drawn())


def parts(drawn: list[DrawnMessage]) -> list[tuple[str | None, str]]:
    return [
        ((item["metadata"] or {}).get("title"), item["content"][0].get("text", "picture"))
        for item in drawn
    ]


def thought(text: str, title: str) -> tuple[str, str]:
    return f"💭 Thought for {title}", text


def test_thoughts_are_a_step_for_each_model_call_in_their_place() -> None:
    assert shown([ThinkingDelta("a"), ThinkingDelta("b")]) == [("💭 Thinking…", "ab")]
    call = ToolStarted("1", "calculate", {})
    events: list[TurnEvent] = [
        ThinkingDelta("a"),
        call,
        ToolFinished("1", "calculate", "1", True, 0.1),
    ]
    assert shown([*events, ThinkingDelta("c"), TextDelta("one")])[::2] == [
        thought("a", "1 s"),
        thought("c", "1 s"),
    ]
    # Some servers send thoughts and text in turn: the answer is one text nevertheless.
    mixed: list[TurnEvent] = [
        ThinkingDelta("a"),
        TextDelta("x"),
        ThinkingDelta("b"),
        TextDelta("y"),
    ]
    assert shown(mixed) == [thought("ab", "1 s"), (None, "xy")]
    # A turn that is stopped thinks no longer.
    stopped = shown([ThinkingDelta("a"), TurnFinished("interrupted")])
    assert stopped[0] == thought("a", "1 s")


def test_text_that_was_thought_moves_into_the_step() -> None:
    moved: list[TurnEvent] = [TextDelta("\n\nhm"), TextDelta(", so"), TextWasThinking(8)]
    assert shown(moved) == [thought("\n\nhm, so", "2 s")]
    assert shown([*moved, TextDelta("\n\nyes")])[1:] == [(None, "yes")]
    assert shown([ThinkingDelta("a"), *moved, TextDelta("yes")]) == [
        thought("a\n\nhm, so", "3 s"),
        (None, "yes"),
    ]
    assert shown([TextDelta("kept, gone"), TextWasThinking(6)]) == [
        (None, "kept"),
        thought(", gone", "1 s"),
    ]
    assert shown([TextDelta("short"), TextWasThinking(99)]) == [thought("short", "1 s")]
    assert shown([TextWasThinking(3), TextDelta("yes")]) == [(None, "yes")]


@given(st.lists(st.integers(0, 3 * MAX_THOUGHTS_CHARS), max_size=8))
def test_an_update_of_thoughts_sends_what_was_added_and_a_bounded_rest(sizes: list[int]) -> None:
    live, came = LiveAnswer([], ENGLISH), 1
    live.add(ThinkingDelta("t"))
    before = live.drawn()
    for size in sizes:
        live.add(ThinkingDelta("t" * size))
        changes, before, came = edits(before, live.drawn()), live.drawn(), came + size
        assert len(before[0]["content"][0]["text"]) <= 2 * MAX_THOUGHTS_CHARS
        if came <= 2 * MAX_THOUGHTS_CHARS and size:
            assert changes == [["append", [0, "content", 0, "text"], "t" * size]]
    live.add(TextDelta("one"))
    step = live.drawn()[0]
    assert len(step["content"][0]["text"]) <= MAX_THOUGHTS_CHARS + 100
    if came <= MAX_THOUGHTS_CHARS:  # what was sent is not sent again
        assert [change[0] for change in edits(before, live.drawn())] == ["replace", "add"]


def test_steps_are_labelled_in_the_reader_s_language() -> None:
    russian = languages().of("ru")
    asked = tool_step("send_mail", {}, russian, awaits_approval=True)
    done = tool_step("send_mail", {}, russian, "sent")
    account = link_button("connections/connect?ticket=" + "a" * 43, russian)
    steps = [asked, done, thinking_step("", russian), thinking_step("", russian, 61.0)]
    titles = [step["metadata"]["title"] for step in steps]
    assert titles == [
        "✋ send_mail: нужно ваше разрешение",
        "🛠️ send_mail",
        "💭 Размышляет…",
        "💭 Размышления: 1 мин 1 с",
    ]
    assert "**Аргументы**" in done["content"][0]["text"]
    assert "**Результат**" in done["content"][0]["text"]
    assert account is not None
    assert account["metadata"]["title"] == "🔗 Нужна учётная запись"


def test_sources_stand_below_the_answer_and_lead_to_the_web_alone() -> None:
    cited = SourcesCited((Source("https://a.example/?x=1&y=2", "<i>A</i> *b*"),))
    bad = [Source(url, "t") for url in ("javascript:x", "//a.example", 'https://a"b', "")]
    [*_, text, sources] = shown([TextDelta("o"), cited, SourcesCited(tuple(bad)), TextDelta("ne")])
    assert text == (None, "one")
    assert sources[1].splitlines() == [
        r"1. [\<i\>A\</i\> \*b\*](<https://a.example/?x=1&y=2>)",
        *[f"{number}. t" for number in range(2, 6)],
    ]
    [part] = rendering.sources([Source("https://connect.composio.dev/link/x", "t")])
    assert part["metadata"]["sources"] == [{"title": "t", "url": None}]


def test_a_stored_answer_is_drawn_as_it_was_shown() -> None:
    live: list[TurnEvent] = [
        ModelSwitched("a_1", "b"),
        ThinkingDelta("hm"),
        TextDelta("one [1]"),
        PictureStored("f" * 32, "p.png"),
        SourcesCited((Source("https://a.example", "A"),)),
        TurnFinished("interrupted", sentence_for("length"), "abcd1234", finish_reason="length"),
    ]
    details = AnswerDetails(
        thinking_ms=1000,
        sources=(SourceRecord("https://a.example", "A"),),
        pictures=(PictureRecord("f" * 32, "p.png"),),
        switched_from="a_1",
    )
    item = stored(
        "assistant",
        "one [1]",
        "interrupted",
        thinking="hm",
        details=details,
        model_used="b",
        error_id="abcd1234",
        finish_reason="length",
    )
    drawn = rendering.history([item], ENGLISH)
    assert shown(live) == parts(drawn)
    assert drawn[0]["content"][0]["text"] == r"↪️ *a\_1 did not answer; b answered.*"
    assert normal(drawn) == [without_marks(part) for part in drawn]
    assert [bool(part["options"]) for part in drawn] == [False] * 5 + [True]


def test_only_an_answer_that_was_cut_at_the_limit_can_be_continued() -> None:
    for reason in ("stop", "content_filter", "error", "missing", None):
        [note] = rendering.note(ENGLISH, "interrupted", sentence_for(reason), "abcd1234", reason)
        assert note["options"] is None
        assert "abcd1234" in note["content"][0]["text"]
    assert rendering.note(ENGLISH, "complete", None, None, "stop") == []
    [note] = rendering.note(ENGLISH, "complete", "A picture was left out.")
    assert "A picture was left out." in note["content"][0]["text"]

"""Thoughts in a message's text and fields: told apart from the answer wherever the text is cut."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import (
    AgentEvent,
    PictureReceived,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
)
from cmw_agent.llm.message_text import MessageText
from cmw_agent.llm.pictures import LEFT_OUT
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.thinking import (
    MAX_DETAIL_CHARS,
    MAX_DETAILS,
    ImpliedThinking,
    ThoughtFields,
)
from cmw_agent.llm.tool_calls import ToolCalls

PICTURE = "![a cat](data:image/png;base64,iVBORw0KGgo=)"


def joined(events: list[AgentEvent]) -> list[AgentEvent]:
    """Return the events with neighbours of one kind in one."""
    result: list[AgentEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            result[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(last, ThinkingDelta):
            result[-1] = ThinkingDelta(last.text + event.text)
        else:
            result.append(event)
    return result


def scanned(
    pieces: list[str], *, text_calls: bool = False, in_thoughts: bool = False
) -> tuple[list[AgentEvent], MessageText, ToolCalls]:
    events: list[AgentEvent] = []
    calls = ToolCalls(["clock"])
    content = MessageText(
        RunEvents(events.append),
        calls,
        {"clock": {}},
        text_calls=text_calls,
        in_thoughts=in_thoughts,
    )
    for piece in pieces:
        content.add(piece)
    content.finish(was_cut=False)
    return joined(events), content, calls


def told(text: str, *, in_thoughts: bool = False) -> tuple[str, str]:
    """Return answer and thoughts as a page has them in the end."""
    events, content, _ = scanned([text], in_thoughts=in_thoughts)
    answer = thoughts = ""
    for event in events:
        match event:
            case TextDelta(more):
                answer += more
            case ThinkingDelta(more):
                thoughts += more
            case TextWasThinking(length):
                answer, thoughts = answer[:-length], thoughts + answer[-length:]
    assert content.text == answer
    return answer, thoughts


TAGGED = {
    "<think>hm</think>\n\nHello": ("Hello", "hm"),
    "\n<think>\nhm\n</think>\nHello": ("Hello", "hm\n"),
    "<THINK>hm</Think>Hello": ("Hello", "hm"),
    "<thinking>hm</thinking>Hello": ("Hello", "hm"),
    "<thought>hm</thought>Hello": ("Hello", "hm"),
    "<reasoning>hm</reasoning>Hello": ("Hello", "hm"),
    "[THINK]hm[/THINK]Hello": ("Hello", "hm"),
    "◁think▷hm◁/think▷Hello": ("Hello", "hm"),
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>": (
        "Hello",
        "hm",
    ),
    '<think effort="high">hm</think>Hello': ("Hello", "hm"),
    "<Thought a=b c='d'>hm</thought>Hello": ("Hello", "hm"),
    "<think of it>": ("<think of it>", ""),
    "<thought experiment=s\n>": ("<thought experiment=s\n>", ""),
    "<think></think>\n\nHello": ("Hello", ""),
    "<think>never closed": ("", "never closed"),
    "hm\n</think>\n\nHello": ("Hello", "hm\n"),
    "</think>\n\nHello": ("Hello", ""),
    "Hello\n<think>hm</think>\n\nthere": ("Hello\n\n\nthere", "hm"),
    "Hello <think>hm</think> there": ("Hello  there", "<think>hm"),
    "<think>a</think>b</think>c": ("bc", "a"),
    "<think>a `</think>` b</think>c": ("c", "a `</think>` b"),
    "The tag `<think>` opens and `</think>` closes.": (
        "The tag `<think>` opens and `</think>` closes.",
        "",
    ),
    "```html\n<think>\n</think>\n```\nSo.": ("```html\n<think>\n</think>\n```\nSo.", ""),
    "```<think>``` is code.\n<think>hm</think>Yes": ("```<think>``` is code.\nYes", "hm"),
    "~~~\n<think>\n~~~\n<think>hm</think>Yes": ("~~~\n<think>\n~~~\nYes", "hm"),
    "1 < 2, a <b>c</b>, x[0]!": ("1 < 2, a <b>c</b>, x[0]!", ""),
    "  indented": ("  indented", ""),
    " \n\t ": ("", ""),
}


@pytest.mark.parametrize("text", TAGGED)
def test_tagged_thoughts_are_no_part_of_the_answer(text: str) -> None:
    assert told(text) == TAGGED[text]


PARTS = st.sampled_from(
    [
        *("<think a=1>", "<think ", "b=", ">", '<reasoning abcdefghijkl="abcdefghijklmnopqrstu">'),
        *("<think>", "</think>", "<thinking>", "</Thinking>", "[THINK]", "[/THINK]", "<|end|>"),
        *("`", "``", "```", "~~~", "\n", " ", "a", "b c", "!", "![", "](", ")", "<", "</", "◁"),
        *("<tool_call>", "</tool_call>", '{"name": "clock", "arguments": {}}', "[TOOL_CALLS]"),
        *(
            "```json\n",
            "json",
            ".",
            PICTURE,
            PICTURE[:20],
            "data:image/png;base64,",
            "<function=",
            "</function>",
        ),
    ]
)


@given(st.lists(PARTS, max_size=14), st.data(), st.booleans(), st.booleans())
def test_a_text_cut_anywhere_gives_the_same_events(
    parts: list[str], data: Any, text_calls: bool, in_thoughts: bool
) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    outcomes = []
    for way in ([text], pieces, list(text)):
        events, content, calls = scanned(way, text_calls=text_calls, in_thoughts=in_thoughts)
        named = [(call["name"], call["args"]) for calls in calls.parse() for call in calls]
        outcomes.append((events, content.text, content.started_inside, named))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_plain_text_is_emitted_at_once() -> None:
    events: list[AgentEvent] = []
    content = MessageText(RunEvents(events.append), ToolCalls(), {})
    for piece in ("Hello", " world, 1 < 2", " and `code`.", " End"):
        content.add(piece)
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == content.text
    assert content.text == "Hello world, 1 < 2 and `code`. End"


def test_text_that_turns_out_to_be_thoughts_leaves_the_paragraph_before_it_whole() -> None:
    events: list[AgentEvent] = []
    run = RunEvents(events.append)
    run.begin_call()
    run.emit_text("First.")
    for text in ("hm</think>Second.",):
        run.begin_call()
        content = MessageText(run, ToolCalls(), {})
        content.add(text)
        content.finish(was_cut=False)
    assert events == [
        TextDelta("First."),
        TextDelta("\n\nhm"),
        TextWasThinking(4),
        TextDelta("\n\nSecond."),
    ]


def test_a_picture_s_link_among_unopened_thoughts_is_thoughts_with_them() -> None:
    events: list[AgentEvent] = []
    content = MessageText(RunEvents(events.append), ToolCalls(), {})
    link = {"type": "image_url", "image_url": {"url": "https://a.example/p.png"}}
    content.add_parts(["Let me see", link, " more", "</think>Yes"])
    content.finish(was_cut=False)
    assert content.text == "Yes"
    (length,) = [event.length for event in events if isinstance(event, TextWasThinking)]
    assert length == len("".join(content.thoughts))
    assert content.thoughts[0] == "Let me see"
    content.add_parts([link, "hm <think>so</think>So"])
    assert content.text.startswith("Yes\n\n[Picture](https://a.example/p.png)\n\nhm ")


# -- a model that starts inside its thoughts -------------------------------------------------


def test_a_model_that_starts_inside_its_thoughts_is_held_as_thinking_from_the_start() -> None:
    _, content, _ = scanned(["hm</think>Hello"])
    assert content.started_inside
    events, content, _ = scanned(["so", " then", "</think>\n\n", "Hi"], in_thoughts=True)
    assert events == [ThinkingDelta("so then"), TextDelta("Hi")]
    assert content.started_inside


def test_where_no_closing_tag_comes_the_thoughts_were_the_answer() -> None:
    events, content, _ = scanned(["Hel", "lo"], in_thoughts=True)
    assert events == [ThinkingDelta("Hello"), TextDelta("Hello")]
    assert content.text == "Hello"
    assert content.started_inside is False


def test_a_call_without_text_says_nothing_of_how_a_model_starts() -> None:
    assert scanned([])[1].started_inside is None


def test_what_one_made_a_model_write_changes_nothing_for_others() -> None:
    models = ImpliedThinking()
    for _ in range(9):
        models.learn("eve", "m", started_inside=True)  # she asked for the tag
    assert models.expects("eve", "m")
    assert not models.expects("eve", "n")
    assert not models.expects("bob", "m")
    assert not models.expects(None, "m")


def test_an_answer_without_the_tag_makes_a_model_s_thoughts_unexpected_for_longer() -> None:
    models = ImpliedThinking()
    delayed = 0
    for _ in range(200):
        models.learn("ada", "m", started_inside=True)
        delayed += models.expects("ada", "m")
        models.learn("ada", "m", started_inside=False)
        assert not models.expects("ada", "m")
    assert delayed == 1
    for _ in range(4):
        models.learn("ada", "m", started_inside=True)
    assert models.expects("ada", "m")


def test_what_is_remembered_of_models_is_bounded() -> None:
    models = ImpliedThinking()
    for number in range(10_100):
        models.learn(f"v{number}", "m", started_inside=True)
    assert len(models._models) == 10_000
    assert models.expects("v10099", "m")
    assert not models.expects("v0", "m")


# -- what is held back of a message that breaks off -------------------------------------------


def test_text_that_is_held_back_is_there_when_a_message_breaks_off() -> None:
    events: list[AgentEvent] = []
    for pieces, text_calls, shown, rest in (
        (["1 is <thi"], False, "1 is ", "<thi"),
        (["See ![a](data:image"], False, "See ", "![a](data:image"),
        (['{"name": "clo'], True, "", '{"name": "clo'),
        (["Yes\n<tool_call>{"], True, "Yes\n", ""),
    ):
        content = MessageText(
            RunEvents(events.append), ToolCalls(), {"clock": {}}, text_calls=text_calls
        )
        for piece in pieces:
            content.add(piece)
        assert (content.text, content.rest()) == (shown, rest)
        assert content.rest() == ""
    events.clear()
    content = MessageText(RunEvents(events.append), ToolCalls(), {})
    content.add("<think>hm </thi")
    assert content.rest() == ""
    assert joined(events) == [ThinkingDelta("hm </thi")]


# -- pictures in the text --------------------------------------------------------------------


def test_a_picture_in_the_text_is_a_picture_and_no_text() -> None:
    events, content, _ = scanned([f"Look: {PICTURE} Nice!"])
    assert events == [
        TextDelta("Look: "),
        PictureReceived("image/png", b"\x89PNG\r\n\x1a\n"),
        TextDelta(" Nice!"),
    ]
    assert content.has_pictures


def text_of(events: Sequence[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_a_picture_that_was_cut_leaves_a_note_and_no_data_in_the_text() -> None:
    events, content, _ = scanned([f"Look: {PICTURE[:-5]}"])
    assert events == [TextDelta(f"Look: \n\n{LEFT_OUT}\n\n")]
    assert not content.has_pictures


LARGE = "![a](data:image/png;base64," + "A" * 1_000


@pytest.mark.parametrize("rest", ["\n\nThe rest (of it).", '"The rest" of it.', ": the rest"])
def test_a_picture_without_an_end_takes_no_text_along(rest: str) -> None:
    for pieces in ([f"Look: {LARGE}{rest}"], list(f"Look: {LARGE}{rest}")):
        events, _, _ = scanned(pieces)
        assert list(filter(None, text_of(events).split("\n\n"))) == [
            "Look: ",
            LEFT_OUT,
            rest.strip(),
        ]


def test_a_text_about_pictures_in_a_text_stays_a_text() -> None:
    text = "Write ![a cat](data:image/png;base64,iVBORw0...) there, or [link](b)."
    for pieces in ([text], list(text)):
        assert text_of(scanned(pieces)[0]) == text
    text = f'{LARGE} "It is a cat of which there is a good deal to say, and more than that.") Nice!'
    for pieces in ([text], list(text)):
        events, _, _ = scanned(pieces)
        assert isinstance(events[0], PictureReceived)
        assert text_of(events) == " Nice!"


# -- calls that are a whole message ----------------------------------------------------------

JSON_CALL = '{"name": "clock", "arguments": {}}'


@pytest.mark.parametrize("before", ["", "\n ", "<think>hm</think>\n", "hm</think>\n\n"])
@pytest.mark.parametrize("in_thoughts", [False, True])
def test_a_call_that_is_a_whole_text_is_a_call_after_thoughts_too(
    before: str, in_thoughts: bool
) -> None:
    for call in (JSON_CALL, f"```json\n{JSON_CALL}\n```"):
        for pieces in ([before + call], [before, call], list(before + call)):
            _, content, calls = scanned(pieces, text_calls=True, in_thoughts=in_thoughts)
            assert [call["name"] for call in calls.parse()[0]] == ["clock"]
            assert content.text == ""


def test_a_code_block_that_is_no_call_is_emitted_at_once() -> None:
    for text in ("```python\nprint()", "`a` is a name", "``` js"):
        events: list[AgentEvent] = []
        content = MessageText(RunEvents(events.append), ToolCalls(), {}, text_calls=True)
        content.add(text + "\n")
        assert content.text == text + "\n"


# -- fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "thought", "wire"),
    [
        ({"reasoning_content": "a"}, "a", {"reasoning_content": "a"}),
        ({"reasoning": "a"}, "a", {"reasoning": "a"}),
        (
            {"reasoning": "a", "reasoning_content": "a"},
            "a",
            {"reasoning": "a", "reasoning_content": "a"},
        ),
        ({"thinking": "a"}, "a", {"thinking": "a"}),
        ({"thinking": {"content": "a"}}, "a", {"thinking": {"content": "a"}}),
        (
            {"reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
            "a",
            {"reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
        ),
        (
            {
                "reasoning": "a",
                "reasoning_details": [{"type": "reasoning.summary", "summary": "a"}],
            },
            "a",
            {
                "reasoning": "a",
                "reasoning_details": [{"type": "reasoning.summary", "summary": "a"}],
            },
        ),
        ({"reasoning_content": None, "reasoning": "", "thinking": 7}, "", {}),
    ],
)
def test_thoughts_are_read_once_and_sent_back_as_they_came(
    delta: dict[str, Any], thought: str, wire: dict[str, Any]
) -> None:
    fields = ThoughtFields()
    assert fields.add(delta) == thought
    assert fields.wire() == wire


def test_pieces_of_one_detail_are_sent_back_as_one() -> None:
    fields = ThoughtFields()
    kind = {"type": "reasoning.text", "index": 0}
    for entry in (
        {**kind, "text": "a", "id": "r1"},
        {**kind, "text": "b"},
        {**kind, "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "x"},
    ):
        fields.add({"reasoning_details": [entry]})
    assert fields.wire()["reasoning_details"] == [
        {**kind, "text": "ab", "id": "r1", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "x"},
    ]


def test_fields_that_come_in_pieces_are_bounded_and_leave_the_pieces_as_they_were() -> None:
    fields = ThoughtFields()
    first: dict[str, Any] = {"extra_content": {"a": 1}, "thinking_blocks": [{"signature": "s"}]}
    fields.add(first)
    for number in range(MAX_DETAILS + 5):
        fields.add({"extra_content": {f"a{number}": 1}, "thinking_blocks": [{"signature": "t"}]})
    wire = fields.wire()
    assert len(wire["extra_content"]) == len(wire["thinking_blocks"]) == MAX_DETAILS
    assert first == {"extra_content": {"a": 1}, "thinking_blocks": [{"signature": "s"}]}


def test_the_details_beside_thoughts_are_bounded_as_thoughts_are() -> None:
    fields, piece = ThoughtFields(), "t" * (MAX_DETAIL_CHARS // 4)
    entry = {"type": "reasoning.text", "text": piece, "index": 0}
    for _ in range(4 - 1):
        assert fields.add({"reasoning": "t", "reasoning_details": [entry]}) == "t"
    with pytest.raises(ModelFailedError, match="too large"):
        fields.add({"reasoning": "t", "reasoning_details": [{**entry, "data": "t"}]})

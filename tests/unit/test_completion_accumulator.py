"""A streamed completion becomes one message, whose end is judged."""

import json
from typing import Any

import pytest

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import (
    AgentEvent,
    PictureReceived,
    Source,
    SourcesCited,
    TextDelta,
    ThinkingDelta,
    UsageReported,
)
from cmw_agent.llm.accumulator import WIRE, CompletionAccumulator
from cmw_agent.llm.errors import StreamRefusedError
from cmw_agent.llm.finish_reasons import finish_reason
from cmw_agent.llm.message_text import MAX_TEXT
from cmw_agent.llm.pictures import LEFT_OUT, MAX_PICTURES
from cmw_agent.llm.run_events import RunEvents

CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
CALL = {"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}
CUT = {"index": 0, "id": "a", "function": {"name": "clock", "arguments": '{"zone": "Eur'}}
PNG = "data:image/png;base64,iVBORw0KGgo="


def chunk(delta: dict[str, Any] | None = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}


def text(content: Any) -> dict[str, Any]:
    return chunk({"content": content})


class Heard:
    """What came of some chunks: the events, and the message or the kind of its failure."""

    def __init__(self, *chunks: dict[str, Any], text_calls: bool = False) -> None:
        self.events: list[AgentEvent] = []
        self.accumulator = CompletionAccumulator(
            RunEvents(self.events.append), [CLOCK], text_calls=text_calls
        )
        for item in chunks:
            self.accumulator.add(item)
        self.accumulator.finish()

    @property
    def answer(self) -> tuple[str, str, int]:
        """The answer's text, its finish reason, and the number of its calls."""
        message = self.accumulator.message()
        calls = len(message.tool_calls) + len(message.invalid_tool_calls)
        return str(message.text), message.response_metadata["finish_reason"], calls

    @property
    def failure(self) -> str:
        with pytest.raises(ModelFailedError) as failed:
            self.accumulator.message()
        assert failed.value.sentence.endswith(".")
        return failed.value.kind

    @property
    def thoughts(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ThinkingDelta))

    def usage(self) -> UsageReported:
        self.accumulator.emit_usage(["one two three"], [])
        (usage,) = [event for event in self.events if isinstance(event, UsageReported)]
        return usage


# -- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        ([chunk({"role": "assistant"}), chunk(finish="stop")], "blank"),
        ([text(""), chunk(finish="stop")], "blank"),
        ([text(" \n\u200b "), chunk(finish="stop")], "blank"),
        ([chunk({"content": None, "tool_calls": []}, "tool_calls")], "blank"),
        ([chunk(finish="length")], "thoughts_only"),
        ([chunk({"role": "assistant"})], "blank"),
        ([{"choices": []}], "blank"),
        ([chunk({"reasoning_content": "hm"}), chunk(finish="stop")], "thoughts_only"),
        ([chunk({"reasoning": "hm"}), chunk(finish="length")], "thoughts_only"),
        ([text("<think>hm"), chunk(finish="length")], "thoughts_only"),
        ([text("<think>hm</think>\n\n"), chunk(finish="stop")], "thoughts_only"),
        ([text("hm</think>"), chunk(finish="stop")], "thoughts_only"),
        ([chunk(finish="content_filter")], "withheld"),
        ([chunk(finish="SAFETY")], "withheld"),
        ([chunk({"tool_calls": [CALL]}, "content_filter")], "withheld"),
        ([chunk({"tool_calls": [CUT]}, "length")], "cut_call"),
        ([chunk({"tool_calls": [CALL]}, "length")], "cut_call"),
        ([chunk({"tool_calls": [CALL]}, "MAX_TOKENS")], "cut_call"),
        ([chunk({"function_call": {"name": "clock"}}, "length")], "cut_call"),
        ([text("<tool_call>{}</tool_call>"), chunk(finish="stop")], "text_call"),
    ],
)
def test_what_is_no_answer_is_a_failure_that_says_why(
    chunks: list[dict[str, Any]], kind: str
) -> None:
    assert Heard(*chunks).failure == kind


@pytest.mark.parametrize(
    ("chunks", "answer"),
    [
        ([text("Hi"), chunk(finish="stop")], ("Hi", "stop", 0)),
        ([text("Hi"), chunk(finish="STOP")], ("Hi", "stop", 0)),
        ([text("Hi"), chunk(finish="eos")], ("Hi", "stop", 0)),
        ([text("Hi"), chunk(finish="somehow")], ("Hi", "stop", 0)),
        ([text("Hi"), chunk(finish="length")], ("Hi", "length", 0)),
        ([text("Hi"), chunk(finish="MAX_TOKENS"), chunk(finish="stop")], ("Hi", "length", 0)),
        ([text("Hi"), chunk(finish="content_filter")], ("Hi", "content_filter", 0)),
        ([text("Hi"), chunk(finish="error")], ("Hi", "error", 0)),
        ([text("Hi"), chunk(finish="network_error")], ("Hi", "error", 0)),
        ([text("Hi")], ("Hi", "missing", 0)),
        ([text("Hi"), chunk(finish="")], ("Hi", "missing", 0)),
        ([chunk({"refusal": "No."}), chunk(finish="stop")], ("No.", "stop", 0)),
        ([chunk({"tool_calls": [CALL]}, "tool_calls")], ("", "stop", 1)),
        ([chunk({"tool_calls": [CALL]}, "stop")], ("", "stop", 1)),
        ([chunk({"tool_calls": [CALL]})], ("", "missing", 1)),
        ([chunk({"tool_calls": [CUT]}, "tool_calls")], ("", "stop", 1)),
        ([chunk({"function_call": {"name": "clock"}}, "function_call")], ("", "stop", 1)),
        ([text("Hi"), chunk({"tool_calls": [CALL]}, "length")], ("Hi", "length", 0)),
        ([text("Hi\n<tool_call>{}</tool_call>"), chunk(finish="stop")], ("Hi\n", "error", 0)),
        (
            [{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}],
            ("Hi", "stop", 0),
        ),
        ([{"choices": [{"message": {"tool_calls": [CALL]}}]}], ("", "missing", 1)),
        ([{"choices": [{"text": "Hi", "finish_reason": "stop"}]}], ("Hi", "stop", 0)),
    ],
)
def test_an_answer_has_its_finish_reason_and_no_call_of_one_that_was_cut(
    chunks: list[dict[str, Any]], answer: tuple[str, str, int]
) -> None:
    assert Heard(*chunks).answer == answer


def test_a_server_that_says_it_failed_and_sends_nothing_has_failed() -> None:
    with pytest.raises(StreamRefusedError):
        Heard(chunk(finish="error")).accumulator.message()


def test_a_message_that_repeats_what_was_streamed_is_not_shown_twice() -> None:
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert Heard(text("Hi"), whole).answer == ("Hi", "stop", 0)


@pytest.mark.parametrize("word", [None, "", " ", "null", 7, "FINISH_REASON_UNSPECIFIED"])
def test_what_says_nothing_is_no_finish_reason(word: Any) -> None:
    assert finish_reason(word) is None


def test_a_message_without_end_is_not_kept_without_bound() -> None:
    for delta in ({"content": "x" * 65_536}, {"reasoning": "x" * 65_536}):
        heard = Heard(text("x"))
        with pytest.raises(ModelFailedError) as failed:
            for _ in range(MAX_TEXT // 65_536 + 1):
                heard.accumulator.add(chunk(delta))
        assert failed.value.kind == "too_large"


# -- thoughts and parts ----------------------------------------------------------------------


def test_a_delta_without_text_leaves_its_line_as_it_is() -> None:
    nothing = chunk({"content": "", "refusal": None})
    heard = Heard(text("Hello.\n"), nothing, text("<think>aside</think>Bye."), chunk(finish="stop"))
    assert "".join(e.text for e in heard.events if isinstance(e, ThinkingDelta)) == "aside"
    assert heard.answer[0] == "Hello.\nBye."


def test_thoughts_in_two_fields_are_shown_once() -> None:
    heard = Heard(chunk({"reasoning": "hm", "reasoning_content": "hm"}), text("Hi"))
    assert (heard.thoughts, heard.answer[0]) == ("hm", "Hi")


@pytest.mark.parametrize("thought", ["hm", [{"type": "text", "text": "hm"}]])
def test_content_in_parts_is_put_together(thought: Any) -> None:
    parts: list[Any] = [
        {"type": "thinking", "thinking": thought},
        {"type": "text", "text": "Hi "},
        {"type": "reference", "reference_ids": [1]},
        "there",
    ]
    heard = Heard(text(parts), text(" you"))
    assert (heard.thoughts, heard.answer[0]) == ("hm", "Hi there you")


def test_what_belongs_to_a_call_is_sent_back_with_it() -> None:
    call = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    heard = Heard(
        chunk({"role": "assistant", "reasoning_content": "h"}),
        chunk({"reasoning_content": "m", "content": None}),
        chunk({"tool_calls": [call], "signature": "x"}, "tool_calls"),
    )
    assert heard.accumulator.message().additional_kwargs[WIRE] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "signature": "x",
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "clock", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "s"}},
            }
        ],
    }


def test_calls_as_text_are_calls_where_the_model_writes_them_so() -> None:
    written = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
    for content in (
        written,
        f"Let me see.\n{written}",
        json.dumps({"name": "clock", "parameters": {}}),
    ):
        assert Heard(text(content), chunk(finish="stop"), text_calls=True).answer[2] == 1
    example = f"```\n{written}\n```\nis how."
    assert Heard(text(f"So:\n{example}"), text_calls=True).answer == (
        f"So:\n{example}",
        "missing",
        0,
    )
    assert Heard(text(example), text_calls=True).answer == (example, "missing", 0)


# -- sources and pictures --------------------------------------------------------------------


def test_each_source_is_cited_once_and_in_order() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://b.example/", "title": "B"}}
    heard = Heard(
        {**text("Hi"), "citations": ["https://a.example/", "javascript:alert(1)"]},
        {**text("."), "citations": ["https://a.example/"]},
        chunk({"annotations": [cited, cited]}),
        {
            **chunk(),
            "citations": ["https://a.example/", "https://c.example/"],
            "search_results": [{"url": "https://c.example/", "title": "C"}],
        },
    )
    sources = [event.sources for event in heard.events if isinstance(event, SourcesCited)]
    assert sources == [
        (Source("https://a.example/", ""),),
        (Source("https://b.example/", "B"),),
        (Source("https://c.example/", "C"),),
    ]


def test_sources_are_bounded() -> None:
    urls = [f"https://a.example/{number}" for number in range(300)]
    heard = Heard({**text("Hi"), "citations": urls})
    (event,) = [event for event in heard.events if isinstance(event, SourcesCited)]
    assert len(event.sources) == 100


@pytest.mark.parametrize(
    "delta",
    [
        {"images": [{"type": "image_url", "image_url": {"url": PNG}}]},
        {"images": [PNG]},
        {"images": [{"b64_json": PNG.partition(",")[2]}]},
        {"content": [{"type": "image_url", "image_url": PNG}]},
        {"content": [{"type": "image", "source": {"media_type": "image/png", "data": PNG[22:]}}]},
        {"content": [{"type": "output_image", "image_url": {"url": PNG}}]},
        {"content": f"![]({PNG})"},
    ],
)
def test_a_picture_alone_is_an_answer(delta: dict[str, Any]) -> None:
    heard = Heard(chunk(delta), chunk(finish="stop"))
    assert heard.answer == ("", "stop", 0)
    assert heard.events == [PictureReceived("image/png", b"\x89PNG\r\n\x1a\n")]


def test_a_picture_elsewhere_is_a_link_and_one_of_a_dangerous_kind_a_note() -> None:
    assert Heard(chunk({"images": ["https://a.example/(x).png"]})).answer[0] == (
        "[Picture](https://a.example/%28x%29.png)"
    )
    assert Heard(chunk({"images": ["data:image/svg+xml;base64,AAAA"]})).answer[0] == LEFT_OUT
    assert Heard(chunk({"images": ["javascript:alert(1)"]}), text("Hi")).answer[0] == "Hi"


def test_pictures_are_bounded() -> None:
    heard = Heard(text("Hi"), *[chunk({"images": [PNG]})] * (MAX_PICTURES + 5))
    pictures = [event for event in heard.events if isinstance(event, PictureReceived)]
    assert len(pictures) == MAX_PICTURES
    assert heard.answer[0].count(LEFT_OUT) == 5


# -- usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usages",
    [
        [],
        [{}],
        [None],
        [{"prompt_tokens": 0, "completion_tokens": 0}],
        [{"prompt_tokens": None}],
        [7],
    ],
)
def test_usage_that_is_missing_or_empty_is_estimated(usages: list[Any]) -> None:
    heard = Heard(text("four words of text"), *({**chunk(), "usage": usage} for usage in usages))
    usage = heard.usage()
    assert usage.is_estimate
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


@pytest.mark.parametrize(
    ("usages", "reported"),
    [
        ([{"prompt_tokens": 5, "completion_tokens": 2}, {}], (5, 2, 0, 0)),
        ([{"prompt_tokens": 5, "completion_tokens": n} for n in (1, 2, 3)], (5, 3, 0, 0)),
        ([{"prompt_tokens": 5, "completion_tokens": n} for n in (3, 1)], (5, 3, 0, 0)),
        ([{"input_tokens": 5, "output_tokens": 2}], (5, 2, 0, 0)),
        ([{"prompt_tokens": 5.0, "completion_tokens": 2.0}], (5, 2, 0, 0)),
        (
            [
                {
                    "prompt_tokens": 5,
                    "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                }
            ],
            (5, 4, 3, 2),
        ),
        (
            [{"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}],
            (5, 2, 4, 0),
        ),
    ],
)
def test_the_largest_usage_that_was_reported_counts(
    usages: list[dict[str, Any]], reported: tuple[int, int, int, int]
) -> None:
    usage = Heard(text("Hi"), *({"choices": [], "usage": usage} for usage in usages)).usage()
    tokens = usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens
    assert tokens == reported
    assert not usage.is_estimate


def test_thoughts_are_estimated_too() -> None:
    short, long = Heard(text("Hi")), Heard(chunk({"reasoning": "word " * 100}), text("Hi"))
    assert long.usage().output_tokens > short.usage().output_tokens + 50


@pytest.mark.parametrize(
    "item",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None, "message": None}]},
        chunk({"content": 7, "tool_calls": 7, "images": 7, "annotations": 7, "refusal": 7}),
        chunk({"content": {"type": "text", "text": 7}, "reasoning_details": [7, {}]}),
        chunk({"content": [7, None, {}], "tool_calls": [7, None, {"function": 7}]}),
        chunk({"function_call": 7, "reasoning": {"content": [[[[[[["deep"]]]]]]]}}),
        {"choices": [{"delta": {}, "finish_reason": {"a": 1}}], "citations": [7, {}], "usage": [1]},
    ],
)
def test_no_field_of_another_type_breaks_an_answer(item: dict[str, Any]) -> None:
    heard = Heard(text("Hi"), item, chunk(finish="stop"))
    assert heard.answer[0] == "Hi"
    assert TextDelta("Hi") in heard.events

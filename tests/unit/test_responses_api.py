"""The Responses API: the same events, tools and limits as a chat completion; what it wants is sent back."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.core.events import (
    PictureStored,
    SourcesCited,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    UsageReported,
)
from cmw_agent.llm.responses_api import ResponsesReader
from cmw_agent.llm.responses_request import responses_request
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_responses import CHAT_FIELDS, ENCRYPTED
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, settings_for
from tests.service import all_events, answer_text, running_app, session_of, turn_end

TOOL = 'tool:calculate:{"expression": "2+3"}'


@contextlib.asynccontextmanager
async def app(folder: Path, model: str, lines: str = "") -> AsyncIterator[tuple[Runtime, Any]]:
    """Run the app with one model that is asked by the Responses API."""
    (folder / "agents.toml").write_text(
        f"[[models]]\nid = \"m\"\nname = '''{model}'''\napi = 'responses'\n{lines}\n"
    )
    async with OpenAIDouble() as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model="m")
        async with running_app(settings) as runtime:
            yield runtime, endpoint


async def ask(runtime: Runtime, text: str = "hello") -> list[Any]:
    session = await session_of(runtime)
    return await all_events(runtime.chat.turn(session, text, key=canary()))


async def test_a_response_is_an_answer_like_any_other(tmp_path: Path) -> None:
    lines = "output_tokens = 99\ntemperature = 0.5\nseed = 1"
    async with app(tmp_path, "echo", lines) as (runtime, endpoint):
        session = await session_of(runtime)
        for text in ("one", "two"):
            events = await all_events(runtime.chat.turn(session, text, key=canary()))
            assert answer_text(events) == f"You said: {text}"
            assert turn_end(events).outcome == "complete"
        body = endpoint.requests[-1].body
    assert endpoint.requests[-1].path == "/v1/responses"
    assert body["instructions"].startswith("You are a helpful assistant.")
    said = [(item["role"], item["content"]) for item in body["input"]]
    assert said == [("user", "one"), ("assistant", "You said: one"), ("user", "two")]
    assert (body["store"], body["stream"], body["max_output_tokens"]) == (False, True, 99)
    assert body["temperature"] == 0.5
    # What this interface does not know, and what models without thoughts refuse.
    assert not {*CHAT_FIELDS, "stream_options", "reasoning", "include"} & body.keys()
    assert {tool["name"] for tool in body["tools"]} >= {"calculate"}


@pytest.mark.parametrize("effort", ["", "effort = 'high'"])
async def test_a_tool_is_called_and_encrypted_thoughts_are_sent_back(
    tmp_path: Path, effort: str
) -> None:
    async with app(tmp_path, TOOL, effort) as (runtime, endpoint):
        events = await ask(runtime)
        second = endpoint.requests[-1].body
    assert [event.result for event in events if isinstance(event, ToolFinished)] == ["5"]
    assert answer_text(events) == "The result is 5"
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    assert thoughts == ("I count." if effort else "")
    kinds = [item.get("type") or item["role"] for item in second["input"]]
    back = ["reasoning"] if effort else []
    assert kinds == ["user", *back, "function_call", "function_call_output"]
    assert (ENCRYPTED in str(second)) is bool(effort)
    if effort:
        assert second["reasoning"] == {"effort": "high", "summary": "auto"}
        assert second["include"] == ["reasoning.encrypted_content"]


async def test_citations_pictures_and_usage_of_a_response_reach_the_user(tmp_path: Path) -> None:
    async with app(tmp_path, "cites") as (runtime, _):
        events = await ask(runtime)
    cited = [source for e in events if isinstance(e, SourcesCited) for source in e.sources]
    assert [(source.url, source.title) for source in cited] == [("https://example.com/a", "A")]
    (usage,) = [event for event in events if isinstance(event, UsageReported)]
    assert (usage.input_tokens, usage.output_tokens, usage.is_estimate) == (11, 7, False)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (5, 3)
    assert sum(isinstance(event, PictureStored) for event in events) == 1


@pytest.mark.parametrize("model", ["whole", "json"])
async def test_a_response_that_has_no_deltas_is_read_whole(tmp_path: Path, model: str) -> None:
    async with app(tmp_path, model) as (runtime, _):
        events = await ask(runtime)
    assert answer_text(events) == "You said: hello"
    assert turn_end(events).outcome == "complete"


@pytest.mark.parametrize(
    ("model", "outcome", "said"),
    [("incomplete", "interrupted", "limit"), ("failed", "failed", "."), ("error", "failed", ".")],
)
async def test_the_end_of_a_response_is_judged(
    tmp_path: Path, model: str, outcome: str, said: str
) -> None:
    async with app(tmp_path, model) as (runtime, _):
        events = await ask(runtime)
    end = turn_end(events)
    assert (end.outcome, said in str(end.sentence)) == (outcome, True)
    assert end.error_id
    has_text = any(isinstance(event, TextDelta) for event in events)
    assert has_text is (model == "incomplete")


def test_pictures_files_and_results_are_items_of_the_input() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = [
        {"role": "system", "content": "A"},
        {"role": "system", "content": [{"type": "text", "text": "B"}]},
        {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
        {"role": "assistant", "content": "Well.", "tool_calls": [call], "output": [{"id": "x"}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "done"}]},
    ]
    body = responses_request({"model": "m", "messages": messages, "max_tokens": 5, "top_k": 1})
    assert body["instructions"] == "A\n\nB"
    assert (body["max_output_tokens"], body["top_k"]) == (5, 1)
    assert body["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
            ],
        },
        {"role": "assistant", "content": "Well."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "done"},
    ]


CALL = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": '{"a": 1}'}
TEXT_ITEM = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
REFUSAL_ITEM = {"type": "message", "content": [{"type": "refusal", "refusal": "No"}]}


# llama.cpp's server names items by their ids and does not count them.
UNCOUNTED_TEXT = {**TEXT_ITEM, "id": "msg_1"}
UNCOUNTED = [
    {"type": "response.output_item.added", "item": {**UNCOUNTED_TEXT, "content": []}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "H"},
    {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "i"},
    {"type": "response.output_text.done", "item_id": "msg_1", "text": "Hi"},
    {"type": "response.output_item.added", "item": {**CALL, "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "item_id": "i", "delta": '{"a": 1}'},
    {"type": "response.output_item.done", "item": UNCOUNTED_TEXT},
    {"type": "response.output_item.done", "item": CALL},
    {
        "type": "response.completed",
        "response": {"status": "completed", "output": [UNCOUNTED_TEXT, CALL]},
    },
]


def deltas(events: list[dict[str, Any]], name: str) -> list[Any]:
    reader = ResponsesReader()
    chunks = [chunk for event in events for chunk in reader(event)]
    found = [choice["delta"].get(name) for chunk in chunks for choice in chunk.get("choices", ())]
    return [value for value in found if value]


@pytest.mark.parametrize(
    "events",
    [
        # the whole item alone; with a beginning; only in the response; not streamed
        [{"type": "response.output_item.done", "output_index": 0, "item": CALL}],
        [
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**CALL, "arguments": ""},
            },
            {"type": "response.output_item.done", "output_index": 0, "item": CALL},
            {"type": "response.output_item.done", "output_index": 0, "item": CALL},
        ],
        [{"type": "response.completed", "response": {"status": "completed", "output": [CALL]}}],
        [{"object": "response", "status": "completed", "output": [CALL]}],
        UNCOUNTED,
    ],
)
def test_a_call_is_whole_however_its_pieces_come(events: list[dict[str, Any]]) -> None:
    pieces = [piece for calls in deltas(events, "tool_calls") for piece in calls]
    assert [piece["id"] for piece in pieces if piece.get("id")] == ["c"]
    assert "".join(piece["function"].get("arguments", "") for piece in pieces) == '{"a": 1}'
    assert {piece["index"] for piece in pieces} == {0}


@pytest.mark.parametrize(
    ("events", "name", "text"),
    [
        ([{"object": "response", "status": "completed", "output": [TEXT_ITEM]}], "content", "Hi"),
        (
            [{"type": "response.output_item.done", "output_index": 0, "item": REFUSAL_ITEM}],
            "refusal",
            "No",
        ),
        ([{"type": "response.refusal.delta", "delta": "No"}], "refusal", "No"),
        (
            [
                {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
                {"type": "response.output_text.done", "output_index": 0, "text": "Hi"},
            ],
            "content",
            "Hi",
        ),
        (
            # A second try begins anew.
            [
                {"type": "response.output_text.done", "output_index": 0, "text": "Hi"},
                {"type": "response.created", "response": {}},
                {"type": "response.output_text.done", "output_index": 0, "text": "Hi"},
            ],
            "content",
            "HiHi",
        ),
        (UNCOUNTED, "content", "Hi"),
        (
            # Deltas that name no item at all.
            [
                {"type": "response.output_text.delta", "delta": "H"},
                {"type": "response.output_text.delta", "delta": "i"},
                {"type": "response.output_item.done", "item": UNCOUNTED_TEXT},
                {"object": "response", "status": "completed", "output": [UNCOUNTED_TEXT]},
            ],
            "content",
            "Hi",
        ),
        (
            [
                {"type": "response.output_text.delta", "output_index": [], "delta": "Hi"},
                {"type": "response.output_item.done", "output_index": {}, "item": TEXT_ITEM},
            ],
            "content",
            "Hi",
        ),
        ([{"type": "response.reasoning_text.delta", "delta": "Hm"}], "reasoning_content", "Hm"),
        ([{"type": "response.something.new", "delta": "x"}, {}, {"type": None}], "content", ""),
    ],
)
def test_text_is_read_once_in_all_its_forms(
    events: list[dict[str, Any]], name: str, text: str
) -> None:
    assert "".join(deltas(events, name)) == text


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"status": "completed"}, "stop"),
        ({"status": "completed", "output": [CALL]}, "tool_calls"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
        ),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
        ({"status": "incomplete", "incomplete_details": "max_output_tokens"}, "length"),
        (None, "stop"),
    ],
)
def test_a_response_ends_with_a_finish_reason(response: Any, reason: str) -> None:
    last = ResponsesReader()({"type": "response.completed", "response": response})[-1]
    assert last["choices"][0]["finish_reason"] == reason

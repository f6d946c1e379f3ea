"""A turn as clients of OpenAI's Responses API read it: one response, or its events in order.

Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.channels.common.problems import error_body
from cmw_agent.channels.common.turn_streams import ALIVE, events_until_end, sse
from cmw_agent.channels.openai.responses_request import ResponsesRequest
from cmw_agent.channels.openai.streams import ChatCompletionBuilder
from cmw_agent.chat.turn import TurnReader
from cmw_agent.core.events import (
    ClientToolsCalled,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    TurnEvent,
)

INCOMPLETE: Mapping[str, str] = MappingProxyType(
    {"length": "max_output_tokens", "content_filter": "content_filter"}
)
Event = dict[str, Any]
Item = dict[str, Any]


class ResponseWriter:
    """Writes the events of one response; it ends as its `completion` has ended.

    Args:
        body: The request, fields of which a response repeats.
        completion: Folds the turn's events; the writer is told of each after it.
    """

    def __init__(self, body: ResponsesRequest, completion: ChatCompletionBuilder) -> None:
        self._body = body
        self._completion = completion
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created_at = int(time.time())
        self._sequence_number = 0
        self._output: list[Item] = []
        self._open: Item | None = None  # the last item of the output, while it is written
        self._texts: list[str] = []  # pieces of its text

    def begin(self) -> Iterator[Event]:
        """Yield the events with which a response begins."""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self._response("in_progress"))

    def add(self, event: TurnEvent, moved: str = "") -> Iterator[Event]:
        """Yield the events that an event of the turn means; `moved` is text that was thoughts."""
        match event:
            case TextDelta(text):
                yield from self._write("message", text)
            case ThinkingDelta(text):
                yield from self._write("reasoning", text)
            case TextWasThinking() if moved:
                # What such a client has read stays read: no event of this form takes text back.
                yield from self._write("reasoning", moved)
            case ClientToolsCalled(calls):
                yield from self._close()
                for call in calls:
                    yield from self._call(call)

    def end(self) -> Iterator[Event]:
        """Yield the events with which the response ends."""
        completion = self._completion
        yield from self._close(is_last=True)
        if (failure := completion.failure) is not None:
            message = error_body(failure, completion.language)["error"]["message"]
            error = {"code": "server_error", "message": message}
            response = self._response("failed") | {"error": error}
            yield self._event("response.failed", response=response)
            return
        reason = INCOMPLETE.get(completion.finish_reason or "")
        status = "incomplete" if reason else "completed"
        response = self._response(status)
        if reason:
            response["incomplete_details"] = {"reason": reason}
        yield self._event(f"response.{status}", response=response)

    def whole(self) -> Mapping[str, Any]:
        """Return the response to a turn that has ended, for a client that reads no events."""
        completion, answer = self._completion, self._completion.answer
        events: list[TurnEvent] = [ThinkingDelta(answer.thinking)] if answer.thinking else []
        events += [TextDelta(answer.text)] if answer.text else []
        events += [ClientToolsCalled(tuple(completion.calls))] if completion.calls else []
        for event in events:
            list(self.add(event))
        response: Mapping[str, Any] = list(self.end())[-1]["response"]
        return response

    def _write(self, kind: str, text: str) -> Iterator[Event]:
        if self._open is None or self._open["type"] != kind:
            yield from self._close()
            yield from self._open_item(kind)
        self._texts.append(text)
        if kind == "message":
            named = {"content_index": 0, "delta": text, "logprobs": []}
            yield self._item_event("response.output_text.delta", **named)
        else:
            yield self._item_event(
                "response.reasoning_summary_text.delta", summary_index=0, delta=text
            )

    def _open_item(self, kind: str) -> Iterator[Event]:
        prefix, holder = ("msg", "content") if kind == "message" else ("rs", "summary")
        item = {"id": _new_id(prefix), "type": kind, "status": "in_progress", holder: []}
        self._open = item | ({"role": "assistant"} if kind == "message" else {})
        self._texts = []
        self._output.append(self._open)
        yield self._item_event("response.output_item.added", item=dict(self._open))
        if kind == "message":
            yield self._item_event(
                "response.content_part.added", content_index=0, part=_text_part("", [])
            )
        else:
            yield self._item_event(
                "response.reasoning_summary_part.added", summary_index=0, part=_summary("")
            )

    def _close(self, *, is_last: bool = False) -> Iterator[Event]:
        """Yield the events that end the item which is being written, if there is one."""
        item = self._open
        if item is None:
            return
        text = "".join(self._texts)
        if item["type"] == "message":
            yield from self._close_text(item, text, is_last=is_last)
        else:
            item["summary"] = [_summary(text)]
            named = {"summary_index": 0}
            yield self._item_event("response.reasoning_summary_text.done", text=text, **named)
            part = _summary(text)
            yield self._item_event("response.reasoning_summary_part.done", part=part, **named)
        is_cut = is_last and (self._completion.finish_reason or "") in ("", *INCOMPLETE)
        item["status"] = "incomplete" if is_cut else "completed"
        yield self._item_event("response.output_item.done", item=dict(item))
        self._open = None

    def _close_text(self, item: Item, text: str, *, is_last: bool) -> Iterator[Event]:
        sources = self._completion.answer.sources if is_last else []
        position = {"start_index": len(text), "end_index": len(text)}  # it is not known
        annotations = [
            {"type": "url_citation", "url": source.url, "title": source.title, **position}
            for source in sources
        ]
        for index, annotation in enumerate(annotations):
            yield self._item_event(
                "response.output_text.annotation.added",
                content_index=0,
                annotation_index=index,
                annotation=annotation,
            )
        part = _text_part(text, annotations)
        item["content"] = [part]
        yield self._item_event("response.output_text.done", content_index=0, text=text, logprobs=[])
        yield self._item_event("response.content_part.done", content_index=0, part=part)

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        function = call["function"]
        arguments = function["arguments"]
        named = {"call_id": call["id"], "name": function["name"], "arguments": ""}
        item = {"id": _new_id("fc"), "type": "function_call", "status": "in_progress", **named}
        self._output.append(item)
        self._open = item
        yield self._item_event("response.output_item.added", item=dict(item))
        yield self._item_event("response.function_call_arguments.delta", delta=arguments)
        yield self._item_event(
            "response.function_call_arguments.done", arguments=arguments, name=function["name"]
        )
        item |= {"arguments": arguments, "status": "completed"}
        yield self._item_event("response.output_item.done", item=dict(item))
        self._open = None

    def _item_event(self, kind: str, **fields: Any) -> Event:
        """Return an event of the last item."""
        index = len(self._output) - 1
        named = {} if "item" in fields else {"item_id": self._output[-1]["id"]}
        return self._event(kind, output_index=index, **named, **fields)

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return event

    def _response(self, status: str) -> dict[str, Any]:
        body = self._body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [dict(item) for item in self._output],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": (body.reasoning or {}).get("effort"), "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": (body.text or {}).get("format") or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": _usage(self._completion.usage) if status != "in_progress" else None,
            "user": body.user,
        }


async def response_events(
    turn: TurnReader,
    first: TurnEvent | None,
    completion: ChatCompletionBuilder,
    writer: ResponseWriter,
) -> AsyncIterator[bytes]:
    """Yield a turn as server-sent events; the `TurnResponse` that writes them leaves it."""
    for event in writer.begin():
        yield _data(event)
    async with contextlib.aclosing(events_until_end(turn, first)) as turn_events:
        async for turn_event in turn_events:
            if turn_event is None:
                yield ALIVE
                continue
            is_moved = isinstance(turn_event, TextWasThinking)
            thought = len(completion.answer.thinking) if is_moved else 0
            completion.add(turn_event)
            moved = completion.answer.thinking[thought:] if is_moved else ""
            for event in writer.add(turn_event, moved):
                yield _data(event)
    for event in writer.end():
        yield _data(event)


def _text_part(text: str, annotations: Sequence[Item]) -> Item:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def _summary(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def _usage(usage: Mapping[str, Any] | None) -> Item | None:
    if usage is None:
        return None
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }


def _data(event: Event) -> bytes:
    return sse(event["type"], event)

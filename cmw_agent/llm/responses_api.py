"""Turns the events of OpenAI's Responses API into chunks of chat completions.

One reader, one accumulator and one tool loop so serve both interfaces; `responses_request` makes
the request.
Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cmw_agent.llm.responses_request import is_sent_back

Chunk = dict[str, Any]
Event = Mapping[str, Any]
Key = int | str | None  # of an item of the output
FINISHES = MappingProxyType({"max_output_tokens": "length", "content_filter": "content_filter"})
FAILED = "The response failed."


@dataclass(slots=True)
class _Call:
    """A call of a function: its position among the calls, and the characters of its arguments."""

    index: int
    length: int = 0


class ResponsesReader:
    """Turns the events of one response into chunks of a chat completion.

    An item of the output has the key that `_key` returns, since not every server counts items.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._texts: set[tuple[Key, int]] = set()  # parts of which text has come
        self._calls: dict[Key, _Call] = {}
        self._items: set[Key] = set()  # items that are complete
        self._has_indexes = True  # whether events name items by their output index

    def __call__(self, event: Event) -> list[Chunk]:
        """Return the chunks of an event: none where it is no part of the answer.

        An error is returned as an object with the field ``error``.
        """
        if event.get("object") == "response":  # a server that does not stream
            return self._ended({"response": event})
        match str(event.get("type")).removeprefix("response."):
            case "output_text.delta":
                return self._text(event, "content")
            case "refusal.delta":
                return self._text(event, "refusal")
            case "output_text.done" | "refusal.done":
                return self._whole_text(event)
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                return [_chunk({"reasoning_content": event.get("delta")})]
            case "function_call_arguments.delta":
                return self._arguments(event)
        return self._other(event)

    def _other(self, event: Event) -> list[Chunk]:
        match str(event.get("type")).removeprefix("response."):
            case "created":  # the first event, also of a second try
                self._begin()
            case "output_item.added":
                return self._item_begins(event)
            case "output_item.done":
                return self._item_ends(event)
            case "output_text.annotation.added":
                return _annotations([event.get("annotation")])
            case "reasoning_summary_part.added" if event.get("summary_index"):
                return [_chunk({"reasoning_content": "\n\n"})]
            case "completed" | "incomplete" | "failed":
                return self._ended(event)
        return []

    def _text(self, event: Event, name: str) -> list[Chunk]:
        self._texts.add((self._key(event), _content_index(event)))
        return [_chunk({name: event.get("delta")})]

    def _whole_text(self, event: Event) -> list[Chunk]:
        if self._has_text(self._key(event), _content_index(event)):
            return []
        name = "content" if event.get("text") else "refusal"
        return self._text({**event, "delta": event.get("text") or event.get("refusal")}, name)

    def _arguments(self, event: Event) -> list[Chunk]:
        text = event.get("delta")
        if not isinstance(text, str):
            return []
        call = self._call(self._key(event))
        call.length += len(text)
        return [_chunk({"tool_calls": [{"index": call.index, "function": {"arguments": text}}]})]

    def _item_begins(self, event: Event) -> list[Chunk]:
        item = event.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return []
        index = self._call(self._key(event)).index
        function = {"name": item.get("name"), "arguments": ""}
        call = {"index": index, "id": item.get("call_id"), "type": "function"}
        return [_chunk({"tool_calls": [{**call, "function": function}]})]

    def _item_ends(self, event: Event) -> list[Chunk]:
        item, key = event.get("item"), self._key(event)
        if not isinstance(item, dict) or {key, None} & self._items:
            return []
        self._items.add(key)
        kind = item.get("type")
        if kind == "function_call":
            chunks = [] if key in self._calls else self._item_begins(event)
            missing = item.get("arguments") if not self._call(key).length else None
            return chunks + self._arguments({**event, "delta": missing})
        if kind == "message":
            return self._message(item, event)
        if kind == "image_generation_call" and isinstance(item.get("result"), str):
            media_type = f"image/{item.get('output_format') or 'png'}"
            url = f"data:{media_type};base64,{item['result']}"
            return [_chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]})]
        return [_chunk({"output": [item]})] if is_sent_back(item) else []

    def _message(self, item: Mapping[str, Any], event: Event) -> list[Chunk]:
        """Return what of a whole message has not come before."""
        chunks: list[Chunk] = []
        parts = item.get("content")
        for index, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict):
                is_new = not self._has_text(self._key(event), index)
                chunks += self._whole_text({**part, **event, "content_index": index})
                chunks += _annotations(part.get("annotations")) if is_new else []
        return chunks

    def _ended(self, event: Event) -> list[Chunk]:
        response = event.get("response")
        if not isinstance(response, dict):
            return [_chunk({}, "stop")]
        if response.get("status") in ("failed", "cancelled"):
            return [{"error": response.get("error") or {"message": FAILED}}]
        output = response.get("output")
        chunks: list[Chunk] = []
        has_indexes = self._has_indexes
        for index, item in enumerate(output if isinstance(output, list) else []):
            named = {"output_index": index} if has_indexes else {}
            chunks += self._item_ends({"item": item, **named})
        usage = _usage(response.get("usage"))
        return [*chunks, {**_chunk({}, self._finish(response)), **usage}]

    def _finish(self, response: Mapping[str, Any]) -> str:
        if response.get("status") == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return FINISHES.get(str(reason), "length")
        return "tool_calls" if self._calls else "stop"

    def _key(self, event: Event) -> Key:
        """Return what names an event's item: its index, its id where servers do not count items.

        None where the event has neither: all such events are of one item.
        """
        index = event.get("output_index")
        if isinstance(index, int):
            return index
        self._has_indexes = False
        item = event.get("item")
        name = event.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
        return name if isinstance(name, str) else None

    def _call(self, key: Key) -> _Call:
        return self._calls.setdefault(key, _Call(len(self._calls)))

    def _has_text(self, key: Key, content_index: int) -> bool:
        """Whether the text of a part has come; text that names no item may be any item's."""
        return bool({(key, content_index), (None, content_index)} & self._texts)


def _annotations(annotations: Any) -> list[Chunk]:
    cited = [
        {"type": "url_citation", "url_citation": annotation}
        for annotation in (annotations if isinstance(annotations, list) else [])
        if isinstance(annotation, dict) and annotation.get("type") == "url_citation"
    ]
    return [_chunk({"annotations": cited})] if cited else []


def _content_index(event: Event) -> int:
    index = event.get("content_index")
    return index if isinstance(index, int) else 0


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> Chunk:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _usage(usage: Any) -> dict[str, Any]:
    if not isinstance(usage, dict):
        return {}
    return {
        "usage": {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
            "prompt_tokens_details": usage.get("input_tokens_details"),
            "completion_tokens_details": usage.get("output_tokens_details"),
        }
    }

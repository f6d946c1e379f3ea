"""Turns the events of OpenAI's Responses API into chunks of chat completions.

One reader, one accumulator and one tool loop so serve both interfaces; `responses_request` makes
the request.
Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cmw_agent.llm.responses_request import is_sent_back

Chunk = dict[str, Any]
Event = Mapping[str, Any]
FINISHES = MappingProxyType({"max_output_tokens": "length", "content_filter": "content_filter"})
FAILED = "The response failed."


class ResponsesReader:
    """Turns the events of one response into chunks of a chat completion."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._texts: set[tuple[Any, ...]] = set()  # parts of which text has come
        self._calls: dict[Any, int] = {}  # output index -> characters of arguments that came
        self._items: set[Any] = set()  # output indexes of items that are complete

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
        self._texts.add(_place(event))
        return [_chunk({name: event.get("delta")})]

    def _whole_text(self, event: Event) -> list[Chunk]:
        if _place(event) in self._texts:
            return []
        name = "content" if event.get("text") else "refusal"
        return self._text({**event, "delta": event.get("text") or event.get("refusal")}, name)

    def _arguments(self, event: Event) -> list[Chunk]:
        index, text = event.get("output_index"), event.get("delta")
        if not isinstance(text, str):
            return []
        self._calls[index] = self._calls.get(index, 0) + len(text)
        return [_chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})]

    def _item_begins(self, event: Event) -> list[Chunk]:
        item, index = event.get("item"), event.get("output_index")
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return []
        self._calls.setdefault(index, 0)
        function = {"name": item.get("name"), "arguments": ""}
        call = {"index": index, "id": item.get("call_id"), "type": "function"}
        return [_chunk({"tool_calls": [{**call, "function": function}]})]

    def _item_ends(self, event: Event) -> list[Chunk]:
        item, index = event.get("item"), event.get("output_index")
        if not isinstance(item, dict) or index in self._items:
            return []
        self._items.add(index)
        kind = item.get("type")
        if kind == "function_call":
            chunks = [] if index in self._calls else self._item_begins(event)
            missing = item.get("arguments") if not self._calls[index] else None
            return chunks + self._arguments({"output_index": index, "delta": missing})
        if kind == "message":
            return self._message(item, index)
        if kind == "image_generation_call" and isinstance(item.get("result"), str):
            media_type = f"image/{item.get('output_format') or 'png'}"
            url = f"data:{media_type};base64,{item['result']}"
            return [_chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]})]
        return [_chunk({"output": [item]})] if is_sent_back(item) else []

    def _message(self, item: Mapping[str, Any], index: Any) -> list[Chunk]:
        """Return what of a whole message has not come before."""
        chunks: list[Chunk] = []
        parts = item.get("content")
        for place, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict):
                at = {"output_index": index, "content_index": place}
                is_new = _place(at) not in self._texts
                chunks += self._whole_text({**part, **at})
                chunks += _annotations(part.get("annotations")) if is_new else []
        return chunks

    def _ended(self, event: Event) -> list[Chunk]:
        response = event.get("response")
        if not isinstance(response, dict):
            return [_chunk({}, "stop")]
        if response.get("status") in ("failed", "cancelled"):
            return [{"error": response.get("error") or {"message": FAILED}}]
        output = response.get("output")
        items = output if isinstance(output, list) else []
        chunks = [
            chunk
            for index, item in enumerate(items)
            for chunk in self._item_ends({"item": item, "output_index": index})
        ]
        usage = _usage(response.get("usage"))
        return [*chunks, {**_chunk({}, self._finish(response)), **usage}]

    def _finish(self, response: Mapping[str, Any]) -> str:
        if response.get("status") == "incomplete":
            reason = (response.get("incomplete_details") or {}).get("reason")
            return FINISHES.get(str(reason), "length")
        return "tool_calls" if self._calls else "stop"


def _annotations(annotations: Any) -> list[Chunk]:
    cited = [
        {"type": "url_citation", "url_citation": annotation}
        for annotation in (annotations if isinstance(annotations, list) else [])
        if isinstance(annotation, dict) and annotation.get("type") == "url_citation"
    ]
    return [_chunk({"annotations": cited})] if cited else []


def _place(event: Event) -> tuple[Any, ...]:
    return (event.get("output_index"), event.get("content_index"))


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

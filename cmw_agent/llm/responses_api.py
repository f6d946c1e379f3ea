"""Translates between OpenAI's Responses API and the chunks of chat completions.

Requests go out as ``POST /responses``; its events come back as chunks, so that one reader, one
accumulator and one tool loop serve both interfaces. Nothing is kept at the endpoint
(``store: false``): what it wants back, its encrypted reasoning, is carried in the messages.
Format: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cmw_agent.llm.message_forms import SYSTEM_ROLES

Chunk = dict[str, Any]
Event = Mapping[str, Any]
ENCRYPTED = "reasoning.encrypted_content"
# Fields of chat completions that the Responses API refuses.
NOT_SENT = (
    "messages",
    "tools",
    "stream_options",
    "seed",
    "stop",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "frequency_penalty",
    "presence_penalty",
)
FINISHES = MappingProxyType({"max_output_tokens": "length", "content_filter": "content_filter"})
FAILED = "The response failed."


def responses_request(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request to ``/responses`` for that of a chat completion."""
    messages = payload["messages"]
    body = {name: value for name, value in payload.items() if name not in NOT_SENT}
    body["input"] = [item for message in messages for item in _items(message)]
    body["store"] = False
    system = [_text_of(m.get("content")) for m in messages if m.get("role") in SYSTEM_ROLES]
    if instructions := "\n\n".join(filter(None, system)):
        body["instructions"] = instructions
    if tools := payload.get("tools"):
        body["tools"] = [_tool(tool) for tool in tools]
    if limit := payload.get("max_completion_tokens") or payload.get("max_tokens"):
        body["max_output_tokens"] = limit
    if (effort := payload.get("reasoning_effort")) is not None:
        body.setdefault("reasoning", {"effort": effort, "summary": "auto"})
        # Models that do not think refuse it.
        body.setdefault("include", [ENCRYPTED])
    return body


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    # Without the field, this interface takes a schema as strict, which few are.
    return {"type": "function", "strict": False, **function}


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a message of a chat completion as items of an input."""
    role, content = message.get("role"), message.get("content")
    if role in SYSTEM_ROLES:
        return []
    if role == "tool":
        call_id = message.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": call_id, "output": _text_of(content)}]
    if role != "assistant":
        parts = [_part(part) for part in content] if isinstance(content, list) else content
        return [{"role": "user", "content": parts}]
    output = message.get("output")
    items = [item for item in output if _is_sent_back(item)] if isinstance(output, list) else []
    if text := _text_of(content):
        items.append({"role": "assistant", "content": text})
    return items + [_call(call) for call in message.get("tool_calls") or ()]


def _is_sent_back(item: Any) -> bool:
    # What is not stored at the endpoint is known to it by its encrypted content alone.
    return isinstance(item, dict) and bool(item.get("encrypted_content"))


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments") or "{}",
    }


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content or () if isinstance(part, dict))
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "input_text", "text": part.get("text") or ""}
    if part.get("type") == "image_url":
        image = part.get("image_url")
        fields = image if isinstance(image, Mapping) else {"url": image}
        return {
            "type": "input_image",
            "image_url": fields.get("url"),
            "detail": fields.get("detail") or "auto",
        }
    return dict(part)


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
        return [_chunk({"output": [item]})] if _is_sent_back(item) else []

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

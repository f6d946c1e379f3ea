"""Turns a request for a chat completion into one of OpenAI's Responses API.

Nothing is kept at the endpoint (``store: false``): what it wants back, its encrypted reasoning, is
carried in the messages. `cmw_agent.llm.responses_api` reads the reply.
"""

from collections.abc import Mapping
from typing import Any

from cmw_agent.llm.message_forms import SYSTEM_ROLES

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
    "logit_bias",
    "response_format",
)


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
    choice = payload.get("tool_choice")
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        body["tool_choice"] = {"type": "function", "name": choice["function"].get("name")}
    if (shape := payload.get("response_format")) is not None:
        body.setdefault("text", {"format": _format(shape)})
    if limit := payload.get("max_completion_tokens") or payload.get("max_tokens"):
        body["max_output_tokens"] = limit
    if (effort := payload.get("reasoning_effort")) is not None:
        body.setdefault("reasoning", {"effort": effort, "summary": "auto"})
        # Models that do not think refuse it.
        body.setdefault("include", [ENCRYPTED])
    return body


def _format(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion's `response_format` as the Responses API writes it."""
    schema = shape.get("json_schema")
    return {"type": shape.get("type"), **(schema if isinstance(schema, Mapping) else {})}


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
    items = [item for item in output if is_sent_back(item)] if isinstance(output, list) else []
    if text := _text_of(content):
        items.append({"role": "assistant", "content": text})
    return items + [_call(call) for call in message.get("tool_calls") or ()]


def is_sent_back(item: Any) -> bool:
    """Whether an item of a response is to be sent back with the next request."""
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

"""A request to `/v1/responses`, and the chat completion that it means."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from cmw_agent.channels.openai.models import MAX_MESSAGES, MAX_TOKENS, MAX_TOOLS, ChatRequest
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording

STATELESS = wording(
    "Nothing is stored here: send the whole input, without previous_response_id, conversation, "
    "background, prompt and item_reference."
)
ITEMS = wording(
    "Each input item must be a message, a function_call, a function_call_output or a reasoning."
)
NOT_TAKEN = wording("The request is not what this address takes.")
TEXTS = ("input_text", "output_text", "text")
Item = Mapping[str, Any]


class ResponsesRequest(BaseModel):
    """A request for a response; fields that are not listed are passed over."""

    model: str = Field(description="An agent's id, or a model of the assistant's.")
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    stream: bool | None = False
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    reasoning: dict[str, Any] | None = Field(default=None, description="`effort`.")
    text: dict[str, Any] | None = Field(default=None, description="`format` and `verbosity`.")
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=MAX_TOOLS)] = Field(
        default=None, description="Functions that the caller runs: calls of them are returned."
    )
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = Field(default=None, description="Given back, and not stored.")
    user: Annotated[str | None, Field(max_length=512)] = None
    safety_identifier: Annotated[str | None, Field(max_length=512)] = None
    previous_response_id: str | None = Field(default=None, description="Refused.")
    conversation: Any = Field(default=None, description="Refused.")
    prompt: Any = Field(default=None, description="Refused.")
    background: bool | None = Field(default=None, description="false: answers are not stored.")


def chat_request(body: ResponsesRequest) -> ChatRequest:
    """Return the request for a chat completion that asks for the same.

    Raises:
        InvalidMessageError: The request asks for what is not given.
    """
    stored = (body.previous_response_id, body.conversation, body.prompt)
    if body.background or any(item is not None for item in stored):
        raise InvalidMessageError(STATELESS)
    text, choice = body.text or {}, body.tool_choice
    if isinstance(choice, Mapping) and "name" in choice:
        choice = {"type": "function", "function": {"name": choice["name"]}}
    fields = {
        "model": body.model,
        "messages": list(_messages(body)),
        "stream": body.stream,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_completion_tokens": body.max_output_tokens,
        "reasoning_effort": (body.reasoning or {}).get("effort"),
        "response_format": _response_format(text.get("format")),
        "verbosity": text.get("verbosity"),
        "tools": None if body.tools is None else [_tool(tool) for tool in body.tools],
        "tool_choice": choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "user": body.user,
        "safety_identifier": body.safety_identifier,
    }
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError:  # its text quotes the request
        raise InvalidMessageError(NOT_TAKEN) from None


def _messages(body: ResponsesRequest) -> Iterator[dict[str, Any]]:
    if body.instructions:
        yield {"role": "system", "content": body.instructions}
    if isinstance(body.input, str):
        yield {"role": "user", "content": body.input}
        return
    calling: dict[str, Any] | None = None  # the assistant's message to which calls belong
    for item in body.input:
        if item.get("type") == "function_call":
            calling = calling or {"role": "assistant", "content": None}
            calling.setdefault("tool_calls", []).append(_call(item))
            continue
        message = _message(item)
        if message is None:
            continue
        if calling is not None:
            yield calling
            calling = None
        if message["role"] == "assistant":
            calling = message
        else:
            yield message
    if calling is not None:
        yield calling


def _message(item: Item) -> dict[str, Any] | None:
    """Return the message that an input item is; None for thoughts, which no model here reads."""
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role"), "content": _content(item.get("content"))}
        case "function_call_output":
            output = _content(item.get("output"))
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
        case "reasoning":
            return None
        case "item_reference":
            raise InvalidMessageError(STATELESS)
    raise InvalidMessageError(ITEMS)


def _content(content: Any) -> Any:
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    kind = part.get("type")
    if kind in TEXTS:
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image":
        picture = {"url": part.get("image_url"), "detail": part.get("detail")}
        return {"type": "image_url", "image_url": picture}
    return dict(part)


def _call(item: Item) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _tool(tool: Item) -> dict[str, Any]:
    """Return a tool in the form of chat completions; one of another type is refused there."""
    function = {name: value for name, value in tool.items() if name != "type"}
    return {"type": tool.get("type"), "function": function}


def _response_format(shape: Any) -> dict[str, Any] | None:
    if not isinstance(shape, Mapping):
        return None
    if shape.get("type") != "json_schema":
        return dict(shape)
    schema = {name: value for name, value in shape.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}

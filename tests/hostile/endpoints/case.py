"""A case: what an endpoint answers, and what becomes of it; helpers that write answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.doubles.raw_endpoint import RawReply, RawRequest

NO_TOOLS = "cannot use tools"  # part of the note on an answer whose model refused them
DONE = b"data: [DONE]\n\n"
Requests = Sequence[RawRequest]


@dataclass(frozen=True, slots=True)
class Case:
    """What an endpoint answers, and what becomes of it.

    Args:
        name: Names the case; the id of its agent and of its model.
        replies: The endpoint's replies, one for each request; the last one for all further ones.
        text: The answer's text.
        status: How the answer is stored.
        finish: The stored finish reason, where one is.
        thinking: The stored thoughts.
        tools: Names of the tools that were run, with whether they succeeded.
        requests: Number of requests of the first conversation.
        learns: Number of first replies that no later conversation gets, since the app has learned
            from them how this model is asked.
        notice: Part of the sentence that the user reads beside the answer.
        check: Checks the requests' bodies.
        source: Where such a reply was reported.
    """

    name: str
    replies: Sequence[RawReply]
    text: str = ""
    status: str = "complete"
    finish: str | None = "stop"
    thinking: str | None = None
    tools: Sequence[tuple[str, bool]] = ()
    requests: int = 1
    learns: int = 0
    notice: str = ""
    check: Callable[[Requests], None] | None = None
    source: str = ""


def event(value: Mapping[str, Any]) -> bytes:
    """Return a chunk as a server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """Return an event with one delta."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**head, "choices": [choice], **more})


def said(*texts: str) -> list[bytes]:
    """Return an event for each piece of text."""
    return [chunk({"content": text}) for text in texts]


def ended(finish: str | None = "stop", **more: Any) -> list[bytes]:
    """Return the last events of a stream."""
    return [chunk({}, finish, **more), DONE]


def stream(*pieces: bytes | Sequence[bytes], **options: Any) -> RawReply:
    """Return a reply that streams events; lists of events are joined in order."""
    flat: list[bytes] = []
    for piece in pieces:
        flat.extend([piece] if isinstance(piece, bytes) else piece)
    return RawReply(flat, **options)


def whole(*texts: str) -> RawReply:
    """Return a reply that says `texts` and ends well."""
    return stream(said(*texts), ended())


def document(value: Any, status: int = 200, **headers: str) -> RawReply:
    """Return a reply with a JSON body."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return RawReply([body], status, {"content-type": "application/json", **names})


def refused(status: int, message: str, **details: Any) -> RawReply:
    """Return an HTTP error in OpenAI's form."""
    headers = details.pop("headers", {})
    return document({"error": {"message": message, **details}}, status, **headers)


def piece(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a piece of a tool call, as it stands in a delta."""
    function: dict[str, Any] = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    return {**fields, "function": function}


def calling(*pieces: Mapping[str, Any], **delta: Any) -> bytes:
    """Return an event with pieces of tool calls."""
    return chunk({**delta, "tool_calls": list(pieces)})


SUM = '{"expression": "12+30"}'
CALL = piece("calculate", SUM, index=0, id="call_1", type="function")


def tool_results(request: RawRequest) -> list[str]:
    """Return the texts of a request's tool messages."""
    return [str(m["content"]) for m in request.body["messages"] if m["role"] == "tool"]


def assistant_calls(request: RawRequest) -> list[dict[str, Any]]:
    """Return the tool calls of a request's last assistant message with calls."""
    found = [m["tool_calls"] for m in request.body["messages"] if m.get("tool_calls")]
    calls: list[dict[str, Any]] = found[-1]
    return calls

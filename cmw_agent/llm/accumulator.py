"""Assembles one message from the chunks of a streamed chat completion."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from cmw_agent.core.events import UsageReported
from cmw_agent.llm.errors import NotAStreamError
from cmw_agent.llm.estimates import prompt_tokens
from cmw_agent.llm.run_events import RunEvents
from memory.conversations.context_window import tokens_in

NOT_AN_OBJECT = "the arguments are not a JSON object"


class ToolCalls:
    """Joins the pieces of a message's tool calls, and parses their arguments once at the end.

    LangChain parses the arguments again with each piece, and an unfinished text once for each of
    its characters. Incomplete arguments make an invalid call: a call whose stream was cut is not
    run with the part that arrived.
    """

    __slots__ = ("_calls", "_latest")

    def __init__(self) -> None:
        self._calls: list[tuple[ToolCallChunk, list[str], list[str]]] = []
        self._latest: dict[
            int, int
        ] = {}  # index on the wire -> position in _calls of its last call

    def add(self, pieces: Iterable[ToolCallChunk]) -> None:
        """Add pieces; those with one index and one id belong to one call."""
        for piece in pieces:
            index, call_id = piece["index"], piece["id"]
            position = self._latest.get(index) if isinstance(index, int) else None
            call = self._calls[position] if position is not None else None
            if call is None or (call_id and call[0]["id"] and call_id != call[0]["id"]):
                call = (piece.copy(), [], [])
                if isinstance(index, int):
                    self._latest[index] = len(self._calls)
                self._calls.append(call)
            first, names, arguments = call
            first["id"] = first["id"] or call_id
            names.append(piece["name"] or "")
            arguments.append(piece["args"] or "")

    def texts(self) -> Iterable[str]:
        """Return the pieces of names and arguments so far, from which tokens are estimated."""
        return (piece for _, names, pieces in self._calls for piece in (*names, *pieces))

    def parse(self) -> tuple[list[ToolCall], list[InvalidToolCall]]:
        """Return the valid calls, and those whose arguments are not a JSON object."""
        calls: list[ToolCall] = []
        invalid: list[InvalidToolCall] = []
        for first, names, pieces in self._calls:
            name, text = "".join(names), "".join(pieces)
            arguments = _json_object(text) if text else {}
            if arguments is None:
                invalid.append(
                    invalid_tool_call(name=name, args=text, id=first["id"], error=NOT_AN_OBJECT)
                )
            else:
                calls.append(tool_call(name=name, args=arguments, id=first["id"]))
        return calls, invalid


class CompletionAccumulator:
    """Emits the text of one streamed completion, and collects its tool calls and usage.

    Args:
        events: Receives the text as it arrives, and the usage.
    """

    def __init__(self, events: RunEvents) -> None:
        self._events = events
        self._texts: list[str] = []
        self._calls = ToolCalls()
        self._reasoning: list[str] = []  # not shown, but charged for
        self._usage: UsageReported | None = None
        self.has_begun = False

    def add(self, chunk: dict[str, Any]) -> None:
        """Add a chunk of the stream.

        Raises:
            NotAStreamError: It contains a malformed tool call.
        """
        self.has_begun = True
        self._usage = _reported_usage(chunk) or self._usage
        for choice in (chunk.get("choices") or [])[:1]:
            delta = choice.get("delta") or {}
            text = delta.get("content")
            if isinstance(text, str) and text:
                self._texts.append(text)
                self._events.emit_text(text)
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(reasoning, str):
                self._reasoning.append(reasoning)
            if pieces := delta.get("tool_calls"):
                self._calls.add(_call_chunks(pieces))

    def emit_usage(self, contents: Sequence[Any], tools: Sequence[Any]) -> None:
        """Emit the tokens of the call: the server's count, or an estimate where there is none.

        Args:
            contents: Contents of the request's messages.
            tools: Tool schemas of the request.
        """
        usage = self._usage
        if usage is None:
            output = "".join([*self._texts, *self._reasoning, *self._calls.texts()])
            usage = UsageReported(
                prompt_tokens(contents, tools), tokens_in(output), is_estimate=True
            )
        self._events.emit(usage)

    def message(self) -> AIMessage:
        """Return the whole message.

        Raises:
            NotAStreamError: The stream had no chunk.
        """
        if not self.has_begun:
            raise NotAStreamError
        calls, invalid = self._calls.parse()
        text = "".join(self._texts)
        return AIMessage(text, tool_calls=calls, invalid_tool_calls=invalid)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call_chunks(pieces: Any) -> list[ToolCallChunk]:
    if not isinstance(pieces, list):
        raise NotAStreamError
    return [_call_chunk(piece) for piece in pieces]


def _call_chunk(call: Any) -> ToolCallChunk:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise NotAStreamError
    name, arguments = function.get("name"), function.get("arguments")
    call_id, index = call.get("id"), call.get("index")
    if not all(item is None or isinstance(item, str) for item in (name, arguments, call_id)):
        raise NotAStreamError
    if not (index is None or isinstance(index, int)):
        raise NotAStreamError
    return tool_call_chunk(name=name, args=arguments, id=call_id, index=index)


def _reported_usage(chunk: dict[str, Any]) -> UsageReported | None:
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    input_tokens, output_tokens = (n if type(n) is int and n >= 0 else 0 for n in counts)
    return UsageReported(input_tokens, output_tokens)

"""Calls a chat model: emits its text as it streams, and returns its whole message.

LangChain's own path (`BaseChatModel.ainvoke` below LangGraph's message stream) makes three
validated objects and one round of callbacks for each chunk. Here a chunk's text goes straight to
the event sink; see ``docs/adr/0007-text-straight-from-the-model-call.md``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import BaseTool

from cmw_agent.llm.accumulator import WIRE
from cmw_agent.llm.estimates import is_chargeable
from cmw_agent.llm.langchain_stream import LangChainAccumulator
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.tool_calls import json_object

ToolSchema = BaseTool | dict[str, Any]
ExtraBody = Mapping[str, Any]
NO_EXTRA_BODY: ExtraBody = MappingProxyType({})
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class HistoryMessage:
    """One earlier message of a conversation, as the model sees it. Immutable.

    Args:
        role: ``user``, ``assistant`` or ``tool``.
        content: The text, or a list of content parts of OpenAI's chat completions.
        fields: Further fields of the message in that form: ``name`` of a user, ``tool_calls`` of an
            assistant, ``tool_call_id`` of a tool's result.
    """

    __slots__ = ("_encoded", "content", "fields", "role")

    def __init__(
        self,
        role: str,
        content: str | list[dict[str, Any]],
        fields: Mapping[str, Any] = NO_FIELDS,
    ) -> None:
        self.role = role
        self.content = content
        self.fields = fields
        self._encoded: orjson.Fragment | None = None

    @property
    def encoded(self) -> orjson.Fragment:
        """The message as JSON for the endpoint, encoded once."""
        if self._encoded is None:
            self._encoded = orjson.Fragment(orjson.dumps(self._wire()))
        return self._encoded

    def _wire(self) -> dict[str, Any]:
        content = (self.content or None) if "tool_calls" in self.fields else self.content
        return {"role": self.role, "content": content, **self.fields}

    def message(self) -> AnyMessage:
        """Return the message as a LangChain message."""
        content: Any = self.content
        if self.role == "tool":
            return ToolMessage(content, tool_call_id=self.fields["tool_call_id"])
        if self.role == "user":
            return HumanMessage(content, name=self.fields.get("name"))
        if "tool_calls" not in self.fields:
            return AIMessage(content)
        parsed = [_parsed_call(call) for call in self.fields["tool_calls"]]
        return AIMessage(
            content,
            tool_calls=[call for call in parsed if call["type"] == "tool_call"],
            invalid_tool_calls=[call for call in parsed if call["type"] == "invalid_tool_call"],
            additional_kwargs={WIRE: self._wire()},
        )


def _parsed_call(call: Mapping[str, Any]) -> ToolCall | InvalidToolCall:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if (parsed := json_object(arguments)) is not None:
        return tool_call(name=name, args=parsed, id=call["id"])
    return invalid_tool_call(name=name, args=arguments, id=call["id"])


class DirectChatModel:
    """A chat model that streams to `RunEvents` by itself, past LangChain's callbacks.

    A mixin of a `BaseChatModel`: `CoalescedChatOpenAI` has a module of its own, since importing
    LangChain's OpenAI client costs 20 MB, which a process with another model saves.
    """

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
    ) -> AIMessage:
        """Return the message that continues `messages`; see the function `complete`."""
        raise NotImplementedError

    async def complete_history(
        self,
        instructions: str,
        history: Sequence[HistoryMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
    ) -> AIMessage:
        """Return the message that continues `history`; see `complete_history`."""
        raise NotImplementedError


ChatModel = BaseChatModel | DirectChatModel


async def complete_history(
    model: ChatModel,
    instructions: str,
    history: Sequence[HistoryMessage],
    tools: Sequence[ToolSchema],
    events: RunEvents,
    extra_body: ExtraBody = NO_EXTRA_BODY,
) -> AIMessage:
    """Return the message with which `model` continues a conversation.

    Differs from `complete` only in its input, which need not pass through LangChain.

    Args:
        model: The chat model.
        instructions: System prompt.
        history: Earlier messages, oldest first; the last one is the user's.
        tools: Tools that the model may call.
        events: Receives the text as it streams, and the usage.
        extra_body: Further fields of the request to an OpenAI-compatible endpoint.
    """
    if isinstance(model, DirectChatModel):
        events.begin_call()
        return await model.complete_history(instructions, history, tools, events, extra_body)
    messages = [SystemMessage(instructions), *(item.message() for item in history)]
    return await complete(model, messages, tools, events)


async def complete(
    model: ChatModel,
    messages: Sequence[BaseMessage],
    tools: Sequence[ToolSchema],
    events: RunEvents,
    extra_body: ExtraBody = NO_EXTRA_BODY,
) -> AIMessage:
    """Return the message with which `model` continues `messages`.

    Args:
        model: The chat model.
        messages: The conversation so far, with the system message first.
        tools: Tools that the model may call.
        events: Receives the text as it streams, and the usage however the call ends: an
            estimate where the server reported none.
        extra_body: Further fields of the request to an OpenAI-compatible endpoint.

    Returns:
        The message, with the `FinishReason` as ``response_metadata["finish_reason"]``. The
        message of an endpoint that makes calls stands in ``additional_kwargs["wire"]`` as well,
        as it is to be sent back. One that was cut or withheld makes no calls.

    Raises:
        UpstreamError: The model's server failed. Other models raise their own errors.
        ModelFailedError: The message is no answer and makes no call; its kind says why.
    """
    events.begin_call()
    if isinstance(model, DirectChatModel):
        return await model.complete(messages, tools, events, extra_body)
    accumulator = LangChainAccumulator(events, tools)
    bound = model.bind_tools(tools) if tools else model
    try:
        async for chunk in bound.astream(list(messages)):
            if isinstance(chunk, AIMessageChunk):
                accumulator.add(chunk)
        accumulator.finish()
    except BaseException as error:
        events.held = accumulator.rest()
        if is_chargeable(error, has_begun=accumulator.has_begun):
            accumulator.emit_usage(messages)
        raise
    accumulator.emit_usage(messages)
    return accumulator.message()

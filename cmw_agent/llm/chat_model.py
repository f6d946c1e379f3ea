"""Calls a chat model: emits its text as it streams, and returns its whole message.

LangChain's own path (`BaseChatModel.ainvoke` below LangGraph's message stream) makes three
validated objects and one round of callbacks for each chunk. Here a chunk's text goes straight to
the event sink; see ``docs/adr/0007-text-straight-from-the-model-call.md``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from cmw_agent.core.events import UsageReported
from cmw_agent.llm.accumulator import CompletionAccumulator, ToolCalls
from cmw_agent.llm.estimates import is_chargeable, prompt_tokens
from cmw_agent.llm.http_client import NotAStreamError
from cmw_agent.llm.run_events import RunEvents
from memory.conversations.context_window import tokens_in

WITHOUT_CALLS: Mapping[str, Any] = MappingProxyType(
    {"tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}
)
MAX_SCHEMAS = 1_000  # converted tool schemas that one model object caches

ToolSchema = BaseTool | dict[str, Any]
Fields = Mapping[str, Any]
NO_FIELDS: Fields = MappingProxyType({})


class Exchange:
    """One earlier message of a conversation, as the model sees it. Immutable.

    Args:
        role: ``user`` or ``assistant``.
        content: The text, or a list of content parts of OpenAI's chat completions.
    """

    __slots__ = ("_encoded", "content", "role")

    def __init__(self, role: str, content: str | list[dict[str, Any]]) -> None:
        self.role = role
        self.content = content
        self._encoded: orjson.Fragment | None = None

    @property
    def encoded(self) -> orjson.Fragment:
        """The message as JSON for the endpoint, encoded once."""
        if self._encoded is None:
            message = {"role": self.role, "content": self.content}
            self._encoded = orjson.Fragment(orjson.dumps(message))
        return self._encoded

    def message(self) -> AnyMessage:
        """Return the message as a LangChain message."""
        content: Any = self.content
        return HumanMessage(content) if self.role == "user" else AIMessage(content)


async def begin(
    model: BaseChatModel,
    instructions: str,
    history: Sequence[Exchange],
    tools: Sequence[ToolSchema],
    events: RunEvents,
    extra_body: Fields = NO_FIELDS,
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
    if isinstance(model, CoalescedChatOpenAI):
        events.begin_call()
        return await model.complete_history(instructions, history, tools, events, extra_body)
    messages = [SystemMessage(instructions), *(item.message() for item in history)]
    return await complete(model, messages, tools, events)


async def complete(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    tools: Sequence[ToolSchema],
    events: RunEvents,
    extra_body: Fields = NO_FIELDS,
) -> AIMessage:
    """Return the message with which `model` continues `messages`.

    Args:
        model: The chat model.
        messages: The conversation so far, with the system message first.
        tools: Tools that the model may call.
        events: Receives the text as it streams, and the usage however the call ends: an
            estimate where the server reported none.
        extra_body: Further fields of the request to an OpenAI-compatible endpoint.

    Raises:
        UpstreamError: The model's server failed. Other models raise their own errors.
    """
    events.begin_call()
    if isinstance(model, CoalescedChatOpenAI):
        return await model.complete(messages, tools, events, extra_body)
    chunks: list[AIMessageChunk] = []
    calls = ToolCalls()
    bound = model.bind_tools(tools) if tools else model
    try:
        async for chunk in bound.astream(list(messages)):
            if isinstance(chunk, AIMessageChunk):
                events.emit_text(str(chunk.text))
                calls.add(chunk.tool_call_chunks)
                chunks.append(chunk.model_copy(update=WITHOUT_CALLS))
    except BaseException as error:
        if is_chargeable(error, has_begun=bool(chunks)):
            events.emit(_langchain_usage(messages, _merged(chunks)))
        raise
    if not chunks:
        raise NotAStreamError
    merged = _merged(chunks)
    events.emit(_langchain_usage(messages, merged))
    message = cast("AIMessage", message_chunk_to_message(merged))
    message.tool_calls, message.invalid_tool_calls = calls.parse()
    return message


def _merged(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    return chunks[0] + list(chunks[1:]) if chunks else AIMessageChunk(content="")


class CoalescedChatOpenAI(ChatOpenAI):
    """A `ChatOpenAI` whose streams come from `CoalescedCompletions`.

    LangChain builds the request; streamed text and tool calls do not pass through it.
    """

    _base: dict[str, Any] = PrivateAttr(default_factory=dict)
    _schemas: dict[int, tuple[ToolSchema, dict[str, Any]]] = PrivateAttr(default_factory=dict)

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: Fields,
    ) -> AIMessage:
        """Return the endpoint's message that continues `messages`; see the function `complete`."""
        contents = [message.content for message in messages]
        payload = self._payload(messages, self._options(tools, extra_body))
        return await self._stream_message(payload, events, contents)

    async def complete_history(
        self,
        instructions: str,
        history: Sequence[Exchange],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: Fields,
    ) -> AIMessage:
        """Return the endpoint's message that continues `history`, without LangChain; see `begin`."""
        if not self._base:
            # The request fields that LangChain derives from the settings are the same for all
            # users and requests. The messages, which are personal, are left out.
            base = self._get_request_payload([SystemMessage("")], stream=True)
            self._base = {name: value for name, value in base.items() if name != "messages"}
        first = {"role": "system", "content": instructions}
        messages = [first, *(item.encoded for item in history)]
        options = self._options(tools, extra_body)
        contents = [instructions, *(item.content for item in history)]
        payload = {**self._base, **options, "messages": messages}
        return await self._stream_message(payload, events, contents)

    def _options(self, tools: Sequence[ToolSchema], extra_body: Fields) -> dict[str, Any]:
        options: dict[str, Any] = {**extra_body, "stream": True}
        if self.stream_usage:
            options["stream_options"] = {"include_usage": True}
        if tools:
            options["tools"] = [self._schema(tool) for tool in tools]
        return options

    async def _stream_message(
        self, payload: dict[str, Any], events: RunEvents, contents: Sequence[Any]
    ) -> AIMessage:
        accumulator = CompletionAccumulator(events)
        try:
            async with await self.async_client.create(**payload) as stream:
                async for chunk in stream:
                    accumulator.add(chunk)
        except BaseException as error:
            if is_chargeable(error, has_begun=accumulator.has_begun):
                accumulator.emit_usage(contents, payload.get("tools") or ())
            raise
        message = accumulator.message()
        accumulator.emit_usage(contents, payload.get("tools") or ())
        return message

    def _payload(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> dict[str, Any]:
        # LangChain searches each message for content that only few kinds of messages can have.
        plain = [_plain(message) for message in messages[1:]]
        if None in plain:
            return self._get_request_payload(list(messages), **options)
        payload = self._get_request_payload(list(messages[:1]), **options)
        payload["messages"].extend(plain)
        return payload

    def _schema(self, tool: ToolSchema) -> dict[str, Any]:
        cached = self._schemas.get(id(tool))  # holds the tool too, so its id is not reused
        if cached is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            cached = self._schemas[id(tool)] = (tool, convert_to_openai_tool(tool))
        return cached[1]


def _plain(message: BaseMessage) -> dict[str, Any] | None:
    """Return a text-only user or assistant message in the endpoint's form; None for others."""
    if not isinstance(message.content, str) or message.name or message.additional_kwargs:
        return None
    if type(message) is HumanMessage:
        return {"role": "user", "content": message.content}
    if type(message) is AIMessage and not (message.tool_calls or message.invalid_tool_calls):
        return {"role": "assistant", "content": message.content}
    return None


def _langchain_usage(messages: Sequence[BaseMessage], merged: AIMessageChunk) -> UsageReported:
    if (usage := merged.usage_metadata) is not None:
        return UsageReported(usage["input_tokens"], usage["output_tokens"])
    input_tokens = prompt_tokens(message.content for message in messages)
    return UsageReported(input_tokens, tokens_in(str(merged.text)), is_estimate=True)

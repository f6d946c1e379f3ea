"""One call of a model: messages in, its text handed on as it comes, its message out.

LangChain's own way (`BaseChatModel.ainvoke` below LangGraph's message stream) makes three
validated objects and a round of callbacks of each chunk. Here a chunk's text goes straight to
whoever listens; see ``docs/adr/0007-text-straight-from-the-model-call.md``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolCallChunk,
    message_chunk_to_message,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from cmw_agent.core.events import EventSink, TextDelta, UsageReported
from cmw_agent.llm.estimates import is_chargeable, prompt_tokens
from cmw_agent.llm.http_client import NotAStreamError
from memory.conversations.context_window import tokens_in

NO_OBJECT = "the arguments are not a JSON object"
WITHOUT_CALLS: Mapping[str, Any] = MappingProxyType(
    {"tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}
)
MAX_SCHEMAS = 1_000  # tools whose schema a model keeps converted

ToolSchema = BaseTool | dict[str, Any]
Fields = Mapping[str, Any]
NO_FIELDS: Fields = MappingProxyType({})


class Exchange:
    """One earlier message of a conversation, as the model is to see it; never changed.

    Args:
        role: ``user`` or ``assistant``.
        content: Its text, or its parts in the form of OpenAI's chat completions.
    """

    __slots__ = ("_wire", "content", "role")

    def __init__(self, role: str, content: str | list[dict[str, Any]]) -> None:
        self.role = role
        self.content = content
        self._wire: orjson.Fragment | None = None

    @property
    def wire(self) -> orjson.Fragment:
        """The message as the endpoint takes it, encoded once."""
        if self._wire is None:
            plain = {"role": self.role, "content": self.content}
            self._wire = orjson.Fragment(orjson.dumps(plain))
        return self._wire

    def message(self) -> AnyMessage:
        """Return the message in LangChain's form."""
        content: Any = self.content
        return HumanMessage(content) if self.role == "user" else AIMessage(content)


class RunEvents:
    """Where the events of one run go.

    The text of a further model call of the same run begins a paragraph of its own.

    Args:
        emit: Takes each event at once; must not block.
    """

    __slots__ = ("_gap", "_spoke", "emit")

    def __init__(self, emit: EventSink) -> None:
        self.emit = emit
        self._spoke = False
        self._gap = ""

    def begin(self) -> None:
        """A model call begins."""
        self._gap = "\n\n" if self._spoke else ""

    def say(self, text: str) -> None:
        """Hand on more of the model's text."""
        if text:
            self.emit(TextDelta(self._gap + text))
            self._gap = ""
            self._spoke = True


async def begin(
    model: BaseChatModel,
    instructions: str,
    said: Sequence[Exchange],
    tools: Sequence[ToolSchema],
    voice: RunEvents,
    fields: Fields = NO_FIELDS,
) -> AIMessage:
    """Ask `model` for the message that follows what was `said`; otherwise as `complete`."""
    if isinstance(model, CoalescedChatOpenAI):
        voice.begin()
        return await model.follow(instructions, said, tools, voice, fields)
    messages = [SystemMessage(instructions), *(item.message() for item in said)]
    return await complete(model, messages, tools, voice)


async def complete(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    tools: Sequence[ToolSchema],
    voice: RunEvents,
    fields: Fields = NO_FIELDS,
) -> AIMessage:
    """Ask `model` for the message that follows `messages`; `voice` hears it as it comes.

    However the call ends, `voice` also hears what it took: an estimate where the server reported
    nothing. `fields` are further ones of the request, for an endpoint of OpenAI's kind.

    Raises:
        UpstreamError: The model's server failed. Other models raise what they raise.
    """
    voice.begin()
    if isinstance(model, CoalescedChatOpenAI):
        return await model.complete(messages, tools, voice, fields)
    chunks: list[AIMessageChunk] = []
    calls = ToolCalls()
    bound = model.bind_tools(tools) if tools else model
    try:
        async for chunk in bound.astream(list(messages)):
            if isinstance(chunk, AIMessageChunk):
                voice.say(str(chunk.text))
                calls.add(chunk.tool_call_chunks)
                chunks.append(chunk.model_copy(update=WITHOUT_CALLS))
    except BaseException as error:
        if is_chargeable(error, has_begun=bool(chunks)):
            voice.emit(_usage_of(messages, _whole(chunks)))
        raise
    if not chunks:
        raise NotAStreamError
    whole = _whole(chunks)
    voice.emit(_usage_of(messages, whole))
    message = cast("AIMessage", message_chunk_to_message(whole))
    message.tool_calls, message.invalid_tool_calls = calls.parsed()
    return message


def _whole(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    return chunks[0] + list(chunks[1:]) if chunks else AIMessageChunk(content="")


class ToolCalls:
    """The tool calls of one message, put together from the pieces in which they come.

    LangChain parses the arguments anew with each piece, and an unfinished text once for each of
    its characters. Here pieces are joined and parsed once. Arguments that are not whole make an
    invalid call: a call that was cut is not made with what happened to come of it.
    """

    __slots__ = ("_calls", "_latest")

    def __init__(self) -> None:
        self._calls: list[tuple[ToolCallChunk, list[str], list[str]]] = []
        self._latest: dict[int, int] = {}  # the place of the newest call of an index

    def add(self, pieces: Iterable[ToolCallChunk]) -> None:
        """Take in pieces; those of one index and one id belong together."""
        for piece in pieces:
            index, call_id = piece["index"], piece["id"]
            place = self._latest.get(index) if isinstance(index, int) else None
            call = self._calls[place] if place is not None else None
            if call is None or (call_id and call[0]["id"] and call_id != call[0]["id"]):
                call = (piece.copy(), [], [])
                if isinstance(index, int):
                    self._latest[index] = len(self._calls)
                self._calls.append(call)
            first, names, arguments = call
            first["id"] = first["id"] or call_id
            names.append(piece["name"] or "")
            arguments.append(piece["args"] or "")

    def written(self) -> Iterable[str]:
        """Return what the model has written of the calls so far."""
        return (piece for _, names, pieces in self._calls for piece in (*names, *pieces))

    def parsed(self) -> tuple[list[ToolCall], list[InvalidToolCall]]:
        """Return the calls, and those whose arguments are no JSON object."""
        calls: list[ToolCall] = []
        invalid: list[InvalidToolCall] = []
        for first, names, pieces in self._calls:
            name, text = "".join(names), "".join(pieces)
            arguments = _object(text) if text else {}
            if arguments is None:
                invalid.append(
                    invalid_tool_call(name=name, args=text, id=first["id"], error=NO_OBJECT)
                )
            else:
                calls.append(tool_call(name=name, args=arguments, id=first["id"]))
        return calls, invalid


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class CoalescedChatOpenAI(ChatOpenAI):
    """A `ChatOpenAI` over `CoalescedCompletions`.

    LangChain makes the request and reads the tool calls; text does not pass through it.
    """

    _base: dict[str, Any] = PrivateAttr(default_factory=dict)
    _schemas: dict[int, tuple[ToolSchema, dict[str, Any]]] = PrivateAttr(default_factory=dict)

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSchema],
        voice: RunEvents,
        fields: Fields,
    ) -> AIMessage:
        """Ask the endpoint; see `complete`."""
        contents = [message.content for message in messages]
        payload = self._payload(messages, self._options(tools, fields))
        return await self._ask(payload, voice, contents)

    async def follow(
        self,
        instructions: str,
        said: Sequence[Exchange],
        tools: Sequence[ToolSchema],
        voice: RunEvents,
        fields: Fields,
    ) -> AIMessage:
        """Ask the endpoint; see `begin`. Nothing of the conversation passes through LangChain."""
        if not self._base:
            # What LangChain makes of this model's settings is the same for each request, and
            # this model for many users: nobody's words are in it.
            base = self._get_request_payload([SystemMessage("")], stream=True)
            self._base = {name: value for name, value in base.items() if name != "messages"}
        first = {"role": "system", "content": instructions}
        messages = [first, *(exchange.wire for exchange in said)]
        options = self._options(tools, fields)
        contents = [instructions, *(exchange.content for exchange in said)]
        payload = {**self._base, **options, "messages": messages}
        return await self._ask(payload, voice, contents)

    def _options(self, tools: Sequence[ToolSchema], fields: Fields) -> dict[str, Any]:
        options: dict[str, Any] = {**fields, "stream": True}
        if self.stream_usage:
            options["stream_options"] = {"include_usage": True}
        if tools:
            options["tools"] = [self._schema(tool) for tool in tools]
        return options

    async def _ask(
        self, payload: dict[str, Any], voice: RunEvents, contents: Sequence[Any]
    ) -> AIMessage:
        heard = CompletionAccumulator(voice)
        try:
            async with await self.async_client.create(**payload) as stream:
                async for chunk in stream:
                    heard.take(chunk)
        except BaseException as error:
            if is_chargeable(error, has_begun=heard.has_begun):
                heard.count(contents, payload.get("tools") or ())
            raise
        message = heard.message()
        heard.count(contents, payload.get("tools") or ())
        return message

    def _payload(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> dict[str, Any]:
        # LangChain walks through each message for what only a few can hold.
        plain = [_plain(message) for message in messages[1:]]
        if None in plain:
            return self._get_request_payload(list(messages), **options)
        payload = self._get_request_payload(list(messages[:1]), **options)
        payload["messages"].extend(plain)
        return payload

    def _schema(self, tool: ToolSchema) -> dict[str, Any]:
        known = self._schemas.get(id(tool))  # kept with its tool, so an id is never used again
        if known is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            known = self._schemas[id(tool)] = (tool, convert_to_openai_tool(tool))
        return known[1]


class CompletionAccumulator:
    """What has come of one completion."""

    def __init__(self, voice: RunEvents) -> None:
        self._voice = voice
        self._texts: list[str] = []
        self._calls = ToolCalls()
        self._unsaid: list[str] = []  # that the model wrote and nobody is shown
        self._usage: UsageReported | None = None
        self.has_begun = False

    def take(self, chunk: dict[str, Any]) -> None:
        self.has_begun = True
        self._usage = _usage(chunk) or self._usage
        for choice in (chunk.get("choices") or [])[:1]:
            delta = choice.get("delta") or {}
            text = delta.get("content")
            if isinstance(text, str) and text:
                self._texts.append(text)
                self._voice.say(text)
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(thought, str):
                self._unsaid.append(thought)
            if pieces := delta.get("tool_calls"):
                self._calls.add(_call_chunks(pieces))

    def count(self, contents: Sequence[Any], tools: Sequence[Any]) -> None:
        """Report what the call has taken, which is estimated where the server has not said it."""
        usage = self._usage
        if usage is None:
            written = "".join([*self._texts, *self._unsaid, *self._calls.written()])
            usage = UsageReported(
                prompt_tokens(contents, tools), tokens_in(written), is_estimate=True
            )
        self._voice.emit(usage)

    def message(self) -> AIMessage:
        if not self.has_begun:
            raise NotAStreamError
        calls, invalid = self._calls.parsed()
        text = "".join(self._texts)
        return AIMessage(text, tool_calls=calls, invalid_tool_calls=invalid)


def _plain(message: BaseMessage) -> dict[str, Any] | None:
    """Return a message that is nothing but text as the endpoint takes it; None for others."""
    if not isinstance(message.content, str) or message.name or message.additional_kwargs:
        return None
    if type(message) is HumanMessage:
        return {"role": "user", "content": message.content}
    if type(message) is AIMessage and not (message.tool_calls or message.invalid_tool_calls):
        return {"role": "assistant", "content": message.content}
    return None


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


def _usage_of(messages: Sequence[BaseMessage], whole: AIMessageChunk) -> UsageReported:
    if (usage := whole.usage_metadata) is not None:
        return UsageReported(usage["input_tokens"], usage["output_tokens"])
    asked = prompt_tokens(message.content for message in messages)
    written = tokens_in(str(whole.text))
    return UsageReported(asked, written, is_estimate=True)


def _usage(chunk: dict[str, Any]) -> UsageReported | None:
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    asked, answered = (n if type(n) is int and n >= 0 else 0 for n in counts)
    return UsageReported(asked, answered)

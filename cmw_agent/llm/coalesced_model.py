"""The chat model of OpenAI-compatible endpoints. Imported only where one is configured."""

from collections.abc import Sequence
from typing import Any, Self

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from cmw_agent.core.events import AnswerNoted
from cmw_agent.language import wording
from cmw_agent.llm.accumulator import WIRE, CompletionAccumulator
from cmw_agent.llm.adaptation import Adaptation
from cmw_agent.llm.chat_model import DirectChatModel, ExtraBody, HistoryMessage, ToolSchema
from cmw_agent.llm.estimates import is_chargeable
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.thinking import ImpliedThinking

NO_TOOLS = wording("This model cannot use tools; it answered without them.")
MAX_SCHEMAS = 1_000  # converted tool schemas that one model object caches


class CoalescedChatOpenAI(DirectChatModel, ChatOpenAI):
    """A `ChatOpenAI` whose streams come from `CoalescedCompletions`.

    LangChain builds the request; streamed text and tool calls do not pass through it.

    Attributes:
        text_calls: Whether the model writes its tool calls as text.
    """

    text_calls: bool = False
    _thinking: ImpliedThinking = PrivateAttr(default_factory=ImpliedThinking)
    _base: dict[str, Any] = PrivateAttr(default_factory=dict)
    _schemas: dict[int, tuple[ToolSchema, dict[str, Any]]] = PrivateAttr(default_factory=dict)

    def with_key(self, visitor_key: SecretStr) -> Self:
        """Return a model for one visitor's run, whose requests bring that visitor's key."""
        bound = self.async_client.with_key(visitor_key)
        return self.model_copy(update={"client": bound, "async_client": bound})

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
    ) -> AIMessage:
        """Return the endpoint's message that continues `messages`; see the function `complete`."""
        contents = [message.content for message in messages]
        payload = self._payload(messages, self._options(tools, extra_body))
        return await self._stream_message(payload, events, contents)

    async def complete_history(
        self,
        instructions: str,
        history: Sequence[HistoryMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
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

    def _options(self, tools: Sequence[ToolSchema], extra_body: ExtraBody) -> dict[str, Any]:
        options: dict[str, Any] = {**extra_body, "stream": True}
        if self.stream_usage:
            options["stream_options"] = {"include_usage": True}
        if tools:
            options["tools"] = [self._schema(tool) for tool in tools]
        return options

    async def _stream_message(
        self, payload: dict[str, Any], events: RunEvents, contents: Sequence[Any]
    ) -> AIMessage:
        tools, name = payload.get("tools") or (), str(payload.get("model"))
        accumulator = CompletionAccumulator(
            events,
            tools,
            text_calls=self.text_calls,
            in_thoughts=self._thinking.expects(events.owner, name),
        )
        try:
            stream = await self.async_client.create(
                budget=events.budget, tape=events.tape, **payload
            )
            async with stream:
                async for chunk in stream:
                    accumulator.add(chunk)
            accumulator.finish()
        except BaseException as error:
            events.held = accumulator.rest()
            if is_chargeable(error, has_begun=accumulator.has_begun):
                accumulator.emit_usage(contents, tools)
            raise
        accumulator.emit_usage(contents, tools)
        if tools and Adaptation.TOOLS in stream.adaptations:
            events.emit(AnswerNoted(NO_TOOLS))
        if (inside := accumulator.started_inside) is not None:
            self._thinking.learn(events.owner, name, started_inside=inside)
        return accumulator.message()

    def _payload(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> dict[str, Any]:
        # LangChain searches each message for content that only few kinds of messages can have.
        payload = self._get_request_payload(list(messages[:1]), **options)
        for message in messages[1:]:
            plain = _plain(message)
            further = [plain] if plain is not None else self._converted(message)
            payload["messages"].extend(further)
        return payload

    def _converted(self, message: BaseMessage) -> list[dict[str, Any]]:
        converted: list[dict[str, Any]] = self._get_request_payload([message])["messages"]
        return converted

    def _schema(self, tool: ToolSchema) -> dict[str, Any]:
        if isinstance(tool, dict) and tool.get("type") == "function":
            return tool  # in the endpoint's form already, and perhaps somebody's own
        cached = self._schemas.get(id(tool))  # holds the tool too, so its id is not reused
        if cached is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            cached = self._schemas[id(tool)] = (tool, convert_to_openai_tool(tool))
        return cached[1]


def _plain(message: BaseMessage) -> dict[str, Any] | None:
    """Return a message that needs no conversion in the endpoint's form; None for others."""
    if not isinstance(message.content, str):
        return None
    if type(message) is ToolMessage:
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if isinstance(message, AIMessage) and isinstance(
        wire := message.additional_kwargs.get(WIRE), dict
    ):
        return wire
    if message.name or message.additional_kwargs:
        return None
    if type(message) is HumanMessage:
        return {"role": "user", "content": message.content}
    if type(message) is AIMessage and not (message.tool_calls or message.invalid_tool_calls):
        return {"role": "assistant", "content": message.content}
    return None

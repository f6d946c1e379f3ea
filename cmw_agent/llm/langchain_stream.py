"""Assembles one message from the chunks that another LangChain model streams."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import BaseTool

from cmw_agent.core.events import FinishReason, SourcesCited, UsageReported
from cmw_agent.llm.accumulator import tool_parameters
from cmw_agent.llm.errors import NotAStreamError
from cmw_agent.llm.estimates import prompt_tokens
from cmw_agent.llm.finish_reasons import finish_reason
from cmw_agent.llm.message_end import judged
from cmw_agent.llm.message_text import MessageText
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.sources import SourceCollector
from cmw_agent.llm.text_calls import Schemas
from cmw_agent.llm.tool_calls import ToolCalls
from memory.conversations.context_window import tokens_in

WITHOUT_CALLS: Mapping[str, Any] = MappingProxyType(
    {"tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}
)
FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason")


class LangChainAccumulator:
    """Emits the parts of one message as its chunks arrive, and judges its end.

    Args:
        events: Receives text, thoughts, sources and pictures as they arrive, and the usage.
        tools: The tools that the model was offered.
    """

    def __init__(self, events: RunEvents, tools: Sequence[Any]) -> None:
        names: Schemas = {tool.name: {} for tool in tools if isinstance(tool, BaseTool)}
        schemas = {**names, **tool_parameters(tools)}
        self._events = events
        self._calls = ToolCalls(schemas)
        self._content = MessageText(events, self._calls, schemas)
        self._sources = SourceCollector()
        self._chunks: list[AIMessageChunk] = []
        self._finish: FinishReason | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a chunk has arrived."""
        return bool(self._chunks)

    def add(self, chunk: AIMessageChunk) -> None:
        """Add a chunk.

        Raises:
            ModelFailedError: The message is too large.
        """
        if isinstance(chunk.content, str):
            thought = chunk.additional_kwargs.get("reasoning_content")
            if isinstance(thought, str):
                self._content.add_thought(thought)
            self._content.add(chunk.content)
        else:
            self._add_blocks(chunk)
        for call in chunk.tool_call_chunks:
            function = {"name": call["name"], "arguments": call["args"]}
            self._calls.add([{"id": call["id"], "index": call["index"], "function": function}])
        if chunk.response_metadata and self._finish in (None, "stop"):
            self._finish = _finish_reason(chunk.response_metadata) or self._finish
        self._chunks.append(chunk.model_copy(update=WITHOUT_CALLS))

    def _add_blocks(self, chunk: AIMessageChunk) -> None:
        for block in chunk.content_blocks:
            fields: Mapping[str, Any] = cast("Mapping[str, Any]", block)
            if fields.get("type") == "non_standard" and isinstance(fields.get("value"), dict):
                fields = fields["value"]
            if str(fields.get("type")).startswith(("tool_call", "invalid_tool", "server_tool")):
                continue
            self._content.add_parts([fields])
            if sources := self._sources.add(fields):
                self._events.emit(SourcesCited(sources))

    def finish(self) -> None:
        """Emit what was held back: the stream has ended.

        Raises:
            NotAStreamError: It had no chunk.
        """
        if not self._chunks:
            raise NotAStreamError
        self._content.finish(was_cut=self._finish == "length")

    def rest(self) -> str:
        """Return the text that is held back of a message that broke off."""
        return self._content.rest()

    def emit_usage(self, messages: Sequence[BaseMessage]) -> None:
        """Emit the tokens of the call: the model's count, or an estimate where there is none."""
        usage: UsageMetadata | None = self._merged().usage_metadata
        counts = (usage["input_tokens"], usage["output_tokens"]) if usage is not None else (0, 0)
        content = self._content
        held = self._events.held
        said = "".join([content.text, held, *content.thoughts, *self._calls.texts()])
        output = counts[1] or tokens_in(said)
        details: Mapping[str, Any] = usage or {}
        self._events.emit(
            UsageReported(
                counts[0] or prompt_tokens(message.content for message in messages),
                output,
                is_estimate=not counts[0] or output != counts[1],
                cached_tokens=(details.get("input_token_details") or {}).get("cache_read") or 0,
                reasoning_tokens=(details.get("output_token_details") or {}).get("reasoning") or 0,
            )
        )

    def message(self) -> AIMessage:
        """Return the whole message.

        Raises:
            ModelFailedError: The message is no answer, or too large.
            StreamRefusedError: The server said that it failed, and nothing came.
        """
        message = cast("AIMessage", message_chunk_to_message(self._merged()))
        content = self._content
        if isinstance(message.content, str):
            message.content = content.text
        message.tool_calls, message.invalid_tool_calls = self._calls.parse()
        # A model that says nothing of its end and streams no error has come to it.
        message.response_metadata = {
            **message.response_metadata,
            "finish_reason": self._finish or "stop",
        }
        return judged(
            message,
            has_thoughts=bool(content.thoughts),
            has_pictures=content.has_pictures,
            wrote_calls=content.wrote_calls,
        )

    def _merged(self) -> AIMessageChunk:
        chunks = self._chunks
        return chunks[0] + chunks[1:] if chunks else AIMessageChunk(content="")


def _finish_reason(metadata: Mapping[str, Any]) -> FinishReason | None:
    for key in FINISH_KEYS:
        if (reason := finish_reason(metadata.get(key))) is not None:
            return reason
    details = metadata.get("incomplete_details")
    if isinstance(details, Mapping):
        return finish_reason(details.get("reason")) or "length"
    return finish_reason(metadata.get("status"))

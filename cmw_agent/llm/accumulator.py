"""Assembles one message from the chunks of a streamed chat completion."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from cmw_agent.core.events import FinishReason, SourcesCited, UsageReported
from cmw_agent.llm.errors import NotAStreamError
from cmw_agent.llm.estimates import prompt_tokens
from cmw_agent.llm.finish_reasons import finish_reason
from cmw_agent.llm.message_end import judged
from cmw_agent.llm.message_text import MessageText
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.sources import SOURCE_FIELDS, SourceCollector
from cmw_agent.llm.text_calls import Schemas
from cmw_agent.llm.thinking import ThoughtFields
from cmw_agent.llm.tool_calls import ToolCalls
from cmw_agent.llm.usage import UsageReader
from memory.conversations.context_window import tokens_in

# Key of `additional_kwargs`: the message with its calls as it is sent back to the endpoint.
WIRE = "wire"
PLAIN = frozenset({"role", "content"})  # the fields of a delta of text


class CompletionAccumulator:
    """Emits the parts of one streamed completion, and collects its calls and usage.

    Args:
        events: Receives text, thoughts, sources and pictures as they arrive, and the usage.
        tools: Schemas of the tools that the model was offered, in OpenAI's form.
        text_calls: Whether the model writes its calls as text.
        in_thoughts: Whether its message is expected to start with thoughts that no tag opens.
    """

    def __init__(
        self,
        events: RunEvents,
        tools: Sequence[Any] = (),
        *,
        text_calls: bool = False,
        in_thoughts: bool = False,
    ) -> None:
        schemas = tool_parameters(tools)
        self._events = events
        self._calls = ToolCalls(schemas)
        self._content = MessageText(
            events, self._calls, schemas, text_calls=text_calls, in_thoughts=in_thoughts
        )
        self._thoughts = ThoughtFields()
        self._sources = SourceCollector()
        self._usage = UsageReader()
        self._finish: FinishReason | None = None
        self._has_deltas = False
        self.has_begun = False

    @property
    def started_inside(self) -> bool | None:
        """Whether the message started inside thoughts; None where its content does not tell."""
        return self._content.started_inside

    def add(self, chunk: dict[str, Any]) -> None:
        """Add a chunk of the stream, or a whole completion.

        Raises:
            ModelFailedError: The message is too large.
        """
        self.has_begun = True
        if usage := chunk.get("usage"):
            self._usage.add(usage)
        if not SOURCE_FIELDS.isdisjoint(chunk):
            self._cite(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        choice = choices[0]
        if word := choice.get("finish_reason"):
            self._end(word)
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta:
            self._has_deltas = True
            self._add_fields(delta)
        elif not self._has_deltas:
            message = choice.get("message")
            if isinstance(message, dict):
                self._add_fields(message)
            elif isinstance(text := choice.get("text"), str):
                self._content.add(text)
        if choice.get("usage"):
            self._usage.add(choice["usage"])

    def _add_fields(self, fields: dict[str, Any]) -> None:
        """Add the fields of a delta or of a whole message."""
        content = fields.get("content")
        if type(content) is str and fields.keys() <= PLAIN:
            if content:
                self._content.add(content)
            return
        self._content.add_thought(self._thoughts.add(fields))
        self._add_content(content)
        if isinstance(refusal := fields.get("refusal"), str):
            self._content.add_plain(refusal)
        if calls := fields.get("tool_calls"):
            self._calls.add(calls)
        elif function := fields.get("function_call"):
            self._calls.add([{"index": 0, "function": function}])
        if isinstance(pictures := fields.get("images"), list):
            for picture in pictures:
                self._content.add_picture(picture)
        self._cite(fields)

    def _add_content(self, content: Any) -> None:
        if isinstance(content, str):
            self._content.add(content)
        elif isinstance(content, list | dict):
            parts = content if isinstance(content, list) else [content]
            self._content.add_parts(parts)
            for part in parts:
                if isinstance(part, dict):
                    self._cite(part)

    def _cite(self, fields: Mapping[str, Any]) -> None:
        if sources := self._sources.add(fields):
            self._events.emit(SourcesCited(sources))

    def _end(self, word: Any) -> None:
        reason = finish_reason(word)
        if reason is not None and self._finish in (None, "stop"):
            self._finish = reason

    def emit_usage(self, contents: Sequence[Any], tools: Sequence[Any]) -> None:
        """Emit the tokens of the call: the server's count, or an estimate where there is none.

        Args:
            contents: Contents of the request's messages.
            tools: Tool schemas of the request.
        """
        usage = self._usage.reported or UsageReported(0, 0)
        output = usage.output_tokens or tokens_in(self._output())
        is_estimate = not usage.input_tokens or output != usage.output_tokens
        self._events.emit(
            UsageReported(
                usage.input_tokens or prompt_tokens(contents, tools),
                output,
                is_estimate=is_estimate,
                cached_tokens=usage.cached_tokens,
                reasoning_tokens=usage.reasoning_tokens,
            )
        )

    def _output(self) -> str:
        content = self._content
        return "".join([content.text, self._events.held, *content.thoughts, *self._calls.texts()])

    def message(self) -> AIMessage:
        """Return the whole message.

        Raises:
            NotAStreamError: The stream had no chunk.
            ModelFailedError: The message is no answer, or too large.
            StreamRefusedError: The server said that it failed, and nothing came.
        """
        message = self._whole()
        content = self._content
        return judged(
            message,
            has_thoughts=bool(content.thoughts),
            has_pictures=content.has_pictures,
            wrote_calls=content.wrote_calls,
        )

    def finish(self) -> None:
        """Emit what was held back: the stream has ended.

        Raises:
            NotAStreamError: It had no chunk.
        """
        if not self.has_begun:
            raise NotAStreamError
        self._content.finish(was_cut=self._finish == "length")

    def rest(self) -> str:
        """Return the text that is held back of a message that broke off."""
        return self._content.rest()

    def _whole(self) -> AIMessage:
        calls, invalid = self._calls.parse()
        text = self._content.text
        message = AIMessage(
            text,
            tool_calls=calls,
            invalid_tool_calls=invalid,
            response_metadata={"finish_reason": self._finish or "missing"},
        )
        if calls or invalid:
            message.additional_kwargs[WIRE] = {
                "role": "assistant",
                "content": text or None,
                **self._thoughts.wire(),
                "tool_calls": self._calls.wire(),
            }
        return message


def tool_parameters(tools: Sequence[Any]) -> Schemas:
    """Return the parameters of tools, as JSON schemas, by the tools' names."""
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return {
        function["name"]: function.get("parameters") or {}
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }

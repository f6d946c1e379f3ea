"""What an agent of the operator's streams, as the events of a run."""

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

from cmw_agent.agent.tool_loop import cut_result
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import (
    AgentEvent,
    FinishReason,
    SourcesCited,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolStarted,
    UsageReported,
)
from cmw_agent.language import wording
from cmw_agent.llm.run_events import RunEvents

MAX_EVENTS = 100_000  # of one run
MAX_CHARACTERS = 1_000_000  # of one answer's text and thoughts
TOO_MUCH = wording("The agent gave more than an answer may hold; what came is stored.")
NO_ANSWER = wording("The agent gave no answer; please try again.")
# What else a server may say, such as "tool_calls", is a regular end.
CUTS: Mapping[str, FinishReason] = MappingProxyType(
    {"length": "length", "content_filter": "content_filter"}
)
OWN_EVENTS = (TextDelta, ThinkingDelta, ToolStarted, ToolFinished, SourcesCited, UsageReported)


class RunDrawing:
    """Turns what an agent streams into the events of its run, within bounds.

    Args:
        events: Those of the run.
    """

    def __init__(self, events: RunEvents) -> None:
        self._events = events
        self._count = self._characters = 0
        self._paragraph: str | None = None  # id of the message whose text came last
        self._streamed: set[str] = set()  # ids of messages that came in pieces
        self._started: dict[str, float] = {}  # times at which calls began, by their ids
        self._finished: set[str] = set()
        self.has_text = False
        self.finish: FinishReason = "stop"  # of the last message whose model said it

    def add(self, value: object) -> None:
        """Draw what a function or a runnable has yielded: text, a message, or an event.

        Raises:
            ModelFailedError: It is none of these, or more than an answer may hold.
        """
        if isinstance(value, str):
            self.text(value)
        elif isinstance(value, BaseMessage):
            self.message(value)
            self.steps([value])
        elif isinstance(value, TextDelta):
            self.text(value.text)
        elif isinstance(value, ThinkingDelta):
            self.thinking(value.text)
        elif isinstance(value, OWN_EVENTS):
            self._emit(value)
        elif isinstance(value, Mapping):
            self.step(value)
        else:
            raise ModelFailedError(NO_ANSWER, kind=f"yielded_{type(value).__name__}")

    def text(self, text: str, message_id: str = "") -> None:
        """Draw more of the answer; the text of another message begins a paragraph."""
        if not text:
            return
        self._bound(len(text))
        if self._paragraph not in (None, message_id):
            self._events.begin_call()
        self._paragraph = message_id
        self._events.emit_text(text)
        self.has_text = True

    def thinking(self, text: str) -> None:
        """Draw more of the agent's thoughts."""
        if text:
            self._bound(len(text))
            self._events.emit_thinking(text)

    def message(self, message: BaseMessage) -> None:
        """Draw text, thoughts and usage of a model's message, or of a piece of one."""
        if not isinstance(message, AIMessage):
            return
        name = message.id or ""
        if isinstance(message, AIMessageChunk):
            self._streamed.add(name)
        elif name and name in self._streamed:
            return  # the whole of what came in pieces
        self.thinking(_thoughts(message))
        content = message.content
        self.text(content if isinstance(content, str) else str(message.text), name)
        if (reason := message.response_metadata.get("finish_reason")) is not None:
            self.finish = CUTS.get(reason, "stop")
        usage = message.usage_metadata
        if usage is not None and (usage["input_tokens"] or usage["output_tokens"]):
            self._emit(UsageReported(usage["input_tokens"], usage["output_tokens"]))

    def steps(self, messages: Iterable[object]) -> None:
        """Draw the tool calls and results in messages that are complete."""
        for message in messages:
            if isinstance(message, AIMessage):
                for call in message.tool_calls:
                    self._begin(call["id"] or call["name"], call["name"], call["args"])
            elif isinstance(message, ToolMessage):
                self._end(message)

    def step(self, value: object) -> None:
        """Draw an event of the agent's own as a step."""
        if isinstance(value, OWN_EVENTS):
            self.add(value)
            return
        name = value.get("name") if isinstance(value, Mapping) else None
        call_id = f"step-{self._count}"
        title = name if isinstance(name, str) and name else "progress"
        self._emit(ToolStarted(call_id, title[:100], {}))
        self._emit(ToolFinished(call_id, title[:100], _json(value), True, 0.0))

    def _begin(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        if call_id not in self._started:
            self._started[call_id] = time.perf_counter()
            self._emit(ToolStarted(call_id, name, dict(arguments)))

    def _end(self, message: ToolMessage) -> None:
        call_id, name = message.tool_call_id, message.name or "tool"
        if call_id in self._finished:
            return
        self._begin(call_id, name, {})
        self._finished.add(call_id)
        seconds = time.perf_counter() - self._started[call_id]
        text = cut_result(str(message.text))
        self._emit(ToolFinished(call_id, name, text, message.status != "error", seconds))

    def _emit(self, event: AgentEvent) -> None:
        self._bound(0)
        self._events.emit(event)

    def _bound(self, characters: int) -> None:
        self._count += 1
        self._characters += characters
        if self._count > MAX_EVENTS or self._characters > MAX_CHARACTERS:
            raise ModelFailedError(TOO_MUCH, kind="too_much")


def _thoughts(message: AIMessage) -> str:
    thoughts = message.additional_kwargs.get("reasoning_content")
    if isinstance(thoughts, str):
        return thoughts
    if isinstance(message.content, str):
        return ""
    blocks = (block for block in message.content_blocks if block["type"] == "reasoning")
    return "".join(str(block.get("reasoning", "")) for block in blocks)


def _json(value: object) -> str:
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        text = str(value)
    return cut_result(text)

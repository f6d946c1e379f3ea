"""Draws the growing answer of a running turn."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cmw_agent.core.connect_links import unlink_composio
from cmw_agent.core.events import (
    ApprovalRequested,
    ApprovalSettled,
    ModelSwitched,
    PictureStored,
    Source,
    SourcesCited,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from cmw_agent.language import Language
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, marked, message
from cmw_agent.web.page.steps import (
    MAX_THOUGHTS_CHARS,
    link_button,
    progress_line,
    shortened,
    thinking_step,
    tool_step,
)


@dataclass(slots=True)
class _Thoughts:
    """The thoughts of one model call: where they are drawn, and for how long they have come."""

    index: int
    since: float
    shown: str = ""
    seconds: float | None = None  # None while the model thinks

    def drawn(self, language: Language) -> DrawnMessage:
        # Cut now and then, not at each update: what only grows is sent as what was added.
        limit = MAX_THOUGHTS_CHARS * (2 if self.seconds is None else 1)
        self.shown = shortened(self.shown, language, limit)
        return thinking_step(self.shown, language, self.seconds)


class LiveAnswer:
    """Draws the growing answer of a running turn.

    Args:
        before: The drawn messages above the answer, the user's question included.
        language: The language of what stands beside the answer.
        clock: Returns a time in seconds.
        seq: The answer's seq, where it is known before the turn has begun.
    """

    def __init__(
        self,
        before: Sequence[DrawnMessage],
        language: Language,
        clock: Callable[[], float] = time.monotonic,
        seq: int | None = None,
    ) -> None:
        self._before = list(before)
        self._language = language
        self._clock = clock
        self._parts: list[DrawnMessage] = []
        self._text = ""  # of the present model call, as it came
        self._text_index = 0
        self._text_since = 0.0
        self._thoughts: _Thoughts | None = None  # of the present model call
        self._steps: dict[str, tuple[int, ToolStarted]] = {}
        self._sources: list[Source] = []
        self._cited: list[DrawnMessage] = []  # drawn below all parts
        self._switched: tuple[int, str] | None = None
        self._end: list[DrawnMessage] = []
        self._marks = {} if seq is None else {"seq": seq}

    def add(self, event: TurnEvent) -> None:
        """Apply one event of the turn."""
        match event:
            case TextDelta(text):
                self._append_text(text)
            case TurnStarted():
                self._marks = {"seq": event.answer_seq}
            case ThinkingDelta(text):
                self._append_thoughts(text)
            case TextWasThinking(length):
                self._move_to_thoughts(length)
            case SourcesCited(sources):
                self._sources += sources
                self._cited = self._marked(rendering.sources(self._sources))
            case PictureStored(file_id, name):
                self._text = ""
                self._parts.extend(self._marked([rendering.picture(file_id, name)]))
            case ModelSwitched(failed, model):
                self._draw_switch(failed, model)
            case TurnFinished(outcome, sentence, error_id, _, reason):
                self._end_call()
                self._end = self._marked(
                    rendering.note(self._language, outcome, sentence, error_id, reason)
                )
            case _:
                self._add_tool_event(event)

    def drawn(self) -> list[DrawnMessage]:
        """Return the Chatbot's current value."""
        if not self._parts and not self._end:
            return [*self._before, *self._marked([rendering.waiting()]), *self._cited]
        return [*self._before, *self._parts, *self._cited, *self._end]

    def _marked(self, parts: Sequence[DrawnMessage]) -> list[DrawnMessage]:
        return [marked(part, **self._marks) for part in parts]

    def _set(self, index: int, part: DrawnMessage) -> None:
        [self._parts[index]] = self._marked([part])

    def _add_tool_event(self, event: TurnEvent) -> None:
        match event:
            case ToolStarted(call_id, name, arguments):
                self._end_call()
                self._steps[call_id] = (len(self._parts), event)
                self._parts.extend(self._marked([tool_step(name, arguments, self._language)]))
            case ToolProgressed():
                self._draw_progress(event)
            case ApprovalRequested(call_id, name):
                self._redraw_step(call_id, name, awaits_approval=True)
            case ApprovalSettled(call_id, _, arguments):
                if (step := self._steps.get(call_id)) is not None:
                    index, started = step
                    self._steps[call_id] = (index, ToolStarted(call_id, started.name, arguments))
                    self._redraw_step(call_id, started.name)
            case ToolFinished(call_id, name, result, ok, seconds, link):
                self._end_call()
                index, call = self._steps.pop(call_id, (len(self._parts), None))
                arguments = call.arguments if call is not None else {}
                drawn = tool_step(name, arguments, self._language, result, ok=ok, seconds=seconds)
                self._parts[index : index + 1] = self._marked([drawn])
                if link and (button := link_button(link, self._language)) is not None:
                    self._parts.extend(self._marked([button]))

    def _redraw_step(self, call_id: str, name: str, *, awaits_approval: bool = False) -> None:
        self._end_call()
        if (step := self._steps.get(call_id)) is not None:
            index, started = step
            step_now = tool_step(
                name, started.arguments, self._language, awaits_approval=awaits_approval
            )
            self._set(index, step_now)

    def _draw_progress(self, event: ToolProgressed) -> None:
        if (step := self._steps.get(event.call_id)) is not None:
            index, started = step
            line = progress_line(event, self._language)
            drawn = tool_step(started.name, started.arguments, self._language, progress=line)
            self._set(index, drawn)

    def _append_text(self, text: str) -> None:
        if self._thoughts is not None:
            self._close_thoughts()
        if not self._text:
            self._text_index, self._text_since = len(self._parts), self._clock()
            self._parts.append(message("assistant", ""))
        self._text += text
        self._draw_text()

    def _draw_text(self) -> None:
        text = unlink_composio(self._text.lstrip("\n"))
        self._parts[self._text_index] = message("assistant", text, self._marks)

    def _append_thoughts(self, text: str) -> None:
        # One step for each model call: some servers send thoughts and text in turn.
        if self._thoughts is None:
            self._thoughts = _Thoughts(len(self._parts), self._clock())
            self._parts.append(message("assistant", ""))
        self._thoughts.shown += text
        self._set(self._thoughts.index, self._thoughts.drawn(self._language))

    def _close_thoughts(self) -> None:
        thoughts = self._thoughts
        if thoughts is not None and thoughts.seconds is None:
            thoughts.seconds = self._clock() - thoughts.since
            self._set(thoughts.index, thoughts.drawn(self._language))

    def _move_to_thoughts(self, length: int) -> None:
        """Move the last `length` characters of the text into the step of the thoughts."""
        text = self._text
        start = max(len(text) - length, 0)
        if start == len(text):
            return
        if self._thoughts is None:
            self._thoughts = _Thoughts(len(self._parts), self._text_since)
            self._parts.append(message("assistant", ""))
        self._thoughts.shown += text[start:]
        self._text = text[:start] if text[:start].strip() else ""
        if self._text:
            self._draw_text()
        else:
            del self._parts[self._text_index]
            self._thoughts.index -= self._thoughts.index > self._text_index
        self._thoughts.seconds = self._clock() - self._thoughts.since
        self._set(self._thoughts.index, self._thoughts.drawn(self._language))

    def _end_call(self) -> None:
        """End what has come of the present model call."""
        self._close_thoughts()
        self._text, self._thoughts = "", None

    def _draw_switch(self, failed: str, model: str) -> None:
        self._end_call()
        if self._switched is None:
            self._switched = (len(self._parts), failed)
            self._parts.append(message("assistant", ""))
        index, first = self._switched
        self._set(index, rendering.model_switch(first, model, self._language))

"""AnswerAccumulator: folds a turn's events into the answer to store."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cmw_agent.chat.answer_events import tool_events
from cmw_agent.core.events import (
    AgentEvent,
    AnswerNoted,
    ApprovalRequested,
    ApprovalSettled,
    ClientToolsCalled,
    ModelSwitched,
    PictureReceived,
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
    UsageReported,
)
from cmw_agent.language import joined
from memory.records import AnswerDetails, PictureRecord, SourceRecord, ToolRecord

MAX_SOURCES = 100  # of one answer
MAX_PICTURES = 10  # of one answer


@dataclass(slots=True)
class AnswerAccumulator:
    """The part of an answer that has come so far.

    Args:
        texts: Pieces of its text.
        tools: Tool calls that have ended.
        input_tokens: Of all its model calls; None where nobody has counted.
        output_tokens: The same.
        has_estimates: Whether some of these tokens are estimated.
        running: Tool calls that run, by call id.
        progress: What they have reported last, by call id; nobody stores it.
        approvals: Tool calls that wait for their owner's decision, by approval id.
        thoughts: Pieces of what the model thought.
        sources: What the answer cites.
        pictures: Pictures that the model made and nobody has stored yet.
        stored_pictures: Those that are stored.
        cached_tokens: Those of `input_tokens` that the server had cached.
        reasoning_tokens: Those of `output_tokens` that were thoughts.
        switched: Which model failed first, and which one answers; None where none failed.
        note: Sentences for the user, beside the one that says how the answer ended.
        clock: Returns a time in seconds; for how long the model thinks.
    """

    texts: list[str] = field(default_factory=list)
    tools: list[ToolRecord] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    has_estimates: bool = False
    running: dict[str, ToolStarted] = field(default_factory=dict)
    progress: dict[str, ToolProgressed] = field(default_factory=dict)
    approvals: dict[str, ApprovalRequested] = field(default_factory=dict)
    thoughts: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    pictures: list[PictureReceived] = field(default_factory=list)
    stored_pictures: list[PictureStored] = field(default_factory=list)
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    switched: ModelSwitched | None = None
    note: str | None = None
    clock: Callable[[], float] = time.monotonic
    _thought_seconds: float = 0.0
    _thinks_since: float | None = None
    _writes_since: float | None = None  # the text of the present model call

    @property
    def text(self) -> str:
        """The answer's text so far."""
        if len(self.texts) > 1:
            self.texts = ["".join(self.texts)]
        return self.texts[0] if self.texts else ""

    @property
    def thinking(self) -> str:
        """What the model has thought so far."""
        if len(self.thoughts) > 1:
            self.thoughts = ["".join(self.thoughts)]
        return self.thoughts[0] if self.thoughts else ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come that a user sees."""
        return not (self.text or self.tools or self.pictures or self.stored_pictures)

    @property
    def details(self) -> AnswerDetails:
        """What is stored with the answer beside its text, its thoughts and its tool calls."""
        seconds = self._thought_seconds
        if self._thinks_since is not None:
            seconds += self.clock() - self._thinks_since
        return AnswerDetails(
            thinking_ms=round(seconds * 1000),
            sources=tuple(SourceRecord(source.url, source.title) for source in self.sources),
            pictures=tuple(PictureRecord(p.file_id, p.name) for p in self.stored_pictures),
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            switched_from=self.switched.failed if self.switched is not None else None,
            note=self.note,
        )

    @property
    def tokens(self) -> int | None:
        """All tokens that the answer took; None where nobody has counted."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens

    def events(self) -> list[TurnEvent]:
        """Return the events that a page needs which joins now."""
        events: list[TurnEvent] = [] if self.switched is None else [self.switched]
        if self.thinking:
            events.append(ThinkingDelta(self.thinking))
        events += tool_events(self.tools)
        if self.text:
            events.append(TextDelta(self.text))
        if self.sources:
            events.append(SourcesCited(tuple(self.sources)))
        events += self.stored_pictures
        running, waiting = self.running.values(), self.approvals.values()
        return [*events, *running, *self.progress.values(), *waiting]

    def add(self, event: AgentEvent | PictureStored) -> None:
        """Fold one event of the agent in, or a picture that was stored."""
        match event:
            case TextDelta(text):
                if self._thinks_since is not None:
                    self._end_thought()
                if self._writes_since is None:
                    self._writes_since = self.clock()
                self.texts.append(text)
            case ThinkingDelta(text):
                if self._thinks_since is None:
                    self._thinks_since = self.clock()
                self.thoughts.append(text)
            case TextWasThinking(length):
                self._move_to_thoughts(length)
            case UsageReported():
                self._count(event)
            case AnswerNoted(sentence):
                self.add_note(sentence)
            case (
                SourcesCited()
                | PictureReceived()
                | PictureStored()
                | ModelSwitched()
                | ClientToolsCalled()
                | ToolProgressed()
            ):
                self._add_further(event)
            case _:
                self._end_thought()
                self._add_call(event)

    def add_note(self, sentence: str) -> None:
        """Add a sentence to the note, once."""
        if sentence not in (self.note or ""):
            self.note = joined(self.note, sentence)

    def _add_call(
        self, event: ToolStarted | ToolFinished | ApprovalRequested | ApprovalSettled
    ) -> None:
        match event:
            case ToolStarted(call_id):
                self.running[call_id] = event
            case ApprovalRequested(approval_id=approval_id):
                self.approvals[approval_id] = event
            case ApprovalSettled(call_id, _, arguments, approval_id):
                self.approvals.pop(approval_id, None)
                if (call := self.running.get(call_id)) is not None:
                    self.running[call_id] = ToolStarted(call_id, call.name, arguments)
            case ToolFinished(call_id, name, result, ok, seconds, link, account):
                begun = self.running.pop(call_id, None)
                self.progress.pop(call_id, None)
                arguments = dict(begun.arguments) if begun is not None else {}
                duration_ms = round(seconds * 1000)
                own = (account.account_id, account.label) if account is not None else ()
                self.tools.append(
                    ToolRecord(call_id, name, arguments, result, ok, duration_ms, link, *own)
                )

    def _add_further(
        self,
        event: SourcesCited
        | PictureReceived
        | PictureStored
        | ModelSwitched
        | ClientToolsCalled
        | ToolProgressed,
    ) -> None:
        match event:
            case SourcesCited(sources):
                self.sources += sources[: MAX_SOURCES - len(self.sources)]
            case PictureReceived():
                if len(self.pictures) < MAX_PICTURES:
                    self.pictures.append(event)
            case PictureStored():
                self.stored_pictures.append(event)
            case ModelSwitched(failed, model):
                first = failed if self.switched is None else self.switched.failed
                self.switched = ModelSwitched(first, model)
            case ToolProgressed(call_id) if call_id in self.running:
                self.progress[call_id] = event
            case _:
                pass  # calls of the caller's tools are the caller's

    def _end_thought(self) -> None:
        if self._thinks_since is not None:
            self._thought_seconds += self.clock() - self._thinks_since
            self._thinks_since = None

    def _move_to_thoughts(self, length: int) -> None:
        """Move the last `length` characters of the text to the thoughts."""
        text = self.text
        start = max(len(text) - length, 0)
        self.texts, moved = [text[:start]], text[start:]
        if moved:
            self.thoughts.append(moved)
        if self._writes_since is not None:
            self._thought_seconds += self.clock() - self._writes_since
            self._writes_since = None

    def _count(self, usage: UsageReported) -> None:
        # A model call ends with its usage.
        self._end_thought()
        self._writes_since = None
        self.has_estimates = self.has_estimates or usage.is_estimate
        self.input_tokens = (self.input_tokens or 0) + usage.input_tokens
        self.output_tokens = (self.output_tokens or 0) + usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.reasoning_tokens += usage.reasoning_tokens

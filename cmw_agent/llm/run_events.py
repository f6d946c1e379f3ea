"""Emits the events of one run of the agent."""

from cmw_agent.core.events import EventSink, TextDelta, TextWasThinking, ThinkingDelta
from cmw_agent.llm.retries import RetryBudget
from cmw_agent.recording.tape import RunTape


class RunEvents:
    """Emits the events of one run; each model call's text and thoughts begin new paragraphs.

    Args:
        emit: Receives each event immediately; must not block.
        owner: Id of the principal that the run works for; None where nothing is learned from how
            the model answers.
        tape: Takes the requests to models' servers; None where nothing is recorded.

    Attributes:
        budget: Bounds the failed requests of the run.
        held: Text that was held back when the current model call broke off, and is not emitted.
    """

    __slots__ = (
        "_had_text",
        "_has_text",
        "_has_thoughts",
        "_length",
        "_separator",
        "_space",
        "budget",
        "emit",
        "held",
        "owner",
        "tape",
    )

    def __init__(
        self, emit: EventSink, owner: str | None = None, tape: RunTape | None = None
    ) -> None:
        self.emit = emit
        self.owner = owner
        self.tape = tape
        self.budget = RetryBudget()
        self.held = ""
        self._has_text = self._had_text = False  # now, and before the current call
        self._has_thoughts = False
        self._length = 0  # characters of the current call's text
        self._separator = self._space = ""  # of text, and of thoughts

    @property
    def has_text(self) -> bool:
        """Whether text of the current model call has been emitted."""
        return self._length > 0

    def begin_call(self) -> None:
        """Start paragraphs for the text and the thoughts of the next model call."""
        self._separator = "\n\n" if self._has_text else ""
        self._space = "\n\n" if self._has_thoughts else ""
        self._had_text, self._length = self._has_text, 0
        self.held = ""

    def emit_held(self) -> None:
        """Emit the text that was held back, since no other model answers."""
        text, self.held = self.held, ""
        self.emit_text(text)

    def emit_text(self, text: str) -> None:
        """Emit more of the model's text."""
        if text:
            if self._separator:
                text, self._separator = self._separator + text, ""
            self._has_text = True
            self.emit(TextDelta(text))
            self._length += len(text)

    def emit_thinking(self, text: str) -> None:
        """Emit more of the model's thoughts."""
        if text:
            self.emit(ThinkingDelta(self._space + text))
            self._space = ""
            self._has_thoughts = True

    def retract_text(self, length: int) -> None:
        """Say that the last `length` characters of the current call's text were thoughts."""
        separator = 2 if self._had_text else 0
        if length + separator >= self._length:
            length = self._length  # the whole paragraph
            self._separator = "\n\n" if self._had_text else ""
            self._has_text = self._had_text
        self._length -= length
        if length:
            self.emit(TextWasThinking(length))
            self._has_thoughts = True
            self._space = ""

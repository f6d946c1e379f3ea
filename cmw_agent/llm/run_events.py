"""Emits the events of one run of the agent."""

from cmw_agent.core.events import EventSink, TextDelta


class RunEvents:
    """Emits the events of one run; each model call's text begins a new paragraph.

    Args:
        emit: Receives each event immediately; must not block.

    Attributes:
        has_text: Whether text of the present model call has been emitted.
    """

    __slots__ = ("_has_text", "_separator", "emit", "has_text")

    def __init__(self, emit: EventSink) -> None:
        self.emit = emit
        self._has_text = self.has_text = False
        self._separator = ""

    def begin_call(self) -> None:
        """Start a paragraph for the text of the next model call."""
        self._separator = "\n\n" if self._has_text else ""
        self.has_text = False

    def emit_text(self, text: str) -> None:
        """Emit more of the model's text."""
        if text:
            self.emit(TextDelta(self._separator + text))
            self._separator = ""
            self._has_text = self.has_text = True

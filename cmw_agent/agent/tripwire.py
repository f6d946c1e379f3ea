"""Looks at the events of a run for the canaries of other owners."""

from cmw_agent.core.events import AgentEvent, EventSink, PictureReceived, TextDelta, ThinkingDelta
from cmw_agent.identity.canaries import begun, is_suspect
from cmw_agent.identity.tripwire import IsolationBreachError, Tripwire


class WatchedEvents:
    """Passes the events of one run on; text that may be the beginning of a canary waits.

    Args:
        tripwire: Judges texts.
        owner: Whose run it is.
        emit: Receives the events.
    """

    __slots__ = ("_emit", "_has_tripped", "_kind", "_owner", "_tripwire", "_waiting")

    def __init__(self, tripwire: Tripwire, owner: str, emit: EventSink) -> None:
        self._tripwire = tripwire
        self._owner = owner
        self._emit = emit
        self._kind: type[TextDelta | ThinkingDelta] = TextDelta  # of the text that waits
        self._waiting = ""
        self._has_tripped = False

    def __call__(self, event: AgentEvent) -> None:
        """Pass an event on.

        Raises:
            IsolationBreachError: It holds another owner's canary.
        """
        if self._has_tripped:
            return  # what a run still emits while it ends
        if isinstance(event, TextDelta | ThinkingDelta):
            self._add(event)
            return
        self.flush()
        if isinstance(event, PictureReceived):
            self._check(event.data)
        else:
            self._clean(repr(event))
        self._emit(event)

    def flush(self) -> None:
        """Pass on the text that waits: it has not become a canary."""
        text, self._waiting = self._waiting, ""
        if text and not self._has_tripped:
            self._emit(self._kind(text))

    def _add(self, event: TextDelta | ThinkingDelta) -> None:
        if not self._waiting and not is_suspect(event.text):  # most pieces of an answer
            self._emit(event)
            return
        if type(event) is not self._kind:
            self.flush()
            self._kind = type(event)
        text = self._clean(self._waiting + event.text)
        length = len(text) - begun(text)
        self._waiting = text[length:]
        if length:
            self._emit(self._kind(text[:length]))

    def _clean(self, text: str) -> str:
        try:
            return self._tripwire.clean(self._owner, text)
        except IsolationBreachError:
            self._has_tripped = True
            raise

    def _check(self, content: bytes) -> None:
        try:
            self._tripwire.check(self._owner, content)
        except IsolationBreachError:
            self._has_tripped = True
            raise

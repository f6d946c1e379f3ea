"""Progress of one tool call, as events of its run: short messages, and two events a second."""

import asyncio
import contextlib

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import EventSink, ToolProgressed
from cmw_agent.core.sanitize import one_line

INTERVAL = 0.5  # seconds between two events of one call
MAX_MESSAGE = 200  # characters
MAX_NUMBER = 1e15


class ToolProgress:
    """Takes what a tool reports of a call, and emits the newest report now and then.

    Args:
        call_id: The call's id in events.
        name: The tool's name.
        emit: Receives the events.
        interval: Seconds between two events.
    """

    def __init__(
        self, call_id: str, name: str, emit: EventSink, interval: float = INTERVAL
    ) -> None:
        self._call_id = call_id
        self._name = name
        self._emit = emit
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._newest: ToolProgressed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_expected = False  # `_next` will run
        self._is_closed = False
        self._error: UserError | None = None

    def report(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Take a report, also from another thread; one that is no number is dropped.

        Args:
            done: How much is done.
            total: How much there is in all.
            message: What the tool does.
        """
        if not abs(done) <= MAX_NUMBER:
            return
        known = total if total is not None and 0 < total <= MAX_NUMBER else None
        text = one_line(message or "", MAX_MESSAGE)
        self._newest = ToolProgressed(self._call_id, self._name, done, known, text)
        if not self._is_expected:
            self._is_expected = True
            with contextlib.suppress(RuntimeError):  # a thread that has outlived the loop
                self._loop.call_soon_threadsafe(self._next)

    def close(self) -> None:
        """End the reports: the call has ended.

        Raises:
            UserError: An event could not be emitted, and the run must end.
        """
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._error is not None:
            raise self._error

    def _next(self) -> None:
        self._is_expected = False
        newest, self._newest = self._newest, None
        if newest is None or self._is_closed:
            return
        try:
            self._emit(newest)
        except UserError as error:  # the loop must not swallow it
            self._error, self._is_closed = error, True
            return
        self._is_expected = True
        self._timer = self._loop.call_later(self._interval, self._next)

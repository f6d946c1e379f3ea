"""Watchdog of the event loop: measures how late it runs, and logs what held it.

A timer on the loop notes each beat. A thread of its own looks for a beat that is overdue and
samples the stack of the loop's thread while the loop is held: files, functions and lines, never a
text or a local variable. Work in C that does not release the interpreter (a regular expression,
a sort) also keeps the thread waiting; it then samples as the first thing behind that work, on the
line that began it.
"""

import asyncio
import contextlib
import selectors
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Protocol

from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

BEAT_SECONDS = 0.05
HOLD_SECONDS = 0.25  # from which a late beat counts as a hold
LOG_SECONDS = 10.0  # between two lines of the log
MAX_FRAMES = 12
STOP_SECONDS = 5.0


class LagMetrics(Protocol):
    """Counts the lag of a loop; see `cmw_agent.observability.metrics.Metrics`."""

    def loop_lagged(self, seconds: float) -> None:
        """A beat was so many seconds late."""

    def loop_held(self) -> None:
        """The loop was held for longer than `HOLD_SECONDS`."""


class Watchdog:
    """Watches the running event loop during a block.

    Args:
        metrics: Called from the loop.
        beat_seconds: Between two beats.
        hold_seconds: From which a late beat counts as a hold.
        log_seconds: At least between two lines of the log; holds between them are counted.
    """

    def __init__(
        self,
        metrics: LagMetrics,
        *,
        beat_seconds: float = BEAT_SECONDS,
        hold_seconds: float = HOLD_SECONDS,
        log_seconds: float = LOG_SECONDS,
    ) -> None:
        self._metrics = metrics
        self._beat_seconds = beat_seconds
        self._hold_seconds = hold_seconds
        self._log_seconds = log_seconds
        self._stopped = threading.Event()
        self._due = 0.0  # when the next beat is to come; written by the loop alone
        self._timer: asyncio.TimerHandle | None = None
        self._caller: CodeType | None = None  # of the beats: the loop's own

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the loop during the block."""
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="loop-watchdog", daemon=True
        )
        self._due = time.monotonic() + self._beat_seconds
        self._timer = loop.call_later(self._beat_seconds, self._beat, loop)
        thread.start()
        try:
            yield
        finally:
            self._timer.cancel()
            self._stopped.set()
            thread.join(STOP_SECONDS)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._caller is None:
            self._caller = sys._getframe(1).f_code  # noqa: SLF001 (there is no other way)
        now = time.monotonic()
        late = max(0.0, now - self._due)
        self._metrics.loop_lagged(late)
        if late > self._hold_seconds:
            self._metrics.loop_held()
        self._due = now + self._beat_seconds
        self._timer = loop.call_later(self._beat_seconds, self._beat, loop)

    def is_idle(self, frame: FrameType) -> bool:
        """Whether the loop waits for something to do: asyncio in `selectors`, uvloop in C."""
        return frame.f_code is self._caller or frame.f_code.co_filename == selectors.__file__

    def _watch(self, thread_id: int) -> None:
        """Look after each beat's time whether it came; runs in the watchdog's thread."""
        sampled, logged, unlogged = 0.0, -self._log_seconds, 0
        while not self._stopped.wait(self._beat_seconds):
            due, now = self._due, time.monotonic()
            if now - due <= self._hold_seconds or due == sampled:
                continue
            frame = sys._current_frames().get(thread_id)  # noqa: SLF001 (there is no other way)
            if frame is None or self.is_idle(frame):
                continue  # the whole process stood still, or the beat is about to come
            sampled = due  # once for each hold
            if now - logged < self._log_seconds:
                unlogged += 1
                continue
            log.warning(
                "the event loop is held", seconds=now - due, unlogged=unlogged, stack=trail(frame)
            )
            logged, unlogged = now, 0


def trail(frame: FrameType) -> str:
    """Return the innermost frames, outermost first, as ``file:line:function``."""
    lines: list[str] = []
    current: FrameType | None = frame
    while current is not None and len(lines) < MAX_FRAMES:
        code = current.f_code
        lines.append(f"{Path(code.co_filename).name}:{current.f_lineno}:{code.co_name}")
        current = current.f_back
    return " > ".join(reversed(lines))

"""Periodic tasks of a running process."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from types import TracebackType
from typing import Self

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from cmw_agent.core.logs import get_logger

log = get_logger(__name__)


class PeriodicTask:
    """Runs `work` every `seconds` during its block, for the first time after one interval.

    Runs do not overlap: a run that falls due during another one is skipped. A run that fails is
    logged, and the next one follows as usual. Leaving the block cancels a running run and waits
    for its end.

    Args:
        work: Called for each run.
        seconds: Interval between the starts of two runs.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], *, seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._running: asyncio.Future[None] | None = None
        self._over = asyncio.Event()
        self._over.set()
        self._leaving = False

    async def __aenter__(self) -> Self:
        self._scheduler.add_job(
            self._run,
            "interval",
            seconds=self._seconds,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        self._scheduler.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leaving = True
        self._scheduler.remove_all_jobs()
        # A run whose task has been created and not started starts now, and sees `_leaving`.
        await asyncio.sleep(0)
        if self._running is not None:
            self._running.cancel()
        await self._over.wait()
        self._scheduler.shutdown()
        # The scheduler stops in the event loop's next iteration.
        await asyncio.sleep(0)

    async def _run(self) -> None:
        if self._leaving:
            return
        self._over.clear()
        # In its own task, whose cancellation at the end the scheduler does not log as a failure.
        self._running = asyncio.ensure_future(self._work())
        await asyncio.wait([self._running])
        if not self._running.cancelled() and (error := self._running.exception()):
            log.error("the clean-up failed; it is tried again", exc_info=error)
        self._running = None
        self._over.set()

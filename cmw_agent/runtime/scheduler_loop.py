"""Looks for due recurring tasks every few seconds while the app runs."""

import contextlib
from collections.abc import AsyncIterator

from cmw_agent.config.settings import Settings
from cmw_agent.runtime.periodic import PeriodicTask
from cmw_agent.runtime.scheduler import Scheduler
from cmw_agent.schedules.recurrence import following
from memory.engine.database import Database
from memory.queues.schedules import Schedules

TICK_SECONDS = 5.0
SLACK_SECONDS = 120.0  # for a run to begin and to be stored


def open_schedules(database: Database, settings: Settings) -> Schedules:
    """Return everybody's recurring tasks."""
    lease = settings.turn_timeout + SLACK_SECONDS
    return Schedules(database, following=following, lease_seconds=lease)


@contextlib.asynccontextmanager
async def scheduling(scheduler: Scheduler | None) -> AsyncIterator[None]:
    """Let the scheduler run what is due for the block; its runs end with that."""
    if scheduler is None:
        yield
        return
    try:
        await scheduler.tick()  # what fell due while the app was down
        async with PeriodicTask(scheduler.tick, seconds=TICK_SECONDS):
            yield
    finally:
        await scheduler.close()

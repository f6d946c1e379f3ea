"""Polls for due recurring tasks every few seconds while the app runs."""

import contextlib
from collections.abc import AsyncIterator

from cmw_agent.config.settings import Settings
from cmw_agent.runtime.periodic import PeriodicTask
from cmw_agent.runtime.scheduler import Scheduler
from cmw_agent.schedules.recurrence import next_run
from memory.engine.database import Database
from memory.queues.schedules import Schedules

TICK_SECONDS = 5.0
SLACK_SECONDS = 120.0  # of a lease beyond the turn's time-out, to begin and to store the run


def open_schedules(database: Database, settings: Settings) -> Schedules:
    """Return the store of all recurring tasks."""
    lease = settings.turn_timeout + SLACK_SECONDS
    return Schedules(database, following=next_run, lease_seconds=lease)


@contextlib.asynccontextmanager
async def running_scheduler(scheduler: Scheduler | None) -> AsyncIterator[None]:
    """Run due tasks during the block; running ones are stopped at its end."""
    if scheduler is None:
        yield
        return
    try:
        await scheduler.tick()  # tasks that fell due while the app was down
        async with PeriodicTask(scheduler.tick, seconds=TICK_SECONDS):
            yield
    finally:
        await scheduler.close()

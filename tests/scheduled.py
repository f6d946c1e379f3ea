"""A scheduler beside a running app, with a time that moves when the test says so."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cmw_agent.observability.observers import Silent
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.runtime.scheduler import Scheduler
from cmw_agent.schedules.recurrence import following
from memory.queues.schedules import Schedules
from memory.records import utcnow

LEASE = 60.0
# The same for all tests of a process: a clock begun after the hour has ended goes to it as well.
FAR_AWAY = (utcnow() + timedelta(hours=12)).replace(minute=0, second=1)


class Hands:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = utcnow()

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **length: float) -> None:
        self.now += timedelta(**length)

    @property
    def far(self) -> str:
        """A time of day that the app's own scheduler, which has the real clock, does not reach."""
        return f"every day at {FAR_AWAY.hour}"

    def jump(self) -> None:
        """Go on to what is `far`, and a second."""
        self.now = FAR_AWAY


class Heard(Silent):
    """Keeps how runs ended."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def schedule_ran(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def store_of(runtime: Runtime, clock: Callable[[], datetime]) -> Schedules:
    """The tasks in the database of a running app."""
    return Schedules(
        runtime.services.database, following=following, lease_seconds=LEASE, clock=clock
    )


def scheduler_of(
    runtime: Runtime, clock: Callable[[], datetime], heard: Heard, **more: Any
) -> Scheduler:
    """A scheduler that runs tasks in a running app."""
    store = store_of(runtime, clock)
    return Scheduler(store, runtime.chat, runtime.registry, heard, clock=clock, **more)


async def ran(scheduler: Scheduler) -> None:
    """Run what is due, and wait until that is over."""
    await scheduler.tick()
    await scheduler.rest()

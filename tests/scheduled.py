"""A scheduler for a running app, with a clock that the test sets."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cmw_agent.observability.observers import Observer
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.runtime.scheduler import Scheduler
from cmw_agent.schedules.recurrence import next_run
from memory.queues.schedules import Schedules
from memory.records import utcnow

LEASE = 60.0
# One constant for all tests of a process, so that a test that begins in the next hour agrees.
FAR_AWAY = (utcnow() + timedelta(hours=12)).replace(minute=0, second=1)


class FakeClock:
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.now = utcnow()

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **length: float) -> None:
        self.now += timedelta(**length)

    @property
    def far(self) -> str:
        """A schedule text whose time the app's own scheduler, which has the real clock, does not reach."""
        return f"every day at {FAR_AWAY.hour}"

    def jump(self) -> None:
        """Move to a second after the time of `far`."""
        self.now = FAR_AWAY


class RecordingObserver(Observer):
    """An observer that records the outcomes of scheduled runs."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def schedule_ran(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def schedule_store(runtime: Runtime, clock: Callable[[], datetime]) -> Schedules:
    """Return a store of recurring tasks on the database of a running app."""
    return Schedules(
        runtime.services.database, following=next_run, lease_seconds=LEASE, clock=clock
    )


def scheduler_of(
    runtime: Runtime, clock: Callable[[], datetime], observer: RecordingObserver, **options: Any
) -> Scheduler:
    """Return a scheduler for a running app; `options` are further arguments of `Scheduler`."""
    store = schedule_store(runtime, clock)
    return Scheduler(store, runtime.chat, runtime.registry, observer, clock=clock, **options)


async def run_due(scheduler: Scheduler) -> None:
    """Run all tasks that are due, and wait until they have ended."""
    await scheduler.tick()
    await scheduler.rest()

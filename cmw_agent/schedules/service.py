"""What owners do with their recurring tasks, for the command `/schedule` and for the tools alike."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import NotFoundError, ServiceUnavailableError, UserError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budget_sizes import Budget, BudgetFullError
from cmw_agent.limits.limiter import HOUR, RateLimitError
from cmw_agent.schedules.recurrence import Recurrence, known_zone, stored, understood, upcoming
from memory.errors import (
    ConversationNotFoundError,
    InvalidTextError,
    StoreError,
    TooManySchedulesError,
)
from memory.queues.schedules import MAX_FAILURES, Schedule, Schedules, UsedTasks
from memory.records import utcnow

TASK_CHARS = 2000
SHOWN_CHARS = 80
SHOWN_RUNS = 3
KEPT_ONLY = (
    "Your browser keeps no cookie here, so nothing can be scheduled; please open the chat in a "
    "tab of its own."
)
NO_SCHEDULES = "You have no recurring tasks."


@dataclass(frozen=True, slots=True)
class ScheduleTarget:
    """Where a task runs, and where it came from.

    Args:
        conversation: It runs there.
        recipient: Whom its channel sends the answer to, if anybody.
        network: A digest of the network that a visitor asks from; None where it does not count.
        needs_visits: Whether it ends when its owner has not come for long.
    """

    conversation: str
    recipient: str | None = None
    network: str | None = None
    needs_visits: bool = False


class ScheduleService:
    """See the module's text. One object for the process.

    Args:
        store: Where tasks are kept.
        settings: How often, and the time zone of those that name none.
        budget: How many of one owner, of one network's visitors, and of all.
        clock: The time, with its zone.

    Raises:
        UserError: From each method, where what was asked for cannot be.
    """

    def __init__(
        self,
        store: Schedules,
        settings: Settings,
        budget: Budget,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._store = store
        self._settings = settings
        self._budget = budget
        self._clock = clock

    async def add(
        self, owner: str, place: ScheduleTarget, when: str, task: str, zone: str | None = None
    ) -> str:
        """Schedule a task of `owner`; return in words when it runs.

        Args:
            owner: Whose it is.
            place: Where it runs; it must be a conversation of the owner's.
            when: As `cmw_agent.schedules.recurrence` describes.
            task: What the agent is told then.
            zone: The time zone, where `when` names none; the settings' otherwise.
        """
        times, named = understood(when)
        where = named or (known_zone(zone) if zone else self._settings.time_zone)
        self._check(times, task, where)
        try:
            made = await self._store.add(
                owner,
                place.conversation,
                text=task.strip(),
                cron=times.cron,
                time_zone=where,
                recipient=place.recipient,
                bound_of=self._bound_of,
                network=place.network,
                needs_visits=place.needs_visits,
            )
        except TooManySchedulesError as error:
            raise _too_many(error.bound) from None
        except ConversationNotFoundError:
            raise NotFoundError from None
        except InvalidTextError:
            raise _unusable() from None
        except StoreError as error:
            raise ServiceUnavailableError from error
        runs = "\n".join(f"- {_moment(run)}" for run in self._upcoming(made))
        return f"Scheduled {times} ({where}): {_short(made.text)}\n\nThe next times are:\n\n{runs}"

    async def visited(self, principal: Principal) -> None:
        """Note that a principal is here: a visitor's tasks end without that."""
        if principal.kind != "visitor":
            return
        with contextlib.suppress(StoreError):  # the next visit is noted then
            await self._store.visit(principal.id)

    def _bound_of(self, used: UsedTasks) -> str | None:
        return self._budget.bound(owner=used.owner, network=used.network, total=used.total)

    async def overview(self, owner: str) -> str:
        """Return the owner's tasks, numbered, as Markdown."""
        found = await self._all(owner)
        lines = [f"{number}. {_line(task)}" for number, task in enumerate(found, 1)]
        return "\n".join(lines) or NO_SCHEDULES

    async def cancel(self, owner: str, which: str) -> str:
        """Cancel one of the owner's tasks, by its number in the list or by its id."""
        found = await self._all(owner)
        wanted = which.strip().strip(".#`")
        for number, task in enumerate(found, 1):
            if wanted in (str(number), task.schedule_id):
                return await self._cancel(owner, task)
        raise UserError("You have no recurring task of that number.", status=404)

    async def _cancel(self, owner: str, task: Schedule) -> str:
        with mapped_store_errors():
            await self._store.cancel(owner, task.schedule_id)
        return f"Cancelled: {_short(task.text)}"

    async def _all(self, owner: str) -> Sequence[Schedule]:
        with mapped_store_errors():
            return await self._store.of_owner(owner)

    def _check(self, times: Recurrence, task: str, zone: str) -> None:
        least = self._settings.schedule_seconds
        if times.gap.total_seconds() < least:
            raise UserError(
                f"That is too often: at least {_length(least)} must lie between two runs.",
                status=422,
            )
        if not task.strip():
            raise UserError("Say behind a colon what is to be done then.", status=422)
        if len(task) > min(TASK_CHARS, self._settings.max_message_chars // 2):
            raise _unusable()
        if not upcoming(times.cron, zone, self._clock(), 1):
            raise UserError("That day never comes.", status=422)

    def _upcoming(self, task: Schedule) -> list[datetime]:
        return upcoming(task.cron, task.time_zone, self._clock(), SHOWN_RUNS)


def _line(task: Schedule) -> str:
    times = f"{stored(task.cron)} ({task.time_zone})"
    state = f"next {_moment(task.next_run_at.astimezone(ZoneInfo(task.time_zone)))}"
    if task.is_paused:
        state = f"**stopped** after it failed {MAX_FAILURES} times; cancel it and make it anew"
    if task.last_run_at is not None:
        last = _moment(task.last_run_at.astimezone(ZoneInfo(task.time_zone)))
        state += f"; last {last}: {task.last_outcome}"
    return f"{_short(task.text)} – {times}; {state} (id `{task.schedule_id}`)"


def _moment(moment: datetime) -> str:
    return f"{moment:%a, %d %b %Y, %H:%M}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + "…"


def _length(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"


def _too_many(bound: str) -> UserError:
    if bound == "owner":
        return UserError(
            "You have as many recurring tasks as one may; cancel one first (those of a "
            "conversation deleted within the last hour still count).",
            status=429,
        )
    if bound == "network":
        sentence = "The visitors of your network have as many recurring tasks as they may."
        return RateLimitError(sentence, retry_after=HOUR)
    return BudgetFullError(
        "There is no room for further recurring tasks right now.", retry_after=HOUR
    )


def _unusable() -> UserError:
    return UserError("The task's text is too long, or holds what no text holds.", status=422)

"""Service for recurring tasks: add, list and cancel, for the command `/schedule` and the tools."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.core.store_errors import mapped_store_errors, refusal_for
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budget_sizes import Budget, BudgetFullError
from cmw_agent.limits.limiter import HOUR, RateLimitError
from cmw_agent.schedules.phrases import find_time_zone, parse_recurrence
from cmw_agent.schedules.recurrence import Recurrence, next_runs, parse_crontab
from memory.errors import InvalidTextError, StoreError, TooManySchedulesError
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
    """The conversation in which a task runs, and from where the task was scheduled.

    Args:
        conversation: Id of the conversation.
        recipient: To whom the channel sends the answer, if to anybody.
        network: Digest of a visitor's network, for which tasks are limited; None for others.
        needs_visits: Whether the task ends if its owner does not visit for a month.
        time_zone: IANA name of the zone of times that name none; None for the settings'.
    """

    conversation: str
    recipient: str | None = None
    network: str | None = None
    needs_visits: bool = False
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A recurring task as its owner sees it.

    Attributes:
        id: Its id.
        text: Its message to the agent, cut to a line.
        when: Its recurrence and time zone in words.
        next_run: When it runs next, timezone-aware.
        is_stopped: Whether it runs no more, since it has failed too often.
    """

    id: str
    text: str
    when: str
    next_run: datetime
    is_stopped: bool


class ScheduleService:
    """Adds, lists and cancels recurring tasks of their owners. One object serves the process.

    Args:
        store: Stores the tasks.
        settings: Minimum time between two runs, and the default time zone.
        budget: Maximum number of tasks per owner, per network of visitors, and in total.
        clock: Returns the current time, timezone-aware.

    Raises:
        UserError: From each method, if the request is invalid or refused.
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
        self, owner: str, target: ScheduleTarget, when: str, task: str, zone: str | None = None
    ) -> str:
        """Schedule a task of `owner`, and return a confirmation with its next runs as Markdown.

        Args:
            owner: Id of the principal who owns the task.
            target: Where it runs; the conversation must belong to the owner.
            when: As `cmw_agent.schedules.phrases` describes.
            task: The message to the agent at each run.
            zone: Time zone, used if `when` names none; the default is the target's.
        """
        recurrence, named_zone = parse_recurrence(when)
        of_place = target.time_zone or self._settings.time_zone
        time_zone = named_zone or (find_time_zone(zone) if zone else of_place)
        self._check(recurrence, task, time_zone)
        try:
            schedule = await self._store.add(
                owner,
                target.conversation,
                text=task.strip(),
                cron=recurrence.cron,
                time_zone=time_zone,
                recipient=target.recipient,
                bound_of=self._bound_of,
                network=target.network,
                needs_visits=target.needs_visits,
            )
        except TooManySchedulesError as error:
            raise _too_many(error.bound) from None
        except InvalidTextError:
            raise _invalid_text() from None
        except StoreError as error:
            raise refusal_for(error) from error
        runs = "\n".join(f"- {_moment(run)}" for run in self._upcoming(schedule))
        text = _short(schedule.text)
        return f"Scheduled {recurrence} ({time_zone}): {text}\n\nThe next times are:\n\n{runs}"

    async def note_visit(self, principal: Principal) -> None:
        """Record a visit of a principal: a visitor's tasks end without visits."""
        if principal.kind != "visitor":
            return
        with contextlib.suppress(StoreError):  # a later visit will be recorded
            await self._store.visit(principal.id)

    def _bound_of(self, used: UsedTasks) -> str | None:
        return self._budget.bound(owner=used.owner, network=used.network, total=used.total)

    async def overview(self, owner: str) -> str:
        """Return the owner's tasks, numbered, as Markdown."""
        tasks = await self._all(owner)
        lines = [f"{number}. {_line(task)}" for number, task in enumerate(tasks, 1)]
        return "\n".join(lines) or NO_SCHEDULES

    async def tasks(self, owner: str) -> list[TaskSummary]:
        """Return the owner's tasks, oldest first."""
        return [
            TaskSummary(
                task.schedule_id,
                _short(task.text),
                f"{parse_crontab(task.cron)} ({task.time_zone})",
                task.next_run_at,
                task.is_paused,
            )
            for task in await self._all(owner)
        ]

    async def cancel(self, owner: str, reference: str) -> str:
        """Cancel one of the owner's tasks; return a confirmation.

        Args:
            owner: Id of the principal who owns the task.
            reference: The task's number in `overview`, or its id.
        """
        tasks = await self._all(owner)
        reference = reference.strip().strip(".#`")
        for number, task in enumerate(tasks, 1):
            if reference in (str(number), task.schedule_id):
                return await self._cancel(owner, task)
        raise UserError("You have no recurring task of that number.", status=404)

    async def _cancel(self, owner: str, task: Schedule) -> str:
        with mapped_store_errors():
            await self._store.cancel(owner, task.schedule_id)
        return f"Cancelled: {_short(task.text)}"

    async def _all(self, owner: str) -> Sequence[Schedule]:
        with mapped_store_errors():
            return await self._store.of_owner(owner)

    def _check(self, recurrence: Recurrence, task: str, zone: str) -> None:
        min_seconds = self._settings.schedule_seconds
        if recurrence.gap.total_seconds() < min_seconds:
            raise UserError(
                f"That is too often: at least {_duration(min_seconds)} must lie between two runs.",
                status=422,
            )
        if not task.strip():
            raise UserError("Say behind a colon what is to be done then.", status=422)
        if len(task) > min(TASK_CHARS, self._settings.max_message_chars // 2):
            raise _invalid_text()
        if not next_runs(recurrence.cron, zone, self._clock(), 1):
            raise UserError("That day never comes.", status=422)

    def _upcoming(self, task: Schedule) -> list[datetime]:
        return next_runs(task.cron, task.time_zone, self._clock(), SHOWN_RUNS)


def _line(task: Schedule) -> str:
    recurrence = f"{parse_crontab(task.cron)} ({task.time_zone})"
    state = f"next {_moment(task.next_run_at.astimezone(ZoneInfo(task.time_zone)))}"
    if task.is_paused:
        state = f"**stopped** after it failed {MAX_FAILURES} times; cancel it and make it anew"
    if task.last_run_at is not None:
        last = _moment(task.last_run_at.astimezone(ZoneInfo(task.time_zone)))
        state += f"; last {last}: {task.last_outcome}"
    return f"{_short(task.text)} – {recurrence}; {state} (id `{task.schedule_id}`)"


def _moment(moment: datetime) -> str:
    return f"{moment:%a, %d %b %Y, %H:%M}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + "…"


def _duration(seconds: float) -> str:
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


def _invalid_text() -> UserError:
    return UserError("The task's text is too long, or holds what no text holds.", status=422)

"""Service for recurring tasks: add, list and cancel, for the command `/schedule` and the tools."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.core.store_errors import mapped_store_errors, refusal_for
from cmw_agent.core.time_zones import zone_label
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, Wording, languages, wording, wordings
from cmw_agent.limits.budget_sizes import Budget, BudgetFullError
from cmw_agent.limits.limiter import HOUR, MINUTE, RateLimitError
from cmw_agent.schedules.phrases import find_time_zone, parse_recurrence
from cmw_agent.schedules.recurrence import Recurrence, next_runs, parse_crontab
from memory.errors import InvalidTextError, StoreError, TooManySchedulesError
from memory.queues.schedules import MAX_FAILURES, Schedule, Schedules, UsedTasks
from memory.records import utcnow

TASK_CHARS = 2000
SHOWN_CHARS = 80
SHOWN_RUNS = 3
STORED_ONLY = wording(
    "Your browser keeps no cookie here, so nothing can be scheduled; please open the chat in a "
    "tab of its own."
)
OUTCOMES: Mapping[str, Wording] = MappingProxyType(
    {
        "running": wording("running"),
        "complete": wording("complete"),
        "failed": wording("failed"),
        "interrupted": wording("interrupted"),
        "limited": wording("limited"),
        "postponed": wording("postponed"),
    }
)
NO_SCHEDULES = wording("You have no recurring tasks.")


@dataclass(frozen=True, slots=True)
class ScheduleTarget:
    """The conversation in which a task runs, and from where the task was scheduled.

    Args:
        conversation: Id of the conversation.
        recipient: To whom the channel sends the answer, if to anybody.
        network: Digest of a visitor's network, for which tasks are limited; None for others.
        needs_visits: Whether the task ends if its owner does not visit for a month.
        time_zone: IANA name of the zone of times that name none; None for the settings'.
        language: The language that the owner reads.
    """

    conversation: str
    recipient: str | None = None
    network: str | None = None
    needs_visits: bool = False
    time_zone: str | None = None
    language: Language = field(default_factory=lambda: languages().english)


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
        target_zone = target.time_zone or self._settings.time_zone
        time_zone = named_zone or (find_time_zone(zone) if zone else target_zone)
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
        language, info = target.language, ZoneInfo(time_zone)
        upcoming = self._upcoming(schedule)
        scheduled = language.gettext(
            "Scheduled {times} ({zone}): {task}",
            times=recurrence.describe(language),
            zone=zone_label(time_zone),
            task=_short(schedule.text),
        )
        runs = "\n".join(f"- {language.moment(run, info)}" for run in upcoming)
        intro = language.gettext("The next times are:")
        return f"{scheduled}\n\n{intro}\n\n{runs}"

    async def note_visit(self, principal: Principal) -> None:
        """Record a visit of a principal: a visitor's tasks end without visits."""
        if principal.kind != "visitor":
            return
        with contextlib.suppress(StoreError):  # a later visit will be recorded
            await self._store.visit(principal.id)

    def _bound_of(self, used: UsedTasks) -> str | None:
        return self._budget.bound(owner=used.owner, network=used.network, total=used.total)

    async def overview(self, owner: str, language: Language) -> str:
        """Return the owner's tasks, numbered, as Markdown."""
        tasks = await self._all(owner)
        lines = [f"{number}. {_line(task, language)}" for number, task in enumerate(tasks, 1)]
        return "\n".join(lines) or language.translate(NO_SCHEDULES)

    async def tasks(self, owner: str, language: Language) -> list[TaskSummary]:
        """Return the owner's tasks, oldest first."""
        return [
            TaskSummary(
                task.schedule_id,
                _short(task.text),
                _when(task, language),
                task.next_run_at,
                task.is_paused,
            )
            for task in await self._all(owner)
        ]

    async def cancel(self, owner: str, reference: str, language: Language) -> str:
        """Cancel one of the owner's tasks; return a confirmation.

        Args:
            owner: Id of the principal who owns the task.
            reference: The task's number in `overview`, or its id.
            language: The language of the confirmation.
        """
        tasks = await self._all(owner)
        reference = reference.strip().strip(".#`")
        for number, task in enumerate(tasks, 1):
            if reference in (str(number), task.schedule_id):
                with mapped_store_errors():
                    await self._store.cancel(owner, task.schedule_id)
                return language.gettext("Cancelled: {task}", task=_short(task.text))
        raise UserError(wording("You have no recurring task of that number."), status=404)

    async def _all(self, owner: str) -> Sequence[Schedule]:
        with mapped_store_errors():
            return await self._store.of_owner(owner)

    def _check(self, recurrence: Recurrence, task: str, zone: str) -> None:
        min_seconds = self._settings.schedule_seconds
        if recurrence.gap.total_seconds() < min_seconds:
            raise UserError(
                wording(
                    "That is too often: at least {duration} must lie between two runs.",
                    duration=_duration(min_seconds),
                ),
                status=422,
            )
        if not task.strip():
            raise UserError(wording("Say behind a colon what is to be done then."), status=422)
        if len(task) > min(TASK_CHARS, self._settings.max_message_chars // 2):
            raise _invalid_text()
        if not next_runs(recurrence.cron, zone, self._clock(), 1):
            raise UserError(wording("That day never comes."), status=422)

    def _upcoming(self, task: Schedule) -> list[datetime]:
        return next_runs(task.cron, task.time_zone, self._clock(), SHOWN_RUNS)


def _line(task: Schedule, language: Language) -> str:
    zone = ZoneInfo(task.time_zone)
    state = language.gettext("next {moment}", moment=language.moment(task.next_run_at, zone))
    if task.is_paused:
        state = language.ngettext(
            "**stopped** after it failed {count} time; cancel it and make it anew",
            "**stopped** after it failed {count} times; cancel it and make it anew",
            MAX_FAILURES,
        )
    if task.last_run_at is not None:
        last = language.gettext(
            "last {moment}: {outcome}",
            moment=language.moment(task.last_run_at, zone),
            outcome=language.translate(OUTCOMES.get(task.last_outcome or "", "")),
        )
        state = f"{state}; {last}"
    return f"{_short(task.text)} – {_when(task, language)}; {state} (id `{task.schedule_id}`)"


def _when(task: Schedule, language: Language) -> str:
    return f"{parse_crontab(task.cron).describe(language)} ({zone_label(task.time_zone)})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + "…"


def _duration(seconds: float) -> Wording:
    if seconds >= 2 * MINUTE:
        return wordings("{count} minute", "{count} minutes", int(seconds) // MINUTE)
    return wordings("{count} second", "{count} seconds", int(seconds))


def _too_many(bound: str) -> UserError:
    if bound == "owner":
        return UserError(
            wording(
                "You have as many recurring tasks as one may; cancel one first (those of a "
                "conversation deleted within the last hour still count)."
            ),
            status=429,
        )
    if bound == "network":
        sentence = "The visitors of your network have as many recurring tasks as they may."
        return RateLimitError(sentence, retry_after=HOUR)
    return BudgetFullError(
        wording("There is no room for further recurring tasks right now."), retry_after=HOUR
    )


def _invalid_text() -> UserError:
    return UserError(
        wording("The task's text is too long, or holds what no text holds."), status=422
    )

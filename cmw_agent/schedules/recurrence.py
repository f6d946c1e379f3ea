"""Recurrences of tasks as crontab text, and the times of their runs.

APScheduler's `CronTrigger` computes the times. It numbers the days of the week differently from
crontab (https://man7.org/linux/man-pages/man5/crontab.5.html), so the stored text names them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from cmw_agent.core.errors import UserError

HORIZON = timedelta(days=9 * 366)  # a 29th of February recurs within eight years
DAY_MINUTES = 1440
HOURS = 24

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FULL_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EXAMPLES = "`every day at 9`, `every monday at 8:30`, `weekdays at 7` or `every 2 hours`"

_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,2}))?", re.ASCII)


class UnknownTimeError(UserError):
    """The text does not describe a recurrence, or describes one that is not allowed."""

    status = 422
    sentence = f"I do not understand when that is; write it like {EXAMPLES}."


@dataclass(frozen=True, slots=True)
class CronField:
    """One of crontab's five fields.

    Args:
        min: Smallest number.
        max: Largest number.
        names: Names of the numbers from `min` on.
    """

    min: int
    max: int
    names: tuple[str, ...] = ()


MINUTE, HOUR = CronField(0, 59), CronField(0, 23)
DAY, MONTH = CronField(1, 31), CronField(1, 12, MONTHS)
WEEKDAY = CronField(0, 6, DAYS)  # from Monday, as for APScheduler
ALL_HOURS = tuple(range(HOURS))
ALL_DAYS = tuple(range(1, 32))
ALL_MONTHS = tuple(range(1, 13))
ALL_WEEKDAYS = tuple(range(7))


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When a task runs: the numbers of each crontab field, sorted. Weekday 0 is Monday."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def cron(self) -> str:
        """The crontab text in its canonical form: equal for equal times."""
        fields = (
            _field_text(self.minutes, MINUTE),
            _field_text(self.hours, HOUR),
            _field_text(self.days, DAY),
            _field_text(self.months, MONTH),
            _field_text(self.weekdays, WEEKDAY),
        )
        return " ".join(fields)

    @property
    def gap(self) -> timedelta:
        """A lower bound of the time between two runs, in local time."""
        times = sorted(hour * 60 + minute for hour in self.hours for minute in self.minutes)
        within_day = [later - earlier for earlier, later in pairwise(times)]
        overnight = self._min_days() * DAY_MINUTES - (times[-1] - times[0])
        return timedelta(minutes=min([*within_day, overnight]))

    def _min_days(self) -> int:
        """Return a lower bound of the number of days between two days with runs."""
        if len(self.weekdays) < len(DAYS):
            return _min_gap(self.weekdays, len(DAYS) + self.weekdays[0] - self.weekdays[-1])
        # A month that has the last day has at least max(28, last day) days.
        return _min_gap(self.days, self.days[0] + max(28 - self.days[-1], 0))

    def __str__(self) -> str:
        """Return the times in words if they are simple, and as crontab text otherwise."""
        is_daily = len(self.days) == DAY.max and len(self.months) == MONTH.max
        if not is_daily or len(self.minutes) > 1 or len(self.hours) > 4:
            return f"at `{self.cron}`"
        times = " and ".join(f"{hour:02}:{self.minutes[0]:02}" for hour in self.hours)
        if self.weekdays == (0, 1, 2, 3, 4):
            return f"on weekdays at {times}"
        if len(self.weekdays) == len(DAYS):
            return f"every day at {times}"
        return f"every {' and '.join(FULL_DAYS[day] for day in self.weekdays)} at {times}"


def parse_crontab(cron: str) -> Recurrence:
    """Return the recurrence of a crontab text.

    Raises:
        UnknownTimeError: It is not valid crontab text.
    """
    if len(fields := cron.lower().split()) != 5:
        raise UnknownTimeError
    return from_fields(fields)


def next_run(cron: str, zone: str, after: datetime) -> datetime | None:
    """Return the first run of a task after a moment, in UTC; None if it never runs.

    A local time that daylight saving time skips runs right after the change of clocks. In the
    hour that is repeated, a task runs once, unless it runs every hour.

    Args:
        cron: As `Recurrence.cron` gives it.
        zone: IANA name of the task's time zone.
        after: A moment, timezone-aware.
    """
    recurrence, time_zone = parse_crontab(cron), ZoneInfo(zone)
    fields = cron.split()
    trigger = CronTrigger(
        minute=fields[0],
        hour=fields[1],
        day=fields[2],
        month=fields[3],
        day_of_week=fields[4],
        timezone=time_zone,
        end_date=after + HORIZON,
    )
    # The trigger returns a time at or after the given second.
    moment = after.astimezone(UTC).replace(microsecond=0)
    while True:
        moment += timedelta(seconds=1)
        fire_time: datetime | None = trigger.get_next_fire_time(None, moment.astimezone(time_zone))
        if fire_time is None:
            return None
        moment = fire_time.astimezone(UTC)  # moves a skipped local time behind the gap
        if not moment.astimezone(time_zone).fold or len(recurrence.hours) == HOURS:
            return moment


def next_runs(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """Return the first `count` runs after a moment, in the time zone of the task."""
    runs: list[datetime] = []
    last: datetime | None = after
    while last is not None and len(runs) < count:
        if (last := next_run(cron, zone, last)) is not None:
            runs.append(last.astimezone(ZoneInfo(zone)))
    return runs


def _min_gap(days: Sequence[int], wrapped: int) -> int:
    return min([*(later - earlier for earlier, later in pairwise(days)), wrapped])


def from_fields(fields: Sequence[str]) -> Recurrence:
    """Return the recurrence of five crontab fields in lower case.

    Raises:
        UnknownTimeError: A field is not valid, or both days of the month and of the week are
            restricted.
    """
    minutes, hours, days, months = (
        _numbers(text, field)
        for text, field in zip(fields, (MINUTE, HOUR, DAY, MONTH), strict=False)
    )
    weekdays = _weekdays(fields[4])
    if len(days) < DAY.max and len(weekdays) < len(DAYS):
        raise UnknownTimeError("Name either days of the month or days of the week, not both.")
    return Recurrence(minutes, hours, days, months, weekdays)


def _numbers(text: str, field: CronField) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        numbers |= _range(part, field)
    return tuple(sorted(numbers))


def _weekdays(text: str) -> tuple[int, ...]:
    # In numbers, crontab's Sunday is both 0 and 7; in names, a week begins on Monday.
    if re.search(r"[a-z]", text):
        return _numbers(text, WEEKDAY)
    return tuple(sorted({(day + 6) % 7 for day in _numbers(text, CronField(0, 7))}))


def _range(part: str, field: CronField) -> set[int]:
    """Return the numbers of one part of a field, such as ``*``, ``5``, ``1-5`` or ``*/15``."""
    match = _PART.fullmatch(part)
    if match is None:
        raise UnknownTimeError
    _, first, last, step = match.groups()
    start = field.min if first is None else number_of(first, field)
    end = field.max if first is None or (step and not last) else start
    if last is not None:
        end = number_of(last, field)
    if start > end or step == "0" or step == "00":
        raise UnknownTimeError
    return set(range(start, end + 1, int(step or 1)))


def number_of(text: str, field: CronField) -> int:
    """Return the number that a name or digits of a field stand for.

    Raises:
        UnknownTimeError: It is neither, or is out of range.
    """
    if text in field.names:
        return field.min + field.names.index(text)
    if not text.isascii() or not text.isdigit() or not field.min <= int(text) <= field.max:
        raise UnknownTimeError
    return int(text)


def _field_text(numbers: Sequence[int], field: CronField) -> str:
    if len(numbers) == field.max - field.min + 1:
        return "*"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])

    def name(number: int) -> str:
        return field.names[number - field.min] if field is WEEKDAY else str(number)

    return ",".join(
        name(run[0]) if len(run) == 1 else f"{name(run[0])}-{name(run[-1])}" for run in runs
    )

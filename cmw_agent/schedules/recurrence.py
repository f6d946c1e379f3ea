"""Recurrences of tasks as crontab text, and the times of their runs.

The stored text names the days of the week, since programs number them differently
(https://man7.org/linux/man-pages/man5/crontab.5.html).
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Self
from zoneinfo import ZoneInfo

from cmw_agent.core.errors import UserError
from cmw_agent.language import Language, wording

HORIZON_DAYS = 9 * 366  # a 29th of February recurs within eight years
DAY_MINUTES = 1440
HOURS = 24

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY = (
    wording("every Monday"),
    wording("every Tuesday"),
    wording("every Wednesday"),
    wording("every Thursday"),
    wording("every Friday"),
    wording("every Saturday"),
    wording("every Sunday"),
)
WORKDAYS = tuple(range(5))
MAX_TIMES = 4  # of a day, that a description lists
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EXAMPLES = wording("`every day at 9`, `every monday at 8:30`, `weekdays at 7` or `every 2 hours`")

_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,2}))?", re.ASCII)


class UnknownTimeError(UserError):
    """The text does not describe a recurrence, or describes one that is not allowed."""

    status = 422
    sentence = wording(
        "I do not understand when that is; write it like {examples}.", examples=EXAMPLES
    )


class UnknownZoneError(UnknownTimeError):
    """There is no time zone of that name."""

    sentence = wording(
        "There is no such time zone; use an IANA name such as Europe/Berlin, or UTC+3."
    )


class UnevenStepError(UnknownTimeError):
    """The task is to run every so many hours or minutes, which no day or hour consists of."""

    sentence = wording(
        "That does not divide the hour or the day evenly; choose 2, 3, 4, 6, 8 or 12 hours, or "
        "15, 20 or 30 minutes."
    )


class SeveralTasksError(UnknownTimeError):
    """Crontab cannot say this at once: times whose minutes differ, or days with other times."""

    sentence = wording(
        "Times of one task share their minute and their days; make several tasks of it."
    )


class TwoKindsOfDaysError(UnknownTimeError):
    """Days of the month and days of the week are named."""

    sentence = wording("Name either days of the month or days of the week, not both.")


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

    @classmethod
    def of_fields(
        cls,
        minutes: tuple[int, ...],
        hours: tuple[int, ...],
        days: tuple[int, ...],
        months: tuple[int, ...],
        weekdays: tuple[int, ...],
    ) -> Self:
        """Return the recurrence of these numbers.

        Raises:
            TwoKindsOfDaysError: Both days of the month and of the week are restricted: crontab
                means "or" by it, and people "and".
        """
        if len(days) < DAY.max and len(weekdays) < len(DAYS):
            raise TwoKindsOfDaysError
        return cls(minutes, hours, days, months, weekdays)

    def is_on(self, day: date) -> bool:
        """Return whether the task runs on a day."""
        return day.day in self.days and day.month in self.months and day.weekday() in self.weekdays

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

    def describe(self, language: Language) -> str:
        """Return the times in words if they are simple, and as crontab text otherwise."""
        if len(self.months) < MONTH.max:
            return language.gettext("at {cron}", cron=f"`{self.cron}`")
        if (step := self._step(language)) is not None:
            return step
        if len(self.minutes) > 1 or len(self.hours) > MAX_TIMES:
            return language.gettext("at {cron}", cron=f"`{self.cron}`")
        times = language.listed([f"{hour:02}:{self.minutes[0]:02}" for hour in self.hours])
        if len(self.days) < DAY.max:
            days = language.listed([str(day) for day in self.days])
            return language.gettext(
                "on day {days} of each month at {times}", days=days, times=times
            )
        if self.weekdays == WORKDAYS:
            return language.gettext("on weekdays at {times}", times=times)
        if len(self.weekdays) == len(DAYS):
            return language.gettext("every day at {times}", times=times)
        days = language.listed([language.translate(EVERY[day]) for day in self.weekdays])
        return language.gettext("{days} at {times}", days=days, times=times)

    def _step(self, language: Language) -> str | None:
        """Return the words for a task at even intervals on each day; None for others."""
        if len(self.days) < DAY.max or len(self.weekdays) < len(DAYS):
            return None
        minutes, hours = len(self.minutes), len(self.hours)
        if hours == HOURS and minutes == 1 and self.minutes == (0,):
            return language.gettext("every hour")
        if hours == HOURS and minutes > 1 and self.minutes == tuple(range(0, 60, 60 // minutes)):
            return language.ngettext("every {count} minute", "every {count} minutes", 60 // minutes)
        is_even = self.minutes == (0,) and self.hours == tuple(range(0, HOURS, HOURS // hours))
        if is_even and hours > MAX_TIMES:
            return language.ngettext("every {count} hour", "every {count} hours", HOURS // hours)
        return None


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

    Local times that the clock skips run together at the first moment behind the gap, and one that
    it shows twice runs the first time. A task of every hour runs whenever the clock shows its
    minutes instead.

    Args:
        cron: As `Recurrence.cron` gives it.
        zone: IANA name of the task's time zone.
        after: A moment, timezone-aware.
    """
    recurrence, time_zone = parse_crontab(cron), ZoneInfo(zone)
    first = after.astimezone(time_zone).toordinal() - 1
    for ordinal in range(first, first + HORIZON_DAYS):
        # Where the clock is put back over midnight, a day's last times lie behind the next one's.
        dates = (date.fromordinal(ordinal), date.fromordinal(ordinal + 1))
        runs = [run for day in dates for run in _runs_of_day(recurrence, day, time_zone)]
        if later := [run for run in runs if run > after]:
            return min(later)
    return None


def next_runs(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """Return the first `count` runs after a moment, in the time zone of the task."""
    runs: list[datetime] = []
    last: datetime | None = after
    while last is not None and len(runs) < count:
        if (last := next_run(cron, zone, last)) is not None:
            runs.append(last.astimezone(ZoneInfo(zone)))
    return runs


def _runs_of_day(recurrence: Recurrence, day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the runs of a local day, in UTC."""
    if not recurrence.is_on(day):
        return
    for hour in recurrence.hours:
        for minute in recurrence.minutes:
            shown = datetime.combine(day, time(hour, minute), zone)
            moment = shown.astimezone(UTC)
            if moment.astimezone(zone).replace(tzinfo=None) != shown.replace(tzinfo=None):
                if len(recurrence.hours) < HOURS:
                    yield _end_of_gap(shown)
                continue
            yield moment
            if len(recurrence.hours) == HOURS:
                yield shown.replace(fold=1).astimezone(UTC)  # the same, but for a time shown twice


def _end_of_gap(skipped: datetime) -> datetime:
    """Return the moment in UTC at which the clock skips a local time."""
    # With fold 0 the skipped time is read by the clock before the gap, with fold 1 by that behind.
    behind, before = (
        int(skipped.replace(fold=fold).astimezone(UTC).timestamp()) for fold in (0, 1)
    )
    zone = skipped.tzinfo
    offset = datetime.fromtimestamp(behind, zone).utcoffset()
    seconds = bisect_left(
        range(before, behind),
        True,
        key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() == offset,
    )
    return datetime.fromtimestamp(before + seconds, UTC)


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
    return Recurrence.of_fields(minutes, hours, days, months, weekdays)


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
        if end < start and field is WEEKDAY:
            end += len(DAYS)  # crontab's week begins on Sunday: sun-thu
    if start > end or step == "0" or step == "00":
        raise UnknownTimeError
    numbers = range(start, end + 1, int(step or 1))
    return {number % len(DAYS) for number in numbers} if field is WEEKDAY else set(numbers)


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

"""When a recurring task runs: what people write, as crontab text, and the times that follow.

APScheduler's `CronTrigger` computes the times. Its days of the week are numbered otherwise than
crontab's (https://man7.org/linux/man-pages/man5/crontab.5.html), so what is kept names them.

Understood are five fields of crontab, and::

    every day at 9            daily at 8:30             every day at 9 and 17
    every monday at 8:30      every mon and thu at 8    weekdays at 7
    weekends at 10            every hour                every 2 hours
    every 30 minutes          every month on the 1st at 9

Times are written 9, 9:30, 9am, 9:30 pm or 21:30. Behind any of these, `in` and a place name the
time zone: `every day at 9 in Berlin`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from cmw_agent.core.errors import UserError
from cmw_agent.tools.builtin.clock import zone_names

MAX_CHARS = 200
HORIZON = timedelta(days=9 * 366)  # the 29th of February comes back within eight years
DAY_MINUTES = 1440
HOURS = 24

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FULL_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"day": DAYS, "weekday": DAYS[:5], "weekend": DAYS[5:]}
)
EXAMPLES = "`every day at 9`, `every monday at 8:30`, `weekdays at 7` or `every 2 hours`"

_ZONE = re.compile(r"(.*?)\s+in\s+([a-z][\w/+ -]*)", re.IGNORECASE)
_EVERY = re.compile(r"(?:every (\d{1,2}) |every )(hour|minute)s?", re.ASCII)
_DAYS_AT = re.compile(r"(?:on )?(?:every )?([a-z][a-z, ]*?) at (.+)")
_MONTHLY = re.compile(r"every month on (?:the |day )?(\d{1,2})(?:st|nd|rd|th)? at (.+)", re.ASCII)
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?\s*(am|pm)?", re.ASCII)
_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,2}))?", re.ASCII)


class UnknownTimeError(UserError):
    """What was written is no time that is understood, or one that is not allowed."""

    status = 422
    sentence = f"I do not understand when that is; write it like {EXAMPLES}."


@dataclass(frozen=True, slots=True)
class _Field:
    """One of crontab's five: its range, its names, and the first number that they stand for."""

    least: int
    most: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR = _Field(0, 59), _Field(0, 23)
_DAY, _MONTH = _Field(1, 31), _Field(1, 12, MONTHS)
_WEEKDAY = _Field(0, 6, DAYS)  # Monday is 0 here, as it is for APScheduler


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When a task runs: five fields as sorted numbers, of which those that are all match always.

    Weekdays count from Monday, which is 0.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def cron(self) -> str:
        """The crontab text: the same for the same times, however they were written."""
        fields = (
            _written(self.minutes, _MINUTE),
            _written(self.hours, _HOUR),
            _written(self.days, _DAY),
            _written(self.months, _MONTH),
            _written(self.weekdays, _WEEKDAY),
        )
        return " ".join(fields)

    @property
    def gap(self) -> timedelta:
        """A time that at least lies between two runs, by the clock on the wall."""
        times = sorted(hour * 60 + minute for hour in self.hours for minute in self.minutes)
        inner = [later - earlier for earlier, later in pairwise(times)]
        over_night = self._days_apart() * DAY_MINUTES - (times[-1] - times[0])
        return timedelta(minutes=min([*inner, over_night]))

    def _days_apart(self) -> int:
        if len(self.weekdays) < len(DAYS):
            return _least_gap(self.weekdays, len(DAYS) + self.weekdays[0] - self.weekdays[-1])
        # The shortest month has 28 days; the 31st is never in the month before one that has it.
        return _least_gap(self.days, self.days[0] + max(28 - self.days[-1], 0))

    def __str__(self) -> str:
        """The times in words where they are simple, in crontab's form otherwise."""
        daily = len(self.days) == _DAY.most and len(self.months) == _MONTH.most
        if not daily or len(self.minutes) > 1 or len(self.hours) > 4:
            return f"at `{self.cron}`"
        times = " and ".join(f"{hour:02}:{self.minutes[0]:02}" for hour in self.hours)
        if self.weekdays == (0, 1, 2, 3, 4):
            return f"on weekdays at {times}"
        if len(self.weekdays) == len(DAYS):
            return f"every day at {times}"
        return f"every {' and '.join(FULL_DAYS[day] for day in self.weekdays)} at {times}"


def understood(text: str) -> tuple[Recurrence, str | None]:
    """Return the times that `text` names, and the time zone where it names one.

    Raises:
        UnknownTimeError: It names none.
    """
    plain = " ".join(text[: MAX_CHARS + 1].lower().split()).rstrip(".")
    if not plain or len(text) > MAX_CHARS:
        raise UnknownTimeError
    zone: str | None = None
    if found := _ZONE.fullmatch(plain):
        plain, zone = found[1], known_zone(found[2])
    if len(fields := plain.split()) == 5 and (fields[0] == "*" or plain[0] in "*0123456789"):
        return _from_crontab(fields), zone
    return _from_words(plain), zone


def known_zone(name: str) -> str:
    """Return the IANA name of a time zone that is written as people do.

    Raises:
        UnknownTimeError: There is none of that name.
    """
    names, plain = zone_names(), name.strip().lower()
    found = (
        names.get(plain) or names.get(plain.replace("_", " ")) or names.get(plain.replace(" ", "_"))
    )
    if found is None:
        raise UnknownTimeError(
            "There is no such time zone; use an IANA name such as Europe/Berlin."
        )
    return found


def stored(cron: str) -> Recurrence:
    """Return the times of a crontab text.

    Raises:
        UnknownTimeError: It is none.
    """
    if len(fields := cron.lower().split()) != 5:
        raise UnknownTimeError
    return _from_crontab(fields)


def following(cron: str, zone: str, after: datetime) -> datetime | None:
    """Return when a task runs for the first time after a moment, in UTC; None for never.

    A time that the clock skips in spring runs when the clock has been put forward. In autumn's
    repeated hour it runs once, unless it runs in every hour anyway.

    Args:
        cron: As `Recurrence.cron` gives it.
        zone: An IANA name.
        after: A moment, with its zone.
    """
    times, where = stored(cron), ZoneInfo(zone)
    fields = cron.split()
    trigger = CronTrigger(
        minute=fields[0],
        hour=fields[1],
        day=fields[2],
        month=fields[3],
        day_of_week=fields[4],
        timezone=where,
        end_date=after + HORIZON,
    )
    # The trigger gives moments from a second on, this one included.
    moment = after.astimezone(UTC).replace(microsecond=0)
    while True:
        moment += timedelta(seconds=1)
        found: datetime | None = trigger.get_next_fire_time(None, moment.astimezone(where))
        if found is None:
            return None
        moment = found.astimezone(UTC)  # a time that the clock skips becomes one that it shows
        if not moment.astimezone(where).fold or len(times.hours) == HOURS:
            return moment


def upcoming(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """Return the next `count` times after a moment, in the time zone of the task."""
    found: list[datetime] = []
    last: datetime | None = after
    while last is not None and len(found) < count:
        if (last := following(cron, zone, last)) is not None:
            found.append(last.astimezone(ZoneInfo(zone)))
    return found


def _least_gap(days: Sequence[int], around: int) -> int:
    return min([*(later - earlier for earlier, later in pairwise(days)), around])


def _from_crontab(fields: Sequence[str]) -> Recurrence:
    minutes, hours, days, months = (
        _numbers(text, field)
        for text, field in zip(fields, (_MINUTE, _HOUR, _DAY, _MONTH), strict=False)
    )
    weekdays = _weekdays(fields[4])
    if len(days) < _DAY.most and len(weekdays) < len(DAYS):
        raise UnknownTimeError("Name either days of the month or days of the week, not both.")
    return Recurrence(minutes, hours, days, months, weekdays)


def _numbers(text: str, field: _Field) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        found |= _of_part(part, field)
    return tuple(sorted(found))


def _weekdays(text: str) -> tuple[int, ...]:
    # Crontab's Sunday is 0 and 7; with names a week begins on Monday.
    if re.search(r"[a-z]", text):
        return _numbers(text, _WEEKDAY)
    return tuple(sorted({(day + 6) % 7 for day in _numbers(text, _Field(0, 7))}))


def _of_part(part: str, field: _Field) -> set[int]:
    found = _PART.fullmatch(part)
    if found is None:
        raise UnknownTimeError
    _, first, last, step = found.groups()
    least = field.least if first is None else _number(first, field)
    most = field.most if first is None or (step and not last) else least
    if last is not None:
        most = _number(last, field)
    if least > most or step == "0" or step == "00":
        raise UnknownTimeError
    return set(range(least, most + 1, int(step or 1)))


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.least + field.names.index(text)
    if not text.isascii() or not text.isdigit() or not field.least <= int(text) <= field.most:
        raise UnknownTimeError
    return int(text)


def _written(numbers: Sequence[int], field: _Field) -> str:
    if len(numbers) == field.most - field.least + 1:
        return "*"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])

    def name(number: int) -> str:
        return field.names[number - field.least] if field is _WEEKDAY else str(number)

    return ",".join(
        name(run[0]) if len(run) == 1 else f"{name(run[0])}-{name(run[-1])}" for run in runs
    )


def _from_words(plain: str) -> Recurrence:
    every = _Span()
    if found := _EVERY.fullmatch(plain):
        step = int(found[1] or 1)
        whole = 60 if found[2] == "minute" else HOURS
        if not 0 < step <= whole or whole % step:
            raise UnknownTimeError(
                "That does not divide the hour or the day evenly; choose 2, 3, 4, 6, 8 or 12 "
                "hours, or 15, 20 or 30 minutes."
            )
        steps = tuple(range(0, whole, step))
        return (
            every.with_times(steps, every.hours) if whole == 60 else every.with_times((0,), steps)
        )
    if found := _MONTHLY.fullmatch(plain):
        day = _number(found[1], _DAY)
        return every.with_times(*_times(found[2]), days=(day,))
    if found := _DAYS_AT.fullmatch(plain.replace("daily", "every day")):
        return every.with_times(*_times(found[2]), weekdays=_named_days(found[1]))
    raise UnknownTimeError


@dataclass(frozen=True, slots=True)
class _Span:
    """All there is of each field."""

    hours: tuple[int, ...] = tuple(range(HOURS))
    days: tuple[int, ...] = tuple(range(1, 32))
    months: tuple[int, ...] = tuple(range(1, 13))
    weekdays: tuple[int, ...] = tuple(range(7))

    def with_times(
        self,
        minutes: tuple[int, ...],
        hours: tuple[int, ...],
        *,
        days: tuple[int, ...] | None = None,
        weekdays: tuple[int, ...] | None = None,
    ) -> Recurrence:
        return Recurrence(minutes, hours, days or self.days, self.months, weekdays or self.weekdays)


def _named_days(text: str) -> tuple[int, ...]:
    found: set[str] = set()
    for word in re.split(r"[, ]+(?:and )?", text.strip()):
        single = word.removesuffix("s") if len(word) > 4 else word
        if single in GROUPS:
            found |= set(GROUPS[single])
        elif single in DAYS or single in {day.lower() for day in FULL_DAYS}:
            found.add(single[:3])
        else:
            raise UnknownTimeError
    return tuple(sorted(DAYS.index(day) for day in found))


def _times(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return minutes and hours of a list of times."""
    # One blank at most is between words by now, and `\s*` would read a row of them again and again.
    found = [_time(part) for part in re.split(r" ?(?:,|\band\b) ?", text.strip())]
    minutes = {minute for _, minute in found}
    if len(minutes) > 1:
        raise UnknownTimeError("Times of one task share their minute; make two tasks of it.")
    return tuple(minutes), tuple(sorted({hour for hour, _ in found}))


def _time(text: str) -> tuple[int, int]:
    found = _TIME.fullmatch(text)
    if found is None:
        raise UnknownTimeError
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3] and not 1 <= hour <= 12:
        raise UnknownTimeError
    if found[3]:
        hour = hour % 12 + (12 if found[3] == "pm" else 0)
    if hour >= HOURS or minute >= 60:
        raise UnknownTimeError
    return hour, minute

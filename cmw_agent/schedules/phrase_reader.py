"""Reads when a task recurs from a phrase in one language: which words name days, times, periods."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from cmw_agent.schedules.recurrence import (
    ALL_DAYS,
    ALL_HOURS,
    ALL_MONTHS,
    ALL_WEEKDAYS,
    DAYS,
    HOURS,
    MONTHS,
    Recurrence,
    SeveralTasksError,
    UnevenStepError,
    UnknownTimeError,
)
from cmw_agent.schedules.words import Lexicon

DEFAULT_HOUR = 9  # of a phrase that names days and no time
# The hour of a part of the day where no time is named; None where a time must be.
PARTS: Mapping[str, int | None] = MappingProxyType(
    {"morning": 9, "afternoon": 15, "evening": 18, "night": None}
)
HALVES = ("am", "pm", *PARTS)
GROUPS: Mapping[str, range] = MappingProxyType({"weekdays": range(5), "weekend": range(5, 7)})
PERIODS = ("day", "week", "month", "year")
CLOCK_TIMES: Mapping[str, int] = MappingProxyType({"noon": 12, "midnight": 0})
STEPS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"hourly": ("hour", 1), "half hour": ("minute", 30)}
)
ORDINALS: Mapping[str, int] = MappingProxyType({"first": 1, "second": 2, "third": 3})
NUMBERS: Mapping[str, int] = MappingProxyType({str(number): number for number in range(1, 13)})
PASSED = frozenset({"filler", "in", "ordinal", "date", "time zone"})  # say nothing by themselves

HYPHEN, COMMA = "-", ","
MARKS = (HYPHEN, COMMA)

_TOKEN = re.compile(r"[0-9]+(?:[:.][0-9]+)?|[^\W\d_]+(?:'[^\W\d_]+)?|[-,]")
_CLOCK = re.compile(r"([0-9]{1,2})[:.]?([0-9]{2})")


@dataclass(slots=True)
class PhraseReader:
    """What a phrase has said up to a word.

    Args:
        lexicon: The language's words.
        tokens: The phrase's words, numbers and marks, in lower case.
    """

    lexicon: Lexicon
    tokens: Sequence[str]
    weekdays: set[int] = field(default_factory=set)
    days: set[int] = field(default_factory=set)
    months: set[int] = field(default_factory=set)
    times: list[tuple[int, int]] = field(default_factory=list)
    exact: set[tuple[int, int]] = field(default_factory=set)  # times whose half of the day is said
    numbers: list[int] = field(default_factory=list)  # whose meaning a later word decides
    periods: set[str] = field(default_factory=set)
    part: str | None = None
    step: tuple[str, int] | None = None
    is_half: bool = False
    counts: bool = False  # after `every`: a number belongs to the unit behind it
    last: str = ""  # what the last word was, where it decides what the next one means
    range_start: int = 0
    groups: list[str] = field(default_factory=list)  # days and times, as they take turns

    def recurrence(self) -> Recurrence:
        """Return the recurrence that the phrase describes.

        Raises:
            UnknownTimeError: It describes none, or one that is not allowed.
        """
        for index, token in enumerate(self.tokens):
            if token[0].isdigit():
                self._digits(token, self._following(index))
            elif token in MARKS:
                self._mark(token, self._following(index))
            else:
                self._word(self.lexicon.meanings(token), self._following(index))
        return self._result()

    def _following(self, index: int) -> str:
        """Return the token behind `index`, or behind the hyphen there."""
        rest = [token for token in self.tokens[index + 1 : index + 3] if token != HYPHEN]
        return rest[0] if rest else ""

    def _digits(self, token: str, following: str) -> None:
        if (match := _CLOCK.fullmatch(token)) is not None and len(token) > 3:
            self._add_time(int(match[1]), int(match[2]))
        elif len(token) <= 2:
            self._number(int(token), following)
        else:
            raise UnknownTimeError

    def _number(self, number: int, following: str) -> None:
        if "ordinal" in self.lexicon.meanings(following) or self.last in ("date", "month name"):
            self._add_days({number})
        elif self.last == "at" and not self.counts:
            self._add_time(number, 0)
        else:
            self.numbers.append(number)
            self.last = "number"

    def _mark(self, mark: str, following: str) -> None:
        if mark == COMMA:
            self._and()
        elif self.last == "weekday":
            self.last = "range"
        elif "ordinal" not in self.lexicon.meanings(following):
            raise UnknownTimeError

    def _and(self) -> None:
        self.last = {"time": "at", "weekday": "", "range": ""}.get(self.last, self.last)

    def _word(self, meanings: frozenset[str], following: str) -> None:
        if not meanings:
            raise UnknownTimeError
        if self.last in ("time", "number") and self._half_of_day(meanings):
            return
        if self._calendar(meanings, following) or self._clock(meanings):
            self.counts = False
        elif not self._connector(meanings, following) and not meanings & PASSED:
            raise UnknownTimeError

    def _half_of_day(self, meanings: frozenset[str]) -> bool:
        """Apply a word such as `pm` to the time before it; return whether the word is one."""
        half = next((half for half in HALVES if half in meanings), None)
        if half is None:
            return False
        if self.last == "number":
            if self.counts:
                return False  # `every 2 days`: in some languages a word means both
            self._add_time(self.numbers.pop(), 0)
        time = _in_half(self.times.pop(), half)
        self.times.append(time)
        self.exact.add(time)
        return True

    def _calendar(self, meanings: frozenset[str], following: str) -> bool:
        """Read a word that names days, months or a period; return whether it is one."""
        for index, name in enumerate(DAYS):
            if name in meanings:
                return self._weekday(index)
        for index, name in enumerate(MONTHS, 1):
            if name in meanings:
                return self._month(index)
        for name, days in GROUPS.items():
            if name in meanings:
                self.weekdays.update(days)
                self._in_group("days")
                return True
        return self._date(meanings) or self._period(meanings, following)

    def _date(self, meanings: frozenset[str]) -> bool:
        for name, number in ORDINALS.items():
            if name in meanings and not self.counts:
                return self._add_days({number})
        return "date" in meanings and bool(self.numbers) and self._add_days(set(self.numbers))

    def _period(self, meanings: frozenset[str], following: str) -> bool:
        period = next((name for name in PERIODS if name in meanings), None)
        if period is None:
            return False
        if self.numbers and self.counts:
            raise UnknownTimeError  # every so many days: crontab begins anew with each month
        if period == "day" and not self.counts and following.isdigit() and self.last != "time":
            self.last = "date"  # day 15
        else:
            self.periods.add(period)
            self.last = ""
        return True

    def _month(self, month: int) -> bool:
        self.months.add(month)
        if self.numbers:
            self._add_days(set(self.numbers))
        self.last = "month name"
        return True

    def _weekday(self, day: int) -> bool:
        days = [day]
        if self.last == "range":
            count = (day - self.range_start) % len(DAYS)
            days = [(self.range_start + offset) % len(DAYS) for offset in range(count + 1)]
        self.weekdays.update(days)
        self._in_group("days")
        self.last, self.range_start = "weekday", day
        return True

    def _clock(self, meanings: frozenset[str]) -> bool:
        """Read a word that names a time, a part of the day or a step; return whether it is one."""
        for name, hour in CLOCK_TIMES.items():
            if name in meanings:
                self._add_time(hour, 0)
                self.exact.add((hour, 0))
                return True
        for name, step in STEPS.items():
            if name in meanings:
                return self._set_step(*step)
        for unit in ("hour", "minute"):
            if unit in meanings:
                return self._unit(unit)
        part = next((name for name in PARTS if name in meanings), None)
        if part is not None:
            if self.part is not None:
                raise UnknownTimeError
            self.part = part
        return part is not None

    def _unit(self, unit: str) -> bool:
        if self.is_half:
            self.is_half = False
            return self._set_step("minute", 30)
        if self.counts:
            return self._set_step(unit, self.numbers.pop() if self.numbers else 1)
        if unit == "hour" and self.last == "number":
            self._add_time(self.numbers.pop(), 0)
        elif unit != "hour" or self.last != "time":
            raise UnknownTimeError
        return True

    def _connector(self, meanings: frozenset[str], following: str) -> bool:
        """Read a word that says how others belong together; return whether it is one."""
        for name, number in {**ORDINALS, **NUMBERS}.items():
            if name in meanings:
                self._number(number, following)
                return True
        if meanings & {"every", "once"}:
            if self.numbers == [1] and "once" in meanings:
                self.numbers.clear()  # once an hour
            self.counts = True
            return True
        if "half" in meanings:
            self.is_half = True
        elif "and" in meanings:
            self._and()
        elif "to" in meanings and self.last == "weekday":
            self.last = "range"
        elif "to" in meanings and self.last in ("time", "number") and following.isdigit():
            raise UnknownTimeError  # from 9 to 17
        elif "at" in meanings:
            self.last = "at"
        else:
            return "to" in meanings
        return True

    def _set_step(self, unit: str, count: int) -> bool:
        if self.step is not None:
            raise UnknownTimeError
        self.step = unit, count
        return True

    def _add_days(self, days: set[int]) -> bool:
        self.days |= days
        self._in_group("days")
        self.numbers.clear()
        self.counts = False
        self.last = "date"
        return True

    def _add_time(self, hour: int, minute: int) -> None:
        self.times.append((hour, minute))
        self._in_group("times")
        self.last = "time"

    def _in_group(self, kind: str) -> None:
        if not self.groups or self.groups[-1] != kind:
            self.groups.append(kind)

    def _result(self) -> Recurrence:
        if self.is_half or self.last in ("at", "range") or (self.counts and self.numbers):
            raise UnknownTimeError
        if len(self.groups) > 2:  # on Monday at 9 and on Tuesday at 10
            raise SeveralTasksError
        self._settle_numbers()
        self._settle_days()
        if self.step is not None:
            return self._stepped(*self.step)
        minutes, hours = self._settled_times()
        return self._recurrence(minutes, hours)

    def _settle_numbers(self) -> None:
        """Take numbers that no word explained for days of a month, or else for hours."""
        if "month" in self.periods and not self.days:
            self.days.update(self.numbers)
        elif self.numbers and not self.times:
            self.times.extend((number, 0) for number in self.numbers)
        elif self.numbers:
            raise UnknownTimeError

    def _settle_days(self) -> None:
        """Complete the days that a period leaves open, and refuse what contradicts it."""
        if not (self.times or self.part or self.step or self.periods or self.days or self.weekdays):
            raise UnknownTimeError
        if self.weekdays and self.periods & {"month", "year"}:
            raise UnknownTimeError
        if self.days and self.periods & {"day", "week"}:
            raise UnknownTimeError
        if self.months and not self.days and not self.weekdays:
            raise UnknownTimeError
        if "year" in self.periods and not self.months:
            self.months.add(1)
        if self.periods & {"month", "year"}:
            self.days = self.days or {1}
        elif "week" in self.periods:
            self.weekdays = self.weekdays or {0}
        if self.days and not self.days <= set(ALL_DAYS):
            raise UnknownTimeError

    def _stepped(self, unit: str, count: int) -> Recurrence:
        units = HOURS if unit == "hour" else 60
        if self.times or self.days or self.months or self.part or self.periods - {"day"}:
            raise UnknownTimeError
        if not 0 < count <= units or units % count:
            raise UnevenStepError
        steps = tuple(range(0, units, count))
        if unit == "hour":
            return self._recurrence((0,), steps)
        return self._recurrence(steps, ALL_HOURS)

    def _settled_times(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the minutes and the hours of all times."""
        times = self.times
        if self.part is not None:
            part = self.part
            times = [time if time in self.exact else _in_half(time, part) for time in times]
        if not times:
            hour = DEFAULT_HOUR if self.part is None else PARTS[self.part]
            if hour is None:
                raise UnknownTimeError
            times = [(hour, 0)]
        if any(hour >= HOURS or minute >= 60 for hour, minute in times):
            raise UnknownTimeError
        minutes = {minute for _, minute in times}
        if len(minutes) > 1:
            raise SeveralTasksError
        return tuple(minutes), tuple(sorted({hour for hour, _ in times}))

    def _recurrence(self, minutes: tuple[int, ...], hours: tuple[int, ...]) -> Recurrence:
        days = tuple(sorted(self.days)) or ALL_DAYS
        weekdays = tuple(sorted(self.weekdays)) or ALL_WEEKDAYS
        months = tuple(sorted(self.months)) or ALL_MONTHS
        return Recurrence.of_fields(minutes, hours, days, months, weekdays)


def tokens_of(text: str) -> list[str]:
    """Return the words, numbers and marks of a phrase in lower case.

    Raises:
        UnknownTimeError: The phrase holds anything else.
    """
    if _TOKEN.sub("", text).strip():
        raise UnknownTimeError
    return _TOKEN.findall(text)


def _in_half(time: tuple[int, int], half: str) -> tuple[int, int]:
    """Return a time of the named half or part of the day, such as 9 in the evening, by 24 hours."""
    hour, minute = time
    if hour > 12 and half in ("afternoon", "evening", "night"):
        return time
    if not 1 <= hour <= 12:
        raise UnknownTimeError
    is_late = half in ("pm", "afternoon", "evening") or (half == "night" and 6 <= hour < 12)
    return hour % 12 + (12 if is_late else 0), minute

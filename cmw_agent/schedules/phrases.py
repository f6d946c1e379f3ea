"""Parses when a recurring task runs, as people write it.

Accepted are the five fields of crontab, and::

    every day at 9            daily at 8:30             every day at 9 and 17
    every monday at 8:30      every mon and thu at 8    weekdays at 7
    weekends at 10            every hour                every 2 hours
    every 30 minutes          every month on the 1st at 9

Times are written 9, 9:30, 9am, 9:30 pm or 21:30. After any of these, `in` and a city or zone name
the time zone: `every day at 9 in Berlin`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from cmw_agent.schedules.recurrence import (
    ALL_DAYS,
    ALL_HOURS,
    ALL_MONTHS,
    ALL_WEEKDAYS,
    DAY,
    DAYS,
    FULL_DAYS,
    HOURS,
    Recurrence,
    UnknownTimeError,
    from_fields,
    number_of,
)
from cmw_agent.tools.builtin.clock import zone_names

MAX_CHARS = 200
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"day": DAYS, "weekday": DAYS[:5], "weekend": DAYS[5:]}
)

_ZONE = re.compile(r"(.*?)\s+in\s+([a-z][\w/+ -]*)", re.IGNORECASE)
_EVERY = re.compile(r"(?:every (\d{1,2}) |every )(hour|minute)s?", re.ASCII)
_DAYS_AT = re.compile(r"(?:on )?(?:every )?([a-z][a-z, ]*?) at (.+)")
_MONTHLY = re.compile(r"every month on (?:the |day )?(\d{1,2})(?:st|nd|rd|th)? at (.+)", re.ASCII)
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?\s*(am|pm)?", re.ASCII)


def parse_recurrence(text: str) -> tuple[Recurrence, str | None]:
    """Return the recurrence that `text` describes, and the IANA time zone if it names one.

    Args:
        text: A phrase or five crontab fields; see the module.

    Raises:
        UnknownTimeError: It is neither, or is longer than `MAX_CHARS`.
    """
    plain = " ".join(text[: MAX_CHARS + 1].lower().split()).rstrip(".")
    if not plain or len(text) > MAX_CHARS:
        raise UnknownTimeError
    zone: str | None = None
    if match := _ZONE.fullmatch(plain):
        plain, zone = match[1], find_time_zone(match[2])
    if len(fields := plain.split()) == 5 and (fields[0] == "*" or plain[0] in "*0123456789"):
        return from_fields(fields), zone
    return _from_phrase(plain), zone


def find_time_zone(name: str) -> str:
    """Return the IANA name of a time zone that is given by its name or a city.

    Raises:
        UnknownTimeError: There is no such time zone.
    """
    names, plain = zone_names(), name.strip().lower()
    zone = (
        names.get(plain) or names.get(plain.replace("_", " ")) or names.get(plain.replace(" ", "_"))
    )
    if zone is None:
        raise UnknownTimeError(
            "There is no such time zone; use an IANA name such as Europe/Berlin."
        )
    return zone


def _from_phrase(plain: str) -> Recurrence:
    if match := _EVERY.fullmatch(plain):
        step = int(match[1] or 1)
        count = 60 if match[2] == "minute" else HOURS
        if not 0 < step <= count or count % step:
            raise UnknownTimeError(
                "That does not divide the hour or the day evenly; choose 2, 3, 4, 6, 8 or 12 "
                "hours, or 15, 20 or 30 minutes."
            )
        steps = tuple(range(0, count, step))
        return _recurrence(steps, ALL_HOURS) if count == 60 else _recurrence((0,), steps)
    if match := _MONTHLY.fullmatch(plain):
        day = number_of(match[1], DAY)
        return _recurrence(*_times(match[2]), days=(day,))
    if match := _DAYS_AT.fullmatch(plain.replace("daily", "every day")):
        return _recurrence(*_times(match[2]), weekdays=_named_days(match[1]))
    raise UnknownTimeError


def _recurrence(
    minutes: tuple[int, ...],
    hours: tuple[int, ...],
    *,
    days: tuple[int, ...] = ALL_DAYS,
    weekdays: tuple[int, ...] = ALL_WEEKDAYS,
) -> Recurrence:
    return Recurrence(minutes, hours, days, ALL_MONTHS, weekdays)


def _named_days(text: str) -> tuple[int, ...]:
    days: set[str] = set()
    for word in re.split(r"[, ]+(?:and )?", text.strip()):
        singular = word.removesuffix("s") if len(word) > 4 else word
        if singular in GROUPS:
            days |= set(GROUPS[singular])
        elif singular in DAYS or singular in {day.lower() for day in FULL_DAYS}:
            days.add(singular[:3])
        else:
            raise UnknownTimeError
    return tuple(sorted(DAYS.index(day) for day in days))


def _times(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the minutes and the hours of a list of times."""
    # There is at most one space between words here; `\s*` would scan a run of them repeatedly.
    times = [_time(part) for part in re.split(r" ?(?:,|\band\b) ?", text.strip())]
    minutes = {minute for _, minute in times}
    if len(minutes) > 1:
        raise UnknownTimeError("Times of one task share their minute; make two tasks of it.")
    return tuple(minutes), tuple(sorted({hour for hour, _ in times}))


def _time(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise UnknownTimeError
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3] and not 1 <= hour <= 12:
        raise UnknownTimeError
    if match[3]:
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    if hour >= HOURS or minute >= 60:
        raise UnknownTimeError
    return hour, minute

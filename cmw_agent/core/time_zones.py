"""Time zones as people name them: IANA names, cities, offsets from UTC, common abbreviations."""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

from cmw_agent.language import languages

# What people mean by these; the database has some of them as zones that never change their clocks.
ABBREVIATIONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("et", "est", "edt"), "America/New_York"),
        **dict.fromkeys(("ct", "cst", "cdt"), "America/Chicago"),
        **dict.fromkeys(("mt", "mst", "mdt"), "America/Denver"),
        **dict.fromkeys(("pt", "pst", "pdt"), "America/Los_Angeles"),
        **dict.fromkeys(("msk", "мск", "московскому"), "Europe/Moscow"),
        "bst": "Europe/London",
        "jst": "Asia/Tokyo",
        "z": "UTC",
        "гринвичу": "UTC",
    }
)
# Offsets of no whole hours have no zone of their own; these places never change their clocks.
PART_HOURS: Mapping[int, str] = MappingProxyType(
    {
        -570: "Pacific/Marquesas",
        210: "Asia/Tehran",
        270: "Asia/Kabul",
        330: "Asia/Kolkata",
        345: "Asia/Kathmandu",
        390: "Asia/Yangon",
        525: "Australia/Eucla",
        570: "Australia/Darwin",
    }
)
MOSCOW_HOURS = 3

_OFFSET = re.compile(r"(utc|gmt|msk|мск) ?([+-]) ?(\d{1,2})(?::?([0-5]\d))?", re.ASCII)
_FIXED = re.compile(r"Etc/GMT([+-])(\d{1,2})", re.ASCII)


@cache
def zone_names() -> Mapping[str, str]:
    """Return the IANA time zones by full name and by city, both in lower case."""
    names: dict[str, str] = {}
    for zone in sorted(available_timezones()):
        if zone.startswith(("posix/", "right/")):
            continue
        city = zone.rpartition("/")[2].replace("_", " ").lower()
        if "gmt" not in city:  # Etc/GMT+3 lies three hours behind UTC, and `GMT+3` before it
            names.setdefault(city, zone)
        names[zone.lower()] = zone
    names["gmt"] = "UTC"
    return MappingProxyType(names)


@cache
def cities() -> Mapping[str, str]:
    """Return the time zones by the stems of their cities' names in the other languages of the app."""
    return MappingProxyType(
        {
            _stem(names["city"].lower().replace("ё", "е")): zone
            for language in languages().all[1:]
            for zone, names in sorted(language.locale.time_zones.items())
            if "city" in names and zone.lower() in zone_names()
        }
    )


def _stem(name: str) -> str:
    """Return a name without its ending, which is another in each case: Москва, по Москве."""
    return name.rstrip("аеиоуыэюяйь")


def find_zone(name: str) -> str | None:
    """Return the IANA name of the time zone that people call `name`; None if there is none.

    Args:
        name: An IANA name, a city, an abbreviation or an offset such as ``UTC+3``.
    """
    names, plain = zone_names(), " ".join(name.lower().replace("−", "-").split())
    if (zone := ABBREVIATIONS.get(plain)) is not None:
        return zone
    if (match := _OFFSET.fullmatch(plain)) is not None:
        return _zone_of_offset(*match.groups())
    return (
        names.get(plain)
        or names.get(plain.replace("_", " "))
        or names.get(plain.replace(" ", "_"))
        or cities().get(_stem(plain))
    )


def is_unmistakable(word: str) -> bool:
    """Return whether a word in lower case can be nothing but the beginning of a time zone's name.

    A city can be: it needs a word such as `in` before it.
    """
    return "/" in word or word in ABBREVIATIONS or word.startswith(("utc", "gmt", "msk", "мск"))


def zone_label(zone: str) -> str:
    """Return how a time zone is shown: its IANA name, or ``UTC+3`` for one of a fixed offset."""
    match = _FIXED.fullmatch(zone)
    if match is None:
        return zone
    return f"UTC{'-' if match[1] == '+' else '+'}{match[2]}"


def _zone_of_offset(base: str, sign: str, hours: str, minutes: str | None) -> str | None:
    total = (int(hours) * 60 + int(minutes or 0)) * (-1 if sign == "-" else 1)
    if base in ("msk", "мск"):
        total += MOSCOW_HOURS * 60
    if total % 60:
        return PART_HOURS.get(total)
    if total == 0:
        return "UTC"
    # In these names the sign is that of POSIX: Etc/GMT-3 is three hours ahead of UTC.
    return f"Etc/GMT{-(total // 60):+d}" if -12 * 60 <= total <= 14 * 60 else None

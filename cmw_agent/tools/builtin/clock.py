"""The current time in a time zone."""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from langchain_core.tools import ToolException, tool


@cache
def zone_names() -> dict[str, str]:
    """Return the IANA time zones by full name and by city, both in lower case."""
    names: dict[str, str] = {}
    for zone in sorted(available_timezones()):
        if zone.startswith(("posix/", "right/")):
            continue
        city = zone.rpartition("/")[2].replace("_", " ").lower()
        names.setdefault(city, zone)
        names[zone.lower()] = zone
    return names


@tool
async def current_time(time_zone: str = "UTC") -> str:
    """Return the current date and time in a time zone.

    Args:
        time_zone: An IANA name such as "Europe/Berlin" or "UTC", or a city such as "Tokyo".
    """
    zone = zone_names().get(time_zone.strip().replace("_", " ").lower()) or zone_names().get(
        time_zone.strip().lower()
    )
    if zone is None:
        raise ToolException(
            f"There is no time zone {time_zone[:60]!r}; use an IANA name such as Europe/Berlin."
        )
    now = datetime.now(UTC).astimezone(ZoneInfo(zone))
    return f"{now:%A, %d %B %Y, %H:%M:%S} ({zone}, UTC{now:%z})"

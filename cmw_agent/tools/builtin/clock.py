"""The current time in a time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from langchain_core.tools import ToolException, tool

from cmw_agent.core.time_zones import find_zone, zone_label


@tool
async def current_time(time_zone: str = "UTC") -> str:
    """Return the current date and time in a time zone.

    Args:
        time_zone: An IANA name such as "Europe/Berlin", a city such as "Tokyo", or "UTC+3".
    """
    zone = find_zone(time_zone)
    if zone is None:
        raise ToolException(
            f"There is no time zone {time_zone[:60]!r}; use an IANA name such as Europe/Berlin."
        )
    now = datetime.now(UTC).astimezone(ZoneInfo(zone))
    return f"{now:%A, %d %B %Y, %H:%M:%S} ({zone_label(zone)}, UTC{now:%z})"

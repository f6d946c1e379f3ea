"""Serves the statistics as one page to the users whom the settings name.

To everybody else there is no such page: they get the answer that an unknown path gets.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from jinja2 import Template
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Principal
from cmw_agent.llm.pricing import dollars
from cmw_agent.observability.statistics_text import number, shown
from cmw_agent.web.api.endpoint import endpoint
from cmw_agent.web.api.svg_charts import Bar, bars, environment, share_bar
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from memory.reports.statistics import Day, Spread, Statistics

MAX_NAME = 60  # characters of a site's, channel's, model's or tool's name


class _Chart(NamedTuple):
    name: str
    note: str
    svg: Markup


def is_admin(settings: Settings, user_name: str | None) -> bool:
    """Whether the settings name this user; a user without a verified name is never one."""
    return user_name is not None and user_name in settings.admins


class AdminRoutes:
    """The page's route.

    Args:
        settings: Name the users who may see it.
        statistics: Returns the statistics; raises `UserError` where it cannot.
    """

    def __init__(self, settings: Settings, statistics: Callable[[], Awaitable[Statistics]]) -> None:
        self._settings = settings
        self._statistics = statistics

    def routes(self) -> list[Route]:
        """Return the route, for the app's own router."""
        return [Route("/admin/statistics", endpoint(self._answer, "statistics"))]

    async def _answer(self, request: Request) -> Response:
        principal = request.scope.get(PRINCIPAL)
        name = principal.name if isinstance(principal, Principal) else None
        if not is_admin(self._settings, name):
            return JSONResponse({"detail": NOT_FOUND}, 404)
        return HTMLResponse(statistics_page(await self._statistics()))


def statistics_page(statistics: Statistics) -> str:
    """Return the statistics as one HTML document that loads nothing else."""
    return _template().render(figures=statistics, charts=list(_charts(statistics.days)))


def _charts(days: Sequence[Day]) -> Iterator[_Chart]:
    for name, counts in (
        ("Messages", [day.messages for day in days]),
        ("Tokens", [day.tokens for day in days]),
    ):
        values = [
            Bar(f"{day.day}: {count:,}", count) for day, count in zip(days, counts, strict=True)
        ]
        yield _chart(f"{name} per day", f"at most {max(counts, default=0):,}", values)
    if any(day.cost_micros for day in days):
        values = [
            Bar(f"{day.day}: {dollars(day.cost_micros)}", float(day.cost_micros)) for day in days
        ]
        highest_cost = max(day.cost_micros for day in days)
        yield _chart("Cost per day", f"at most {dollars(highest_cost)}", values)
    values = [
        Bar(f"{day.day}: {_range(day.latency_ms)}", day.latency_ms.p95, day.latency_ms.p50 or 0.0)
        for day in days
    ]
    highest = max((bar.high for bar in values if bar.high is not None), default=None)
    note = f"from the median to the 95th percentile, at most {_seconds(highest)}"
    yield _chart("Latency per day", note, values)


def _chart(name: str, note: str, values: Sequence[Bar]) -> _Chart:
    return _Chart(name, note, bars(f"{name}, {note}", values))


def _name(name: str | None) -> str:
    return shown(name, MAX_NAME)


def _count(value: int) -> str:
    return f"{value:,}"


def _range(spread: Spread) -> str:
    return "–" if spread.p50 is None else f"{_seconds(spread.p50)} to {_seconds(spread.p95)}"


def _seconds(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


@functools.cache
def _template() -> Template:
    templates = environment()
    templates.globals["share_bar"] = share_bar
    templates.filters |= {
        "count": _count,
        "dollars": dollars,
        "name": _name,
        "number": number,
        "range": _range,
        "seconds": _seconds,
    }
    return templates.get_template("statistics.html")

"""Serves the statistics and rated answers as pages to the users whom the settings name.

To everybody else there are no such pages: they get the answer that an unknown path gets.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from jinja2 import Template
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import NamesOf
from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Principal
from cmw_agent.llm.pricing import dollars
from cmw_agent.observability.statistics_text import number, shown
from cmw_agent.web.api.endpoint import endpoint
from cmw_agent.web.api.rated_page import PAGE_ANSWERS, rated_page, wanted
from cmw_agent.web.api.svg_charts import Bar, bars, environment, share_bar
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from memory.reports.rated_answers import RatedAnswer, RatedFilter
from memory.reports.statistics import Day, Spread, Statistics

MAX_NAME = 60  # characters of a site's, channel's, model's or tool's name


class _Chart(NamedTuple):
    name: str
    note: str
    svg: Markup


def is_admin(settings: Settings, names: frozenset[str] | None) -> bool:
    """Whether the settings list an account that has these names; None is nobody."""
    return names is not None and not names.isdisjoint(settings.admins)


class AdminRoutes:
    """The pages' routes.

    Args:
        settings: Name the users who may see them.
        statistics: Returns the statistics; raises `UserError` where it cannot.
        rated: Returns rated answers whose owners agreed to it; raises likewise.
        names_of: Returns the names of an account's newest sign-in, by the account's id.
    """

    def __init__(
        self,
        settings: Settings,
        statistics: Callable[[], Awaitable[Statistics]],
        rated: Callable[[RatedFilter, int], Awaitable[list[RatedAnswer]]],
        names_of: NamesOf,
    ) -> None:
        self._settings = settings
        self._statistics = statistics
        self._rated = rated
        self._names_of = names_of

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/admin/statistics", endpoint(self._show_statistics, "statistics")),
            Route("/admin/ratings", endpoint(self._show_ratings, "ratings")),
        ]

    async def _show_statistics(self, request: Request) -> Response:
        if not await self._is_admin(request):
            return JSONResponse({"detail": NOT_FOUND}, 404)
        return HTMLResponse(statistics_page(await self._statistics()))

    async def _show_ratings(self, request: Request) -> Response:
        if not await self._is_admin(request):
            return JSONResponse({"detail": NOT_FOUND}, 404)
        chosen = wanted(request.query_params)
        return HTMLResponse(rated_page(await self._rated(chosen, PAGE_ANSWERS), chosen))

    async def _is_admin(self, request: Request) -> bool:
        principal = request.scope.get(PRINCIPAL)
        names = None
        if isinstance(principal, Principal) and self._settings.admins:
            names = await self._names_of(principal.id)
        return is_admin(self._settings, names)


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

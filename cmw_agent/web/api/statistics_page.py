"""The statistics as one page, for those whom the settings name.

To everybody else there is no such page: they get the answer that an unknown path gets.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.llm.pricing import dollars
from cmw_agent.observability.statistics_text import number, shown
from cmw_agent.web.api.svg_charts import Bar, bars, lying
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from memory.reports.statistics import Day, Share, Spread, Statistics, ToolStatistics

NAME = 60  # characters of a site's, channel's, model's or tool's name
STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f4f6f5; --text: #17211d;
  --quiet: #57635e; --line: #dde3e0; --bar: #0f8f6c; }
@media (prefers-color-scheme: dark) { :root { --ground: #101413; --card: #1a211e;
  --text: #e8eeeb; --quiet: #9fada7; --line: #2c3632; --bar: #34c79a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .5rem 0 0; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: 0; color: var(--quiet); font-size: .875rem; }
.grid { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
section, .tile { background: var(--card); border-radius: .75rem; padding: 1rem; min-width: 0; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; }
.ends { display: flex; justify-content: space-between; }
svg { display: block; width: 100%; fill: var(--bar); }
.plot { height: 9rem; border-bottom: 1px solid var(--line); }
.column { fill: transparent; }
g:hover .column, .ground { fill: var(--line); }
.bar { height: .5rem; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
"""


def is_admin(settings: Settings, user_name: str | None) -> bool:
    """Whether the settings name this user; who has no verified name is nobody."""
    return user_name is not None and user_name in settings.admins


class AdminRoutes:
    """The page's route.

    Args:
        settings: Name who may see it.
        statistics: Returns the figures; raises `UserError` where it cannot.
    """

    def __init__(self, settings: Settings, statistics: Callable[[], Awaitable[Statistics]]) -> None:
        self._settings = settings
        self._statistics = statistics

    def routes(self) -> list[Route]:
        """Return the route, for the app's own router."""
        return [Route("/admin/statistics", self._answer)]

    async def _answer(self, request: Request) -> Response:
        principal = request.scope.get(PRINCIPAL)
        name = principal.name if isinstance(principal, Principal) else None
        if not is_admin(self._settings, name):
            return JSONResponse({"detail": NOT_FOUND}, 404)
        try:
            return HTMLResponse(statistics_page(await self._statistics()))
        except UserError as error:
            return JSONResponse({"detail": str(error)}, error.status)


def statistics_page(statistics: Statistics) -> str:
    """Return the figures as one HTML document that needs nothing else."""
    blocks = (
        ("grid tiles", "".join(_tiles(statistics))),
        ("grid", "".join(_plots(statistics.days))),
        (
            "grid",
            _shares("Sites", statistics.sites)
            + _shares("Channels", statistics.channels)
            + _shares("Models", statistics.models, counted="answers")
            + _tools(statistics.tools),
        ),
        ("grid", _table(statistics.days)),
    )
    body = "".join(f'<div class="{kind}">{block}</div>' for kind, block in blocks)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><title>Statistics</title>'
        f"<style>{STYLE}</style></head><body><h1>Statistics</h1>"
        f"<p>{statistics.made_at:%Y-%m-%d %H:%M} UTC. Days are days in UTC.</p>"
        f"{body}</body></html>"
    )


def _tiles(figures: Statistics) -> Iterable[str]:
    sessions, answers, each = figures.sessions, figures.answers, figures.messages.per_session
    yield _tile(
        "Conversations",
        f"{sessions.total:,}",
        f"{sessions.active:,} active, {sessions.inactive + sessions.ended:,} not",
    )
    yield _tile(
        "Messages",
        f"{figures.messages.total:,}",
        f"each: mean {number(each.mean)}, median {number(each.p50)}, 95 % {number(each.p95)}",
    )
    yield _tile("Tokens", f"{figures.tokens:,}", "of answers")
    yield _tile("Cost", dollars(figures.cost_micros), "of answers of models with a price")
    yield _tile(
        "Latency, median",
        _seconds(figures.latency_ms.p50),
        f"95 % within {_seconds(figures.latency_ms.p95)}",
    )
    yield _tile(
        "Errors",
        f"{answers.failed + answers.interrupted:,}",
        f"{answers.failed:,} failed, {answers.interrupted:,} interrupted",
    )


def _tile(name: str, figure: str, more: str) -> str:
    return f'<div class="tile">{escape(name)}<b>{escape(figure)}</b><p>{escape(more)}</p></div>'


def _plots(days: Sequence[Day]) -> Iterable[str]:
    for name, figures in (
        ("Messages", [day.messages for day in days]),
        ("Tokens", [day.tokens for day in days]),
    ):
        drawn = [
            Bar(f"{day.day}: {figure:,}", figure) for day, figure in zip(days, figures, strict=True)
        ]
        yield _plot(f"{name} per day", f"at most {max(figures, default=0):,}", drawn, days)
    if any(day.cost_micros for day in days):
        costs = [
            Bar(f"{day.day}: {dollars(day.cost_micros)}", float(day.cost_micros)) for day in days
        ]
        most = max(day.cost_micros for day in days)
        yield _plot("Cost per day", f"at most {dollars(most)}", costs, days)
    latency = [Bar(_latency(day), day.latency_ms.p95, day.latency_ms.p50 or 0.0) for day in days]
    highest = max((bar.high for bar in latency if bar.high is not None), default=None)
    note = f"from the median to the 95th percentile, at most {_seconds(highest)}"
    yield _plot("Latency per day", note, latency, days)


def _plot(name: str, note: str, drawn: Sequence[Bar], days: Sequence[Day]) -> str:
    ends = f"<p class='ends'><span>{days[0].day}</span><span>{days[-1].day}</span></p>"
    return f"<section><h2>{name}</h2><p>{note}</p>{bars(f'{name}, {note}', drawn)}{ends}</section>"


def _shares(title: str, shares: Sequence[Share], *, counted: str = "messages") -> str:
    most = max((share.messages for share in shares), default=0) or 1
    rows = "".join(
        f"<tr><td>{escape(shown(share.name, NAME))}{lying(share.messages / most)}</td>"
        f"<td>{share.sessions:,}</td><td>{share.messages:,}</td><td>{share.tokens:,}</td>"
        f"<td>{escape(dollars(share.cost_micros))}</td></tr>"
        for share in shares
    )
    head = f"<th></th><th>chats</th><th>{counted}</th><th>tokens</th><th>cost</th>"
    return _section(title, head, rows)


def _tools(tools: Sequence[ToolStatistics]) -> str:
    most = max((tool.calls for tool in tools), default=0) or 1
    rows = "".join(
        f"<tr><td>{escape(shown(tool.name, NAME))}{lying(tool.calls / most)}</td>"
        f"<td>{tool.calls:,}</td><td>{tool.errors:,}</td>"
        f"<td>{_seconds(tool.latency_ms.p50)}</td><td>{_seconds(tool.latency_ms.p95)}</td></tr>"
        for tool in tools
    )
    head = "<th></th><th>calls</th><th>errors</th><th>median</th><th>95 %</th>"
    return _section("Tools", head, rows)


def _section(title: str, head: str, rows: str) -> str:
    body = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>' if rows else "<p>–</p>"
    return f"<section><h2>{title}</h2>{body}</section>"


def _table(days: Sequence[Day]) -> str:
    names = ("day", "new chats", "messages", "tokens", "cost", "failed", "interrupted", "latency")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{day.day}</td><td>{day.sessions:,}</td><td>{day.messages:,}</td>"
        f"<td>{day.tokens:,}</td><td>{escape(dollars(day.cost_micros))}</td>"
        f"<td>{day.failed:,}</td><td>{day.interrupted:,}</td>"
        f"<td>{_pair(day.latency_ms)}</td></tr>"
        for day in reversed(days)
    )
    return (
        "<section><details><summary>All days in figures</summary>"
        f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div></details></section>'
    )


def _latency(day: Day) -> str:
    return f"{day.day}: {_pair(day.latency_ms)}"


def _pair(spread: Spread) -> str:
    return "–" if spread.p50 is None else f"{_seconds(spread.p50)} to {_seconds(spread.p95)}"


def _seconds(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds / 1000:.2f} s"

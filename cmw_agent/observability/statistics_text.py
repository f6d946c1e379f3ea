"""Statistics as text for a terminal."""

from collections.abc import Iterable

from cmw_agent.llm.pricing import dollars
from memory.reports.statistics import Day, Share, Spread, Statistics, ToolStatistics

BAR = 30  # characters of the longest bar
LABEL = 24
NO_NAME = "(none)"


def report(statistics: Statistics) -> str:
    """Return all statistics, with a bar for each day."""
    sessions, answers = statistics.sessions, statistics.answers
    by_status = f"{sessions.active} active, {sessions.inactive} inactive, {sessions.ended} ended"
    by_end = (
        f"{answers.complete} complete, {answers.failed} failed, "
        f"{answers.interrupted} interrupted, {answers.running} running"
    )
    rows = [
        ("conversations", f"{sessions.total}  ({by_status})"),
        ("messages", str(statistics.messages.total)),
        ("messages each", _spread(statistics.messages.per_session)),
        ("tokens", str(statistics.tokens)),
        ("cost", dollars(statistics.cost_micros)),
        ("answers", by_end),
        ("latency in ms", _spread(statistics.latency_ms)),
    ]
    parts = [
        f"CMW Agent on {statistics.made_at:%Y-%m-%d %H:%M} UTC",
        "\n".join(f"{name:<16}{value}" for name, value in rows),
        _days(statistics.days),
        _shares("site", statistics.sites),
        _shares("channel", statistics.channels),
        _shares("model", statistics.models),
        _tools(statistics.tools),
    ]
    return "\n\n".join(parts)


def shown(name: str | None, limit: int) -> str:
    """Return a name as it is shown: on one line, of at most `limit` characters."""
    if name is None:
        return NO_NAME
    line = "".join(char if char.isprintable() else " " for char in name)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def number(value: float | None) -> str:
    """Return a number with at most one decimal."""
    return "–" if value is None else f"{value:.1f}".removesuffix(".0")


def _spread(spread: Spread) -> str:
    return (
        f"mean {number(spread.mean)}, median {number(spread.p50)}, "
        f"95th percentile {number(spread.p95)}"
    )


def _days(days: Iterable[Day]) -> str:
    rows = list(days)
    max_messages = max((day.messages for day in rows), default=0) or 1
    head = f"{'day (UTC)':<12}{'messages':>9}{'tokens':>12}{'cost':>12}{'errors':>8}{'p95 ms':>9}"
    lines = [
        f"{day.day:%Y-%m-%d}  {day.messages:>9}{day.tokens:>12}{dollars(day.cost_micros):>12}"
        f"{day.failed + day.interrupted:>8}{number(day.latency_ms.p95):>9}"
        f"  {'█' * -(-BAR * day.messages // max_messages)}".rstrip()
        for day in rows
    ]
    return "\n".join([head, *lines])


def _shares(kind: str, shares: Iterable[Share]) -> str:
    head = f"{kind:<{LABEL}}{'conversations':>15}{'messages':>10}{'tokens':>12}{'cost':>12}"
    lines = [
        f"{shown(share.name, LABEL - 1):<{LABEL}}{share.sessions:>15}{share.messages:>10}"
        f"{share.tokens:>12}{dollars(share.cost_micros):>12}"
        for share in shares
    ]
    return "\n".join([head, *(lines or ["–"])])


def _tools(tools: Iterable[ToolStatistics]) -> str:
    head = f"{'tool':<{LABEL}}{'calls':>15}{'errors':>10}{'median ms':>12}{'p95 ms':>12}"
    lines = [
        f"{shown(tool.name, LABEL - 1):<{LABEL}}{tool.calls:>15}{tool.errors:>10}"
        f"{number(tool.latency_ms.p50):>12}{number(tool.latency_ms.p95):>12}"
        for tool in tools
    ]
    return "\n".join([head, *(lines or ["–"])])

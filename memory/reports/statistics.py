"""Records of the statistics of a deployment: sums over all owners."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 95th percentile of some values; None without values."""

    mean: float | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Sessions:
    """How many conversations there are, by status."""

    total: int
    active: int
    inactive: int
    ended: int


@dataclass(frozen=True, slots=True)
class Messages:
    """How many messages there are. Replaced ones do not count."""

    total: int
    per_session: Spread


@dataclass(frozen=True, slots=True)
class Answers:
    """How answers ended, replaced ones included."""

    complete: int
    failed: int
    interrupted: int
    running: int


@dataclass(frozen=True, slots=True)
class Day:
    """One day in UTC."""

    day: date
    sessions: int
    messages: int
    tokens: int
    failed: int
    interrupted: int
    latency_ms: Spread
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one site, channel or model; `name` is None where it is unknown.

    `messages` counts the messages of a site or channel, and the answers of a model.
    """

    name: str | None
    sessions: int
    messages: int
    tokens: int
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class ToolStatistics:
    """How a tool was used; `latency_ms` is of all its calls, those that failed too."""

    name: str
    calls: int
    errors: int
    latency_ms: Spread


@dataclass(frozen=True, slots=True)
class Statistics:
    """All statistics at one moment. Deleted conversations count nowhere.

    `tokens`, `cost_micros` (millionths of a dollar, of models with a price), `latency_ms` and
    `tools` are of answers, replaced ones included: they cost all the same.
    `days` are the last thirty, the oldest first, without gaps; shares come largest first.
    """

    made_at: datetime
    sessions: Sessions
    messages: Messages
    tokens: int
    cost_micros: int
    latency_ms: Spread
    answers: Answers
    days: tuple[Day, ...]
    sites: tuple[Share, ...]
    channels: tuple[Share, ...]
    models: tuple[Share, ...]
    tools: tuple[ToolStatistics, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values, with times in ISO 8601."""
        values = asdict(self)
        values["made_at"] = self.made_at.isoformat()
        for day, row in zip(self.days, values["days"], strict=True):
            row["day"] = day.day.isoformat()
        return values

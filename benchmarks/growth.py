"""``python -m benchmarks.growth``: plans the capacity that a number of users needs.

Simulates the busiest hour of a day second by second, and compares its demand with the measured
capacity of one replica, one database, one proxy and one Redis. Each figure can be set on the
command line: ``--turns 3 --answer-tokens 800``.
"""

import argparse
import dataclasses
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

HOUR, DAY = 3600, 86_400
QUANTILE = 0.999  # of the seconds of the busiest hour whose demand must be met
NORMAL_FROM = 500  # mean above which the normal distribution replaces the Poisson distribution
USERS = (10_000, 1_000_000, 100_000_000)


def figure(default: float, text: str) -> float:
    """Declare a figure that the command line may set; `text` is its help."""
    return dataclasses.field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Figures:
    """The behaviour of users, and the measured demand of a turn and capacity of a machine."""

    turns: float = figure(10, "turns of a user in a day")
    active: float = figure(0.3, "share of the users who come on a day")
    question_tokens: float = figure(20, "tokens of a question")
    answer_tokens: float = figure(300, "tokens of an answer")
    token_rate: float = figure(40, "tokens a second of the model")
    busy_share: float = figure(0.1, "share of a day's turns in its busiest hour")
    open_minutes: float = figure(20, "minutes that a page stays open in a visit")
    turn_cpu: float = figure(0.018, "CPU seconds of a replica for a turn beside its tokens")
    visit_cpu: float = figure(0.0035, "CPU seconds of a replica for opening a page")
    token_cpu: float = figure(0.026, "CPU seconds of a replica for 1,000 tokens")
    proxy_cpu: float = figure(0.011, "CPU seconds of the proxy for 1,000 tokens")
    base_mb: float = figure(235, "megabytes of an empty replica")
    session_kb: float = figure(36, "kilobytes of a live session")
    replica_gb: float = figure(2, "gigabytes of memory of a replica")
    load: float = figure(0.6, "share of a core that a replica may use in the busiest second")
    commits: float = figure(2.8, "commits of a turn")
    commits_per_second: float = figure(5000, "commits a second of one database")
    database_cpu: float = figure(0.005, "CPU seconds of the database for a turn")
    database_cores: float = figure(16, "cores of the database's machine")
    turn_bytes: float = figure(1125, "bytes that a turn adds to the database beside its tokens")
    token_bytes: float = figure(32.5, "bytes of a token of a question or answer in the database")
    database_tb: float = figure(4, "terabytes that one database is to hold")
    kept_days: float = figure(365, "days that messages are kept")
    connections: float = figure(15, "database connections of a replica")
    database_connections: float = figure(400, "connections that the database takes by itself")
    redis_commands: float = figure(5, "Redis commands of a turn")
    redis_per_second: float = figure(80_000, "commands a second of one Redis")
    proxy_connections: float = figure(50_000, "connections of one proxy")
    page_connections: float = figure(2, "connections of an open page")
    upstream_tokens: float = figure(1_000_000, "tokens a second that the model's endpoint gives")

    @property
    def stored(self) -> float:
        """The bytes that a turn adds to the database."""
        return self.turn_bytes + (self.question_tokens + self.answer_tokens) * self.token_bytes


@dataclass(frozen=True, slots=True)
class Peak:
    """The demand of the busiest seconds of a day (their `QUANTILE`)."""

    turns: float  # that begin in the second
    streams: float  # that run in it
    pages: float  # that are open


@dataclass(frozen=True, slots=True)
class Limit:
    """One limited resource: its name, how many units of the measured capacity are needed, a remedy."""

    name: str
    units: float
    remedy: str


def poisson(rng: random.Random, mean: float) -> float:
    """Return a random number of the Poisson distribution with this mean (Knuth's algorithm)."""
    if mean > NORMAL_FROM:
        return max(0.0, round(rng.gauss(mean, math.sqrt(mean))))
    number, threshold = 0, math.exp(-mean)
    product = rng.random()
    while product > threshold:
        number, product = number + 1, product * rng.random()
    return float(number)


def simulate(users: float, figures: Figures, seed: int = 1) -> Peak:
    """Return the demand of the busiest seconds of a day.

    Turns begin independently of each other in the busiest hour, and an answer lasts as long as its
    tokens take: the running ones are those that began within that time (an M/G/infinity queue).

    Args:
        users: The number of users.
        figures: Their behaviour.
        seed: Of the random numbers.
    """
    rng = random.Random(seed)
    mean = users * figures.active * figures.turns * figures.busy_share / HOUR
    seconds = max(1, round(figures.answer_tokens / figures.token_rate))
    starts = [poisson(rng, mean) for _ in range(HOUR)]
    sums = [0.0, *accumulate(starts)]
    streams = [sums[at] - sums[max(0, at - seconds)] for at in range(1, HOUR + 1)]
    visits = users * figures.active * figures.busy_share / HOUR
    pages = poisson(rng, visits * figures.open_minutes * 60)
    return Peak(_quantile(starts), _quantile(streams), pages)


def _quantile(values: list[float]) -> float:
    return sorted(values)[math.ceil(QUANTILE * len(values)) - 1]


def limits(peak: Peak, users: float, figures: Figures) -> Iterator[Limit]:
    """Yield the units of each limited resource that the users need."""
    tokens = peak.streams * figures.token_rate
    visits = users * figures.active * figures.busy_share / HOUR
    cpu = peak.turns * figures.turn_cpu + tokens / 1000 * figures.token_cpu
    cpu += visits * figures.visit_cpu
    session_memory_kb = figures.replica_gb * 1e6 - figures.base_mb * 1e3
    by_cpu, by_memory = cpu / figures.load, peak.pages * figures.session_kb / session_memory_kb
    replicas = max(by_cpu, by_memory)
    stored = users * figures.active * figures.turns * figures.stored * figures.kept_days
    yield Limit("CPU of one replica", by_cpu, "more replicas behind the proxy")
    yield Limit("memory of one replica", by_memory, "more replicas, or more memory each")
    yield Limit(
        "connections of the database",
        math.ceil(replicas) * figures.connections / figures.database_connections,
        "a pooler (PgBouncer) before the database",
    )
    yield Limit(
        "commits of one database",
        peak.turns * figures.commits / figures.commits_per_second,
        "several databases, owners spread over them",
    )
    yield Limit(
        "CPU of one database",
        peak.turns * figures.database_cpu / figures.database_cores,
        "read replicas for lists and search, then several databases",
    )
    yield Limit(
        "size of one database",
        stored / (figures.database_tb * 1e12),
        "messages kept for fewer days, then several databases, owners spread over them",
    )
    yield Limit(
        "commands of one Redis",
        peak.turns * figures.redis_commands / figures.redis_per_second,
        "a cluster: keys hold their owner",
    )
    yield Limit(
        "connections of one proxy",
        peak.pages * figures.page_connections / figures.proxy_connections,
        "several proxies behind DNS or a load balancer",
    )
    yield Limit(
        "CPU of one proxy core", tokens / 1000 * figures.proxy_cpu, "more cores, more proxies"
    )
    yield Limit(
        "tokens of the model's endpoint",
        tokens / figures.upstream_tokens,
        "more quota, several endpoints",
    )


def report(users: float, figures: Figures) -> str:
    """Return the needs of the users as Markdown, the scarcest resource first."""
    peak = simulate(users, figures)
    rows = users * figures.active * figures.turns
    busiest = (
        f"Busiest second: {peak.turns:,.0f} turns begin, {peak.streams:,.0f} answers are written "
        f"({peak.streams * figures.token_rate:,.0f} tokens/s), {peak.pages:,.0f} pages are open. "
        f"A day brings {rows * 3:,.0f} rows and {rows * figures.stored / 1e9:,.1f} GB."
    )
    lines = [
        f"### {users:,.0f} users",
        "",
        busiest,
        "",
        "| what runs out | units needed | what changes |",
        "|---|---|---|",
    ]
    by_need = sorted(limits(peak, users, figures), key=lambda limit: -limit.units)
    lines += [
        f"| {limit.name} | {limit.units:,.2f} | {limit.remedy if limit.units > 1 else 'enough'} |"
        for limit in by_need
    ]
    return "\n".join(lines)


def order(figures: Figures) -> str:
    """Return the number of users at which each limit is reached, as Markdown, the lowest first."""
    users = 1_000_000.0
    units_by_name = {
        limit.name: limit.units for limit in limits(simulate(users, figures), users, figures)
    }
    reached = sorted((users / units, name) for name, units in units_by_name.items() if units)
    lines = ["| reached at about | limit |", "|---|---|"]
    return "\n".join([*lines, *(f"| {at:,.0f} users | {name} |" for at, name in reached)])


def main() -> None:
    """Print the order of the limits, and the plan for some numbers of users."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--users", help="numbers of users, comma-separated")
    for field in dataclasses.fields(Figures):
        text = f"{field.metadata['text']} (%(default)s)"
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=float, default=field.default, help=text)
    arguments = vars(parser.parse_args())
    numbers = arguments.pop("users")
    figures = Figures(**arguments)
    counts = [float(part) for part in numbers.split(",")] if numbers else list(USERS)
    print(order(figures), *(report(users, figures) for users in counts), sep="\n\n")


if __name__ == "__main__":
    main()

"""``python -m benchmarks.growth``: from what one turn costs to what so many users need.

Simulates the busiest hour of a day second by second, and sets what it asks for against what one
replica, one database, one proxy and one Redis gave when they were measured. Each figure can be
given on the command line, so that others see their own case: ``--turns 3 --answer-tokens 800``.
"""

import argparse
import dataclasses
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

HOUR, DAY = 3600, 86_400
SURE = 0.999  # of the seconds of the busiest hour must have room
NORMAL_FROM = 500  # mean from which a Poisson number is drawn as a normal one
USERS = (10_000, 1_000_000, 100_000_000)


def figure(default: float, text: str) -> float:
    """Declare a figure that the command line may change."""
    return dataclasses.field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Figures:
    """What users do, and what one turn and one machine were measured to take and to give."""

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
    base_mb: float = figure(280, "megabytes of an empty replica")
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
        """Bytes that a turn adds to the database."""
        return self.turn_bytes + (self.question_tokens + self.answer_tokens) * self.token_bytes


@dataclass(frozen=True, slots=True)
class Peak:
    """What the busiest second of a day asks for (all but one in a thousand ask for less)."""

    turns: float  # that begin in the second
    streams: float  # that run in it
    pages: float  # that are open


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that runs out. `units` of it are needed, where one gives what was measured."""

    name: str
    units: float
    remedy: str


def drawn(chance: random.Random, mean: float) -> float:
    """Return a Poisson number of this mean."""
    if mean > NORMAL_FROM:
        return max(0.0, round(chance.gauss(mean, math.sqrt(mean))))
    number, left = 0, math.exp(-mean)
    product = chance.random()
    while product > left:
        number, product = number + 1, product * chance.random()
    return float(number)


def simulate(users: float, figures: Figures, seed: int = 1) -> Peak:
    """Return the busiest second of a day of so many users.

    Turns begin independently of each other in the busiest hour, and an answer lasts as long as
    its tokens take: the number that run is what began within that time (an M/G/infinity queue).
    """
    chance = random.Random(seed)
    mean = users * figures.active * figures.turns * figures.busy_share / HOUR
    lasts = max(1, round(figures.answer_tokens / figures.token_rate))
    began = [drawn(chance, mean) for _ in range(HOUR)]
    sums = [0.0, *accumulate(began)]
    streams = [sums[at] - sums[max(0, at - lasts)] for at in range(1, HOUR + 1)]
    visits = users * figures.active * figures.busy_share / HOUR
    pages = drawn(chance, visits * figures.open_minutes * 60)
    return Peak(_sure(began), _sure(streams), pages)


def _sure(values: list[float]) -> float:
    return sorted(values)[math.ceil(SURE * len(values)) - 1]


def limits(peak: Peak, users: float, figures: Figures) -> Iterator[Limit]:
    """Yield what so many users need of everything that can run out."""
    tokens = peak.streams * figures.token_rate
    visits = users * figures.active * figures.busy_share / HOUR
    cpu = peak.turns * figures.turn_cpu + tokens / 1000 * figures.token_cpu
    cpu += visits * figures.visit_cpu
    room = figures.replica_gb * 1e6 - figures.base_mb * 1e3
    by_cpu, by_memory = cpu / figures.load, peak.pages * figures.session_kb / room
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
    """Return what so many users need, as Markdown; what runs out first stands on top."""
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
    found = sorted(limits(peak, users, figures), key=lambda limit: -limit.units)
    lines += [
        f"| {limit.name} | {limit.units:,.2f} | {limit.remedy if limit.units > 1 else 'enough'} |"
        for limit in found
    ]
    return "\n".join(lines)


def order(figures: Figures) -> str:
    """Return at how many users each limit is reached, the first one on top."""
    users = 1_000_000.0
    found = {limit.name: limit.units for limit in limits(simulate(users, figures), users, figures)}
    reached = sorted((users / units, name) for name, units in found.items() if units)
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
    given = vars(parser.parse_args())
    numbers = given.pop("users")
    figures = Figures(**given)
    wanted = [float(part) for part in numbers.split(",")] if numbers else list(USERS)
    print(order(figures), *(report(users, figures) for users in wanted), sep="\n\n")


if __name__ == "__main__":
    main()

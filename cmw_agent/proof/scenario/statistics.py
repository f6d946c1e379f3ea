"""Means of a scenario's runs, with 95 % confidence intervals, and whether two differ by chance."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cmw_agent.proof.scenario.conversation import Run

Z = 1.959964  # of the normal distribution, for 95 %
MAX_K = 8  # trials that are to pass together


@dataclass(frozen=True, slots=True)
class PassK:
    """The chance that all of k trials of a task pass, as a mean over tasks.

    Attributes:
        value: The mean, 0 to 1.
        error: Half the width of its interval; None with one task.
    """

    value: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A combination's figures.

    Attributes:
        cell: The combination.
        runs: How many there were.
        passed: How many of them passed.
        low: The lower end of the share's interval (Wilson's).
        high: The upper end.
        seconds: Mean seconds of an answer.
        seconds_error: Half the width of its interval.
        tokens: Mean tokens of an answer.
        cost: Mean dollars of an answer; None where no answer's is known.
        p: The chance that the share differs so much from the first row's by luck alone (Fisher's
            exact test, both sides); None for the first row.
        pass_k: The chance that all of 1, 2, … trials of a task pass, as far as each task has
            trials; at most `MAX_K`.
    """

    cell: str
    runs: int
    passed: int
    low: float
    high: float
    seconds: float
    seconds_error: float
    tokens: float
    cost: float | None
    p: float | None
    pass_k: tuple[PassK, ...]

    @property
    def share(self) -> float:
        """The share of runs that passed."""
        return self.passed / self.runs


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Return the figures of each combination, in the order of the runs."""
    by_cell: dict[str, list[Run]] = {}
    for run in runs:
        by_cell.setdefault(run.cell, []).append(run)
    rows: list[Row] = []
    for cell, some in by_cell.items():
        passed = sum(run.passed for run in some)
        answers = [answer for run in some for answer in run.answers]
        times = [answer.seconds for answer in answers]
        costs = [answer.cost for answer in answers if answer.cost is not None]
        low, high = wilson(passed, len(some))
        first = rows[0] if rows else None
        rows.append(
            Row(
                cell,
                len(some),
                passed,
                low,
                high,
                statistics.fmean(times),
                _half_width(times),
                statistics.fmean(answer.tokens for answer in answers),
                statistics.fmean(costs) if costs else None,
                None if first is None else fisher(first.passed, first.runs, passed, len(some)),
                pass_k_of(some),
            )
        )
    return rows


def pass_k_of(runs: Sequence[Run]) -> tuple[PassK, ...]:
    """Return pass^1, pass^2, … of a combination (Yao et al. 2024, https://arxiv.org/abs/2406.12045).

    Runs with the same values are trials of one task. Where c of its n trials passed, all of k pass
    with a chance of C(c, k) / C(n, k), without bias.

    Args:
        runs: The runs of the combination; at least one.
    """
    tasks: dict[tuple[tuple[str, str], ...], list[bool]] = {}
    for run in runs:
        tasks.setdefault(tuple(run.values.items()), []).append(run.passed)
    found = []
    for k in range(1, min(MAX_K, *map(len, tasks.values())) + 1):
        chances = [math.comb(sum(each), k) / math.comb(len(each), k) for each in tasks.values()]
        error = _half_width(chances) if len(chances) > 1 else None
        found.append(PassK(statistics.fmean(chances), error))
    return tuple(found)


def wilson(passed: int, runs: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    share, square = passed / runs, Z * Z
    centre = (share + square / (2 * runs)) / (1 + square / runs)
    half = (
        Z / (1 + square / runs) * math.sqrt(share * (1 - share) / runs + square / (4 * runs * runs))
    )
    return max(0.0, centre - half), min(1.0, centre + half)


def fisher(passed: int, runs: int, other_passed: int, other_runs: int) -> float:
    """Return the p-value of Fisher's exact test, both sides, of two shares."""
    total, successes = runs + other_runs, passed + other_passed

    def chance(count: int) -> float:
        ways = math.comb(successes, count) * math.comb(total - successes, runs - count)
        return ways / math.comb(total, runs)

    seen = chance(passed)
    least, most = max(0, runs - (total - successes)), min(runs, successes)
    likely = (chance(count) for count in range(least, most + 1))
    return min(1.0, sum(each for each in likely if each <= seen * (1 + 1e-9)))


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    return Z * statistics.stdev(values) / math.sqrt(len(values))

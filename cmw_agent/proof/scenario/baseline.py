"""Compares the runs of a scenario with those of an earlier report."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario.statistics import Row, fisher

LEVEL = 0.05


def read_baseline(path: Path, cells: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return how many runs of each combination passed in a report, and how many there were.

    Args:
        path: Its ``runs.jsonl``.
        cells: The names of the combinations that are to be compared.

    Raises:
        StartupError: It cannot be read, a line is no run, or it has none of the combinations.
    """
    counts: dict[str, tuple[int, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} cannot be read ({type(error).__name__})") from error
    for number, line in enumerate(lines, start=1):
        try:
            run = json.loads(line)
            cell, has_passed = str(run["cell"]), run["passed"] is True
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StartupError(f"{path}, line {number}: no run of a scenario") from error
        passed, runs = counts.get(cell, (0, 0))
        counts[cell] = (passed + has_passed, runs + 1)
    if not counts.keys() & set(cells):
        raise StartupError(f"{path} has none of these combinations: {', '.join(cells)}")
    return counts


def regressions(rows: Sequence[Row], baseline: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the combinations that pass less often than before, and not by chance: a sentence each."""
    worse = []
    for row in rows:
        passed, runs = baseline.get(row.cell, (0, 0))
        if not runs or row.share >= passed / runs:
            continue
        if (p := fisher(passed, runs, row.passed, row.runs)) < LEVEL:
            before = f"{passed / runs:.0%} before, {row.share:.0%} now (p {p:.3f})"
            worse.append(f"regression: {row.cell} passed {before}")
    return worse

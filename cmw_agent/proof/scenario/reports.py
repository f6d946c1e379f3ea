"""A scenario's runs as a table, as JSON Lines and as one page of HTML."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario import promptfoo
from cmw_agent.proof.scenario.conversation import Run
from cmw_agent.proof.scenario.definition import Scenario
from cmw_agent.proof.scenario.samples import inspect_lines, openai_lines
from cmw_agent.proof.scenario.statistics import Row

TEMPLATE = Path(__file__).parent / "templates" / "scenario.html"
HEAD = ("", "runs", "passed", "95 % interval", "seconds", "tokens", "dollars", "p")
MAX_REASONS = 10


def table(rows: Sequence[Row]) -> str:
    """Return the figures as tables for a terminal; the second one is of trials of the same task."""
    tables = [(HEAD, *map(_columns, rows)), _pass_k_lines(rows)]
    return "\n\n".join(_aligned(lines) for lines in tables if lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def reasons(runs: Sequence[Run]) -> list[str]:
    """Return why runs failed, each reason with how often, the most frequent first."""
    counts: dict[str, int] = {}
    for run in runs:
        for number, answer in enumerate(run.answers, start=1):
            found = [answer.error] if answer.error is not None else answer.failures
            for reason in found:
                text = f"{run.cell}, message {number}: {reason}"
                counts[text] = counts.get(text, 0) + 1
    sorted_counts = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{count} × {text}" for text, count in sorted_counts[:MAX_REASONS]]
    more = len(sorted_counts) - len(shown)
    return [*shown, *([f"… and {more} more reasons"] if more else [])]


def write_reports(
    scenario: Scenario, runs: Sequence[Run], rows: Sequence[Row], folder: Path
) -> Path:
    """Write ``runs.jsonl`` and ``report.html`` into a folder; return the page's path.

    Raises:
        StartupError: They cannot be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        scenario=scenario, runs=runs, tables=[(HEAD, *map(_columns, rows)), _pass_k_lines(rows)]
    )
    lines = "".join(
        json.dumps({"scenario": scenario.scenario, "passed": run.passed, **asdict(run)}) + "\n"
        for run in runs
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "runs.jsonl").write_text(lines, encoding="utf-8")
        (folder / "report.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise StartupError(
            f"the report cannot be written to {folder} ({error.strerror})"
        ) from error
    return folder / "report.html"


def write_export(form: str, scenario: Scenario, runs: Sequence[Run], folder: Path) -> Path:
    """Write the runs in the shape of another tool into a folder; return the file's path.

    Args:
        form: ``inspect``, ``promptfoo`` or ``openai``.
        scenario: What was said and expected.
        runs: What came of it.
        folder: The folder.

    Raises:
        StartupError: It cannot be written.
    """
    if form == "promptfoo":
        path, text = folder / "promptfoo.yaml", promptfoo.written(scenario)
    else:
        lines = inspect_lines if form == "inspect" else openai_lines
        path = folder / f"{form}.jsonl"
        text = "".join(f"{line}\n" for line in lines(scenario, runs))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _columns(row: Row) -> tuple[str, ...]:
    return (
        row.cell,
        str(row.runs),
        f"{row.share:.0%}",
        f"{row.low:.0%} to {row.high:.0%}",
        f"{row.seconds:.2f} ± {row.seconds_error:.2f}",
        f"{row.tokens:.0f}",
        "" if row.cost is None else f"{row.cost:.6f}",
        "" if row.p is None else f"{row.p:.3f}",
    )


def _pass_k_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return pass^k of each row below a head; nothing where no task has two trials."""
    most = max(len(row.pass_k) for row in rows)
    if most < 2:
        return []
    lines = [("", *(f"pass^{k}" for k in range(1, most + 1)))]
    for row in rows:
        shown = [
            f"{each.value:.3f}" + ("" if each.error is None else f" ± {each.error:.3f}")
            for each in row.pass_k
        ]
        lines.append((row.cell, *shown, *[""] * (most - len(shown))))
    return lines

"""``cmw-agent scenario FILE``: what scripted users get from an agent, as a table."""

import argparse
import asyncio
import sys
from pathlib import Path

from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.observability import log_config
from cmw_agent.proof.scenario.baseline import read_baseline, regressions
from cmw_agent.proof.scenario.cells import cells_of
from cmw_agent.proof.scenario.conversation import Run
from cmw_agent.proof.scenario.definition import Scenario
from cmw_agent.proof.scenario.promptfoo import unsupported_kinds
from cmw_agent.proof.scenario.reading import read_scenario
from cmw_agent.proof.scenario.reports import reasons, table, write_export, write_reports
from cmw_agent.proof.scenario.runner import run_scenario
from cmw_agent.proof.scenario.statistics import rows_of

INTERRUPTED = 130


def scenario(chosen: argparse.Namespace, env_file: Path | None) -> tuple[int, str]:
    """Run a scenario as the command line says; return the exit code and the table.

    Raises:
        StartupError: The file, an agent or the settings do not allow it.
    """
    settings = load_settings(env_file)
    log_config.configure("ERROR", settings.log_format)
    return measured(chosen, settings)


def measured(chosen: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    """Run a scenario with these settings; return the exit code and the table.

    Raises:
        StartupError: The file, an agent or the settings do not allow it.
    """
    wanted = read_scenario(chosen.file)
    cells, folder = cells_of(wanted), chosen.file.parent
    before = None
    if chosen.baseline is not None:
        before = read_baseline(chosen.baseline, [cell.name for cell in cells])
    runs: list[Run] = []
    is_whole = True
    try:
        asyncio.run(run_scenario(wanted, cells, settings, _tell, runs, files=folder))
    except KeyboardInterrupt:
        is_whole = False
    if not runs:
        return INTERRUPTED, "interrupted before the first runs were over"
    rows = rows_of(runs)
    page = write_reports(wanted, runs, rows, chosen.report)
    worse = regressions(rows, before) if before is not None else []
    lines = [table(rows), *worse, *reasons(runs), *_exported(chosen, wanted, runs)]
    lines.append(
        f"the report is {page}" if is_whole else f"interrupted; what was over is in {page}"
    )
    least = chosen.pass_rate if chosen.pass_rate is not None else float(before is None)
    has_failed = bool(worse) or any(row.share < least for row in rows)
    return int(has_failed) if is_whole else INTERRUPTED, "\n".join(lines)


def _exported(chosen: argparse.Namespace, wanted: Scenario, runs: list[Run]) -> list[str]:
    if chosen.export is None:
        return []
    path = write_export(chosen.export, wanted, runs, chosen.report)
    missing = unsupported_kinds(wanted) if chosen.export == "promptfoo" else ()
    return [f"exported to {path}" + (f", without {', '.join(missing)}" if missing else "")]


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")

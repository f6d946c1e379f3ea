"""``cmw-agent replay PATH``: recorded turns once more, without a network or with one thing changed."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.core.errors import StartupError
from cmw_agent.observability import log_config
from cmw_agent.proof.replay.cassette import Cassette, CassetteError, files_of, read_cassette
from cmw_agent.proof.replay.changes import Change, ask_anew, own_runner
from cmw_agent.proof.replay.reports import changed_lines, same_lines, write_reports
from cmw_agent.proof.replay.runner import Replayed, replay


def replay_command(chosen: argparse.Namespace, env_file: Path | None) -> tuple[int, str]:
    """Replay as the command line says; return the exit code and what to write.

    Returns:
        0 where all turns came as recorded, or with a change as a whole answer; 1 where one did not,
        or a cassette could not be read: what came of the others stands in the report.

    Raises:
        StartupError: No cassette could be read, or settings or agents do not allow it.
    """
    cassettes, faults = _read(files_of(chosen.path))
    settings = load_settings(env_file)
    log_config.configure("CRITICAL", settings.log_format)
    change = _change(chosen, cassettes)
    if change.is_any:
        results = asyncio.run(ask_anew(cassettes, settings, change))
        lines = changed_lines(results, change.text)
        is_well = all(each.error is None for each in results)
    else:
        results = asyncio.run(_replayed(cassettes, settings, chosen))
        lines = same_lines(results, chosen.times)
        is_well = all(each.is_same for each in results)
    page = write_reports(results, faults, change.text, chosen.report)
    text = "\n".join([*lines, *faults, f"the report is {page}"])
    return int(not is_well or bool(faults)), text


def _read(paths: Sequence[Path]) -> tuple[list[Cassette], list[str]]:
    """Return the cassettes that can be read, and what is wrong with the others."""
    cassettes, faults = [], []
    for path in paths:
        try:
            cassettes.append(read_cassette(path))
        except CassetteError as error:
            faults.append(str(error))
    if not cassettes:
        raise StartupError("\n".join(faults))
    return cassettes, faults


def _change(chosen: argparse.Namespace, cassettes: Sequence[Cassette]) -> Change:
    prompt: str | None = chosen.prompt
    if prompt is not None and prompt.startswith("@"):
        try:
            prompt = Path(prompt[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"{prompt[1:]} cannot be read ({type(error).__name__})") from error
    change = Change(chosen.model, prompt, chosen.agent, chosen.tools, chosen.stubs)
    # What answers by itself is replaced without asking models: their answers are recorded.
    is_own = not any(each.header["uses_model"] for each in cassettes)
    without_agent = replace(change, agent=None)
    return without_agent if is_own and not without_agent.is_any else change


async def _replayed(
    cassettes: Sequence[Cassette], settings: Settings, chosen: argparse.Namespace
) -> list[Replayed]:
    """Replay the turns of each process together, as often as the command line says."""
    runners = {}
    for each in cassettes:
        if (runner := own_runner(each, chosen.agent)) is not None:
            runners[each.header["agent"]] = runner

    def process(cassette: Cassette) -> str:
        name: str = cassette.header["process"]
        return name

    results: list[Replayed] = []
    for _, group in groupby(sorted(cassettes, key=process), key=process):
        turns = list(group)
        for _ in range(chosen.times):
            results += await replay(
                turns, settings, runners, is_timed=chosen.timed, seed=chosen.seed
            )
    return results

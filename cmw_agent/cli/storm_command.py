"""``cmw-agent storm URL``: whether a running chat keeps its users apart."""

import argparse
import asyncio
import contextlib
import sys
from typing import TextIO

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.storm.reports import write_reports
from cmw_agent.proof.storm.run import Bounds, run
from cmw_agent.proof.storm.targets import Target
from cmw_agent.proof.storm.visitors import Plan

SHOWN = 20  # reasons
WIDTH = 100


class _Progress:
    """Writes what happens: over one line of a terminal, as lines elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def __call__(self, text: str) -> None:
        line = f"\r{text[:WIDTH]:<{WIDTH}}" if self._is_terminal else f"{text}\n"
        self._stream.write(line)
        self._stream.flush()

    def end(self) -> None:
        """Leave the line free for the verdict."""
        if self._is_terminal:
            self._stream.write(f"\r{'':<{WIDTH}}\r")


def storm(chosen: argparse.Namespace) -> tuple[int, str]:
    """Storm a target as the command line says; return the exit code and the verdict.

    Raises:
        StartupError: An option, or the target, does not allow it.
    """
    target = Target(
        chosen.url,
        kind=chosen.kind,
        endpoint=chosen.endpoint,
        model=chosen.model,
        description=chosen.description,
        keys=tuple(chosen.key),
        headers=tuple(_header(text) for text in chosen.header),
        allowed=chosen.i_am_allowed,
        patience=chosen.patience,
    )
    progress = _Progress(sys.stderr)
    plan = Plan(chosen.users, chosen.turns, chosen.seed)
    bounds = Bounds(chosen.requests, chosen.seconds)
    with contextlib.closing(_Ending(progress)):
        result = asyncio.run(run(target, plan, bounds, progress))
    paths = write_reports(result, chosen.report)
    verdict, planted = result.verdict, result.planted
    reasons = [f"  {reason}" for reason in verdict.reasons[:SHOWN]]
    more = len(verdict.reasons) - SHOWN
    lines = [
        (
            f"{sum(planted.values())} of {len(planted)} controls were told apart; "
            f"{result.budget.sent} requests, {result.budget.received:,} bytes read"
        ),
        f"{verdict.outcome}: {chosen.url}, by {', '.join(result.channels)}",
        *reasons,
        *([f"  … and {more} more"] if more > 0 else []),
        f"the report is {paths[0]}",
    ]
    return verdict.code, "\n".join(lines)


class _Ending:
    def __init__(self, progress: _Progress) -> None:
        self.close = progress.end


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise StartupError(f"--header must be 'Name: value', not {text!r}")
    return name.strip(), value.strip()

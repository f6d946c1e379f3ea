"""The options of ``cmw-agent replay``."""

import argparse
from pathlib import Path


def add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    replay = commands.add_parser(
        "replay", help="run recorded turns once more, without a network", allow_abbrev=False
    )
    add = replay.add_argument
    add("path", type=Path, metavar="PATH", help="a cassette, or a folder of CMW_RECORD")
    add("--timed", action="store_true", help="at the recorded speed; at once without it")
    add("--seed", type=int, help="another order of the users' events, by a seed")
    add("--times", type=_times, default=1, help="how often (1)")
    add("--model", metavar="ID", help="ask this model of the settings instead")
    add("--prompt", metavar="TEXT", help="with another system prompt; @FILE reads one")
    add("--agent", metavar="ID", help="with another agent: of agents.toml, or MODULE:NAME")
    add("--tools", choices=("cassette", "stub", "model"), default="cassette", help="who answers")
    add("--stubs", type=Path, metavar="FILE", help="a JSON object of texts, by tools' names")
    add("--report", type=Path, default=Path("replay-report"), help="a folder (replay-report)")


def _times(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number

"""The options of ``cmw-agent storm`` and ``cmw-agent scenario``."""

import argparse
from collections.abc import Callable
from pathlib import Path


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return number

    return read


def add_storm(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    storm_ = commands.add_parser(
        "storm", help="look whether a running chat keeps its users apart", allow_abbrev=False
    )
    add = storm_.add_argument
    add("url", metavar="URL", help="the chat's address, such as http://127.0.0.1:7860")
    add("--kind", choices=("auto", "gradio", "chainlit", "openai", "rest"), default="auto")
    add("--endpoint", metavar="NAME", help="the Gradio endpoint that takes a message")
    add("--model", metavar="NAME", help="the model, or agent, that requests name")
    add("--description", type=Path, metavar="FILE", help="a TOML file that describes a REST chat")
    add("--key", action="append", default=[], help="an API key, or NAME:PASSWORD; dealt to users")
    add("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent by everybody")
    add("--users", type=_count(2, 200), default=6, help="users at once (6)")
    add("--turns", type=_count(1, 50), default=3, help="messages with a code, of each user (3)")
    add("--seed", type=int, default=0, help="chooses who reloads, stops and uploads (0)")
    add("--requests", type=_count(1, 1_000_000), default=5_000, help="at most so many (5000)")
    add("--seconds", type=float, default=300.0, help="at most so long (300)")
    add("--patience", type=float, default=30.0, help="seconds that one answer may take (30)")
    add("--report", type=Path, default=Path("storm-report"), help="a folder (storm-report)")
    add("--i-am-allowed", action="store_true", help="storm a host that is not this machine")


def add_scenario(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    scenario = commands.add_parser(
        "scenario", help="let scripted users talk to an agent, and measure it", allow_abbrev=False
    )
    add = scenario.add_argument
    add(
        "file",
        type=Path,
        metavar="FILE",
        help="a scenario in YAML, tests of promptfoo, or samples (.jsonl)",
    )
    add("--report", type=Path, default=Path("scenario-report"), help="a folder (scenario-report)")
    add(
        "--pass-rate",
        type=_share,
        help="the share of runs that must pass (1, or 0 with a baseline)",
    )
    add(
        "--baseline",
        type=Path,
        metavar="RUNS",
        help="runs.jsonl of an earlier report: fail where fewer pass now, and not by chance",
    )
    add(
        "--export",
        choices=("inspect", "promptfoo", "openai"),
        help="write the runs in the shape of another tool too",
    )


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return share

"""The options of ``cmw-agent prove``."""

import argparse
from pathlib import Path


def add_prove(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    prove_ = commands.add_parser(
        "prove", help="try the isolation of this code and write a certificate", allow_abbrev=False
    )
    add = prove_.add_argument
    add("--out", type=Path, default=Path("certificate.json"), help="file (certificate.json)")
    add("--mutants", type=int, default=0, metavar="N", help="try so many at random; 0 tries all")
    add("--users", type=int, default=10, metavar="N", help="users of the storm at once (10)")
    add("--seed", type=int, default=0, help="chooses mutants and what the users do (0)")

"""The command ``cmw-agent``, also ``python -m cmw_agent``: serves the chat and works on its data."""

import sys

from cmw_agent.cli import commands


def main() -> int:
    """Run the command of the command line and return the exit code."""
    return commands.main(sys.argv[1:], prog="cmw-agent")


if __name__ == "__main__":
    sys.exit(commands.main(sys.argv[1:]))

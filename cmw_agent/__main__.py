"""``python -m cmw_agent COMMAND``: what whoever runs the app does beside serving it."""

import sys

from cmw_agent.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

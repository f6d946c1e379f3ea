"""The limit of open files is raised at start; otherwise fewer connections are accepted.

Each test runs a process of its own, because a lowered limit cannot be raised again.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import START

PROGRAM = """
import logging, resource, sys
from cmw_agent.limits.budgets import Budgets
from cmw_agent.server.descriptors import fit_connections
from cmw_agent.config.settings import Settings
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
settings = Settings(_env_file=None, max_sessions=1000, max_turns=10, address_share=0.5)
budgets = Budgets.of(settings)
fit_connections(budgets, settings)
budget = budgets.budget("connections")
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], budget.total, budget.per_network)
"""
NEEDED = 3 * 1000 + 2 * 10 + 256


def started(soft: int, hard: int) -> list[str]:
    """Return what a process writes that begins with these limits."""
    line = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" -c "$1"'
    ended = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, PROGRAM],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=START,
    )
    return ended.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_low_limit_is_raised_and_where_it_cannot_be_the_connections_fit_it() -> None:
    assert started(200, 5000) == [f"{NEEDED} 3000 1500"]
    warning, found = started(200, 600)
    assert found == "600 324 162"
    assert warning.startswith("WARNING open files are limited to 600 and 3276 may be needed")

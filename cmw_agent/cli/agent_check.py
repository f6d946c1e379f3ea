"""``cmw-agent check MODULE:AGENT``: whether an agent mixes its users."""

import asyncio
import sys

from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.isolation_check import check_isolation
from cmw_agent.agent.own.references import AGENTS, load
from cmw_agent.agent.own.runner import runner_of
from cmw_agent.core.errors import StartupError


def check_agent(reference: str, users: int) -> tuple[int, str]:
    """Run an agent for several users at once; return the exit code and the verdict.

    Args:
        reference: ``package.module:name`` of a graph, a runnable, a function or an `Agent`; the
            current folder is searched first.
        users: How many write at once, 2 to 20.

    Raises:
        StartupError: It cannot be loaded, or is none of these.
    """
    sys.path.insert(0, "")
    subject = f"cmw-agent check: {reference}"
    found = load(reference, AGENTS, subject)
    if isinstance(found, Agent):
        found = found.graph
    if found is None:
        raise StartupError(
            f"{subject} has no graph of its own; the built-in loop is tested already"
        )
    verdict = asyncio.run(check_isolation(runner_of(found, subject), found, users))
    return verdict.code, verdict.text

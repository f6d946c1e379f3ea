"""Raises the process's limit of file descriptors, and fits the number of connections into it."""

import contextlib
import sys

from cmw_agent.config.settings import Settings
from cmw_agent.core.logs import get_logger
from cmw_agent.limits.budgets import Budgets

if sys.platform != "win32":
    import resource

log = get_logger(__name__)

OTHER_DESCRIPTORS = 256  # of the database, files, workers, the loop
PER_TURN = 2  # connections to the model


def fit_connections(budgets: Budgets, settings: Settings) -> None:
    """Raise the limit to what the settings need; allow fewer connections where it stays lower.

    At the limit the process could accept no connection at all, from anybody.
    """
    connections = budgets.budget("connections").total
    others = OTHER_DESCRIPTORS + PER_TURN * settings.max_turns
    limit = raised_limit(connections + others)
    if limit >= connections + others:
        return
    room = max(limit - others, limit // 2)
    log.warning(
        "open files are limited to %d and %d may be needed: connections are bounded to %d; "
        "raise the limit (ulimit -n, LimitNOFILE=, --ulimit nofile=) or lower CMW_MAX_SESSIONS",
        limit,
        connections + others,
        room,
    )
    budgets.shrink("connections", room)


def raised_limit(wanted: int) -> int:
    """Raise the soft limit of open files to `wanted` if possible.

    Returns:
        The limit after that; `wanted` where the system has no limit.
    """
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < wanted:
        target = wanted if hard == infinite else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == infinite else soft

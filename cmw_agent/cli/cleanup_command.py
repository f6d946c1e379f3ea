"""`cleanup`: deletes expired data, and the threads that agents store of deleted conversations."""

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cmw_agent.cli.commands import database_of
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import StartupError, UserError
from cmw_agent.recording.recorder import sweep
from memory.engine.database import Database
from memory.maintenance.retention import Cleaned, Retention
from memory.threads import ThreadStore

if TYPE_CHECKING:
    from cmw_agent.agent.own.own_agents import OwnAgents
    from cmw_agent.agent.own.runner import OwnRunner

MAX_SWEEPS = 10_000  # each of the threads of a bounded number of owners


async def clean_up(settings: Settings, chosen: argparse.Namespace) -> str:
    """Delete what is due, or count it; return what to write.

    Args:
        settings: Those of the environment; an app that is named may have others.
        chosen: The command's options.

    Raises:
        StartupError: The database or the app does not allow it.
    """
    if chosen.app is None:
        hint = f"name the app, as in {chosen.prog} cleanup my_app:app"
        return await _clean(settings, lambda: _agents_of(settings), chosen.dry_run, hint)
    from cmw_agent.cli.serve import loaded  # noqa: PLC0415 (Gradio takes seconds)

    # While a loop runs: Gradio would make one otherwise, and leave it open.
    runtime = loaded(chosen.app).runtime
    hint = "the app that runs deletes them"
    return await _clean(runtime.settings, lambda: runtime.own_agents, chosen.dry_run, hint)


def _agents_of(settings: Settings) -> "OwnAgents":
    """Return what the agents of the settings' file bring."""
    from cmw_agent.agent.own.own_agents import OwnAgents  # noqa: PLC0415 (imports LangChain)
    from cmw_agent.config.agent_profiles import load_profiles  # noqa: PLC0415
    from cmw_agent.config.model_loader import load_models  # noqa: PLC0415

    return OwnAgents.of(load_profiles(settings, load_models(settings)))


async def _clean(
    settings: Settings, agents: "Callable[[], OwnAgents]", dry_run: bool, hint: str
) -> str:
    async with database_of(settings) as database:
        counts = await Retention(database).clean(
            days=settings.retention_days,
            idle_seconds=settings.session_idle_seconds,
            dry_run=dry_run,
        )
        lines = [*_cleaned(counts, dry_run), *_recordings(settings, dry_run)]
        if await ThreadStore(database).orphaned_counts():
            lines += await _threads(database, agents, dry_run, hint)
    return "\n".join(lines)


async def _threads(
    database: Database, agents: "Callable[[], OwnAgents]", dry_run: bool, hint: str
) -> list[str]:
    """Delete the threads that can be reached from here; return the lines that say so."""
    store = ThreadStore(database)
    try:
        keepers = agents().keeping_threads_elsewhere
    except StartupError as error:
        keepers, hint = {}, str(error)
    before = await store.orphaned_counts()
    if dry_run:
        after = {name: count for name, count in before.items() if name not in keepers}
    else:
        after = await _swept(store, keepers)
    left = sum(after.values())
    deleted = sum(before.values()) - left
    what = "would be" if dry_run else "were"
    lines = [f"{deleted:>8} threads of agents, of conversations that are gone, {what} deleted"]
    return [*lines, f"{left:>8} of them cannot be reached from here: {hint}"] if left else lines


async def _swept(store: ThreadStore, keepers: "Mapping[str, OwnRunner]") -> dict[str, int]:
    """Delete threads until none can be; return how many are left of each agent."""
    from cmw_agent.agent.own.threads import AgentThreads  # noqa: PLC0415 (imports LangChain)

    threads, counts = AgentThreads(store, keepers), await store.orphaned_counts()
    for _ in range(MAX_SWEEPS):
        before = counts
        try:
            await threads.sweep_all()
        except UserError as error:
            raise StartupError(f"CMW_DATABASE_URL: {error}") from error
        counts = await store.orphaned_counts()
        if not counts or counts == before:
            break
    return counts


def _recordings(settings: Settings, dry_run: bool) -> list[str]:
    """Delete recordings that are due; return a line on them where turns are recorded."""
    if settings.record is None:
        return []
    count = sweep(settings.record, settings.retention_days, dry_run=dry_run)
    what = "would be" if dry_run else "were"
    return [f"{count:>8} recordings older than CMW_RETENTION_DAYS {what} deleted"]


def _cleaned(counts: Cleaned, dry_run: bool) -> list[str]:
    what = "would be" if dry_run else "were"
    return [
        f"{counts.purged:>8} conversations deleted by their owners {what} removed for good",
        f"{counts.expired:>8} conversations older than CMW_RETENTION_DAYS {what} removed for good",
        f"{counts.interrupted:>8} abandoned turns {what} marked as interrupted",
        f"{counts.idle:>8} idle conversations {what} marked as inactive",
    ]

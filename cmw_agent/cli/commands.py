"""The commands: `serve`, and those on the stored data, for which a running app need not stop."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cmw_agent.cli.backup import Restored, back_up, check, restore
from cmw_agent.cli.backup_folder import SECRET, Manifest
from cmw_agent.cli.collection import rare_collections
from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.core.errors import StartupError
from cmw_agent.observability import log_config
from cmw_agent.observability.statistics_text import report
from memory.engine.database import Database, migrate, open_database
from memory.errors import StoreError
from memory.maintenance.retention import Cleaned, Retention
from memory.reports.statistics import Statistics
from memory.reports.usage_statistics import statistics

PATIENCE = 10.0  # seconds
CHECK_PATIENCE = 600.0  # every row of every table is looked at


def main(
    arguments: Sequence[str],
    env_file: Path | None = Path(".env"),
    *,
    prog: str = "python -m cmw_agent",
) -> int:
    """Run a command and return the exit code.

    Args:
        arguments: The command and its options.
        env_file: The file with settings that the environment does not hold.
        prog: How the program was called; help and hints name it so.

    Returns:
        0 when it is done; 1 when `check` found something wrong; 2 when nothing, or nothing known,
        is to be done, or when the settings or the database do not allow it.
    """
    parser = _parser(prog)
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        if chosen.command == "serve":
            with rare_collections():
                # Gradio takes seconds
                from cmw_agent.cli.serve import serve, start  # noqa: PLC0415

                application = start(env_file)
            serve(application)
            return 0
        settings = load_settings(env_file)
        log_config.configure(settings.log_level, settings.log_format)
        code, text = _run(settings, chosen)
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{text}\n")
    return code


def _run(settings: Settings, chosen: argparse.Namespace) -> tuple[int, str]:
    """Run a command on the stored data; return the exit code and what to write."""
    match chosen.command:
        case "cleanup":
            return 0, _cleaned(asyncio.run(_clean(settings, chosen.dry_run)), chosen.dry_run)
        case "backup":
            with_key = chosen.with_secret_key
            manifest = back_up(
                settings, chosen.target, force=chosen.force, with_secret_key=with_key
            )
            return 0, f"{chosen.target} holds {_holds(manifest)}"
        case "restore":
            restored = restore(settings, chosen.source, force=chosen.force)
            return 0, _restored(restored, chosen.prog)
        case "check":
            return _checked(asyncio.run(_check(settings)))
    figures = asyncio.run(_count(settings))
    return 0, json.dumps(figures.to_dict(), indent=2) if chosen.json else report(figures)


@contextlib.asynccontextmanager
async def database_of(settings: Settings, *, patience: float = PATIENCE) -> AsyncIterator[Database]:
    """Open the database of the settings, at this version's schema, for the block.

    Args:
        settings: Name the database.
        patience: Seconds that a lock, or on PostgreSQL a statement, may take.

    Raises:
        StartupError: It cannot be opened, is locked, or comes from a newer version; so does any
            `StoreError` of the block.
    """
    database = open_database(
        settings.database_url.get_secret_value(), busy_timeout_ms=round(patience * 1000)
    )
    try:
        await migrate(database)
        yield database
    except StoreError as error:
        raise StartupError(f"CMW_DATABASE_URL: {error}") from error
    finally:
        await database.dispose()


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Serve the chat, or work on its stored conversations."
    )
    parser.set_defaults(prog=prog)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve the chat until it is told to stop", allow_abbrev=False)
    cleanup = commands.add_parser(
        "cleanup", help="delete what is due, as the app does by itself", allow_abbrev=False
    )
    cleanup.add_argument("--dry-run", action="store_true", help="only count it")
    stats = commands.add_parser("stats", help="show figures of use", allow_abbrev=False)
    stats.add_argument("--json", action="store_true", help="as JSON")
    _add_backup(commands)
    commands.add_parser(
        "check", help="look whether what is stored hangs together", allow_abbrev=False
    )
    return parser


def _add_backup(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    backup = commands.add_parser(
        "backup", help="copy SQLite database and files while the app runs", allow_abbrev=False
    )
    backup.add_argument("target", type=Path, metavar="TARGET", help="the folder to make")
    backup.add_argument("--force", action="store_true", help="replace an older backup there")
    backup.add_argument(
        "--with-secret-key",
        action="store_true",
        help="copy the secret key too; left out otherwise, because whoever has it can be any "
        "visitor, and a backup without it cannot be turned into cookies",
    )
    restored = commands.add_parser(
        "restore", help="put a backup in place, with the app stopped", allow_abbrev=False
    )
    restored.add_argument("source", type=Path, metavar="SOURCE", help="a folder made by backup")
    restored.add_argument(
        "--force", action="store_true", help="put the database that is there aside"
    )


async def _clean(settings: Settings, dry_run: bool) -> Cleaned:
    async with database_of(settings) as database:
        return await Retention(database).clean(
            days=settings.retention_days,
            idle_seconds=settings.session_idle_seconds,
            dry_run=dry_run,
        )


async def _count(settings: Settings) -> Statistics:
    async with database_of(settings) as database:
        return await statistics(database)


async def _check(settings: Settings) -> dict[str, int]:
    async with database_of(settings, patience=CHECK_PATIENCE) as database:
        return await check(settings, database)


def _checked(counts: dict[str, int]) -> tuple[int, str]:
    wrong = {invariant: count for invariant, count in counts.items() if count}
    if not wrong:
        return 0, f"all is well: {len(counts)} laws hold"
    return 1, "\n".join(f"{count:>8} {invariant}" for invariant, count in wrong.items())


def _holds(backup: Manifest) -> str:
    sizes = [entry.size for entry in backup.entries]
    key = ", the secret key among them" if backup.find(SECRET) else ""
    return (
        f"{len(sizes)} files{key}, {sum(sizes)} bytes, "
        f"schema {backup.revision}, made {backup.made_at}"
    )


def _restored(restored: Restored, prog: str) -> str:
    lines = [f"restored {_holds(restored.manifest)}"]
    if restored.aside is not None:
        lines.append(f"the database that was there is {restored.aside}")
    return "\n".join([*lines, f"now run: {prog} check"])


def _cleaned(counts: Cleaned, dry_run: bool) -> str:
    what = "would be" if dry_run else "were"
    lines = [
        f"{counts.purged:>8} conversations deleted by their owners {what} removed for good",
        f"{counts.expired:>8} conversations older than CMW_RETENTION_DAYS {what} removed for good",
        f"{counts.interrupted:>8} abandoned turns {what} marked as interrupted",
        f"{counts.idle:>8} idle conversations {what} marked as inactive",
    ]
    return "\n".join(lines)

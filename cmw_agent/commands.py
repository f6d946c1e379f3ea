"""Commands on the database that the settings name; a running app need not stop for them."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cmw_agent.errors import StartupError
from cmw_agent.figures_text import report
from cmw_agent.ops import logs
from cmw_agent.settings import Settings, load_settings
from memory.analytics import statistics
from memory.database import Database, migrate, open_database
from memory.errors import StoreError
from memory.figures import Statistics
from memory.retention import Cleaned, Retention


def main(arguments: Sequence[str], env_file: Path | None = Path(".env")) -> int:
    """Run the command that `arguments` name and return the exit code.

    It is 2 when nothing, or nothing known, is to be done or the settings or the database do not
    let it.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        settings = load_settings(env_file)
        logs.configure(settings.log_level)
        if chosen.command == "cleanup":
            text = _cleaned(asyncio.run(_clean(settings, chosen.dry_run)), chosen.dry_run)
        else:
            found = asyncio.run(_count(settings))
            text = json.dumps(found.to_dict(), indent=2) if chosen.json else report(found)
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{text}\n")
    return 0


@contextlib.asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the settings, at this version's schema, for the block.

    Raises:
        StartupError: It cannot be opened, is locked, or comes from a newer version; also for
            what the block meets in it.
    """
    database = open_database(settings.database_url.get_secret_value())
    try:
        await migrate(database)
        yield database
    except StoreError as error:
        raise StartupError(f"CMW_DATABASE_URL: {error}") from error
    finally:
        await database.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cmw_agent",
        description="Work on the stored conversations. `python app.py` serves the chat.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    cleanup = commands.add_parser(
        "cleanup", help="delete what is due, as the app does by itself", allow_abbrev=False
    )
    cleanup.add_argument("--dry-run", action="store_true", help="only count it")
    stats = commands.add_parser("stats", help="show figures of use", allow_abbrev=False)
    stats.add_argument("--json", action="store_true", help="as JSON")
    return parser


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


def _cleaned(counts: Cleaned, dry_run: bool) -> str:
    what = "would be" if dry_run else "were"
    lines = [
        f"{counts.purged:>8} conversations deleted by their owners {what} removed for good",
        f"{counts.expired:>8} conversations older than CMW_RETENTION_DAYS {what} removed for good",
        f"{counts.interrupted:>8} abandoned turns {what} marked as interrupted",
        f"{counts.idle:>8} idle conversations {what} marked as inactive",
    ]
    return "\n".join(lines)

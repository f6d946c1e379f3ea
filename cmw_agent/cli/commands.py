"""The commands: `serve`, and those on the stored data, for which a running app need not stop."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

from cmw_agent.cli.backup import Restored, back_up, check, restore
from cmw_agent.cli.backup_folder import SECRET, Manifest
from cmw_agent.cli.collection import rare_collections
from cmw_agent.cli.proof_options import add_scenario, add_storm
from cmw_agent.cli.prove_options import add_prove
from cmw_agent.cli.replay_options import add_replay
from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.conversations.tombstones import Tombstones, erase_again
from cmw_agent.core.errors import StartupError
from cmw_agent.observability import log_config
from cmw_agent.observability.statistics_text import report
from cmw_agent.proof.receipts.verification import verify
from memory.engine.database import Database, migrate, open_database
from memory.errors import StoreError
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
        0 when it is done; 1 when `check` has found something wrong; 2 when nothing, or nothing known,
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
                from cmw_agent.cli.serve import loaded, serve, start  # noqa: PLC0415

                application = start(env_file) if chosen.app is None else loaded(chosen.app)
            serve(application)
            return 0
        if chosen.command == "check" and chosen.agent is not None:
            from cmw_agent.cli.agent_check import check_agent  # noqa: PLC0415 (imports LangChain)

            code, text = check_agent(chosen.agent, chosen.users)
            sys.stdout.write(f"{text}\n")
            return code
        if chosen.command == "storm":
            from cmw_agent.cli.storm_command import storm  # noqa: PLC0415

            code, text = storm(chosen)
            sys.stdout.write(f"{text}\n")
            return code
        if chosen.command == "prove":
            from cmw_agent.cli.prove_command import prove  # noqa: PLC0415

            code, text = prove(chosen, env_file)
            sys.stdout.write(f"{text}\n")
            return code
        if chosen.command == "scenario":
            from cmw_agent.cli.scenario_command import scenario  # noqa: PLC0415 (the app)

            code, text = scenario(chosen, env_file)
            sys.stdout.write(f"{text}\n")
            return code
        if chosen.command == "replay":
            from cmw_agent.cli.replay_command import replay_command  # noqa: PLC0415 (the app)

            code, text = replay_command(chosen, env_file)
            sys.stdout.write(f"{text}\n")
            return code
        if chosen.command == "receipts":
            verified = verify(chosen.file)
            sys.stdout.write(f"{verified.text}\n")
            return verified.code
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
            from cmw_agent.cli.cleanup_command import clean_up  # noqa: PLC0415 (imports this module)

            return 0, asyncio.run(clean_up(settings, chosen))
        case "backup":
            with_key = chosen.with_secret_key
            manifest = back_up(
                settings, chosen.target, force=chosen.force, with_secret_key=with_key
            )
            return 0, f"{chosen.target} holds {_holds(manifest)}"
        case "restore":
            restored = restore(settings, chosen.source, force=chosen.force)
            return 0, _restored(restored, chosen.prog)
        case "dataset":
            count = asyncio.run(_write_dataset(settings, chosen.folder))
            return 0, f"{chosen.folder} holds {count} conversation{'' if count == 1 else 's'}"
        case "erase-again":
            count = asyncio.run(_erase_again(settings, chosen.made_at))
            return 0, f"owners erased again: {count}"
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
    serve = commands.add_parser(
        "serve", help="serve the chat until it is told to stop", allow_abbrev=False
    )
    serve.add_argument(
        "app", nargs="?", metavar="MODULE:APP", help="an app of create_app, such as my_app:app"
    )
    cleanup = commands.add_parser(
        "cleanup", help="delete what is due, as the app does by itself", allow_abbrev=False
    )
    cleanup.add_argument(
        "app",
        nargs="?",
        metavar="MODULE:APP",
        help="an app of create_app, whose agents' own memories are cleaned too",
    )
    cleanup.add_argument("--dry-run", action="store_true", help="only count it")
    stats = commands.add_parser("stats", help="show figures of use", allow_abbrev=False)
    stats.add_argument("--json", action="store_true", help="as JSON")
    _add_backup(commands)
    dataset = commands.add_parser(
        "dataset",
        help="write rated conversations of users who agreed to it as a dataset",
        allow_abbrev=False,
    )
    dataset.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to make")
    _add_check(commands)
    add_storm(commands)
    add_prove(commands)
    add_scenario(commands)
    add_replay(commands)
    _add_receipts(commands)
    return parser


def _add_receipts(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    receipts = commands.add_parser(
        "receipts", help="verify receipts of what models saw", allow_abbrev=False
    )
    receipts.add_argument("action", choices=("verify",), help="tell whether they hold")
    receipts.add_argument("file", type=Path, metavar="FILE", help="as a chat's details save it")


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check",
        help="look whether what is stored hangs together, or whether an agent mixes its users",
        allow_abbrev=False,
    )
    check.add_argument(
        "agent", nargs="?", metavar="MODULE:AGENT", help="an agent, such as my_app:graph"
    )
    check.add_argument(
        "--users", type=int, default=5, help="users of the agent at once, 2 to 20 (5)"
    )


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
    again = commands.add_parser(
        "erase-again",
        help="delete from a restored PostgreSQL what its owners have deleted since the dump",
        allow_abbrev=False,
    )
    again.add_argument(
        "made_at", type=_time, metavar="TIME", help="of the dump, such as 2030-01-31T12:00:00Z"
    )


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} names no time zone: end it with Z for UTC")
    return at


async def _count(settings: Settings) -> Statistics:
    async with database_of(settings) as database:
        return await statistics(database)


async def _erase_again(settings: Settings, made_at: datetime) -> int:
    async with database_of(settings) as database:
        return len(await erase_again(database, Tombstones(settings.data_dir), made_at))


async def _write_dataset(settings: Settings, folder: Path) -> int:
    from cmw_agent.cli.dataset_command import write_dataset  # noqa: PLC0415 (the conversations)

    async with database_of(settings) as database:
        return await write_dataset(settings, database, folder)


async def _check(settings: Settings) -> dict[str, int]:
    async with database_of(settings, patience=CHECK_PATIENCE) as database:
        return await check(settings, database)


def _checked(counts: dict[str, int]) -> tuple[int, str]:
    wrong = {invariant: count for invariant, count in counts.items() if count}
    if not wrong:
        return 0, f"all is well: {len(counts)} invariants hold"
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
    if restored.erased_again:
        lines.append(f"owners who have deleted everything since, left out: {restored.erased_again}")
    return "\n".join([*lines, f"now run: {prog} check"])

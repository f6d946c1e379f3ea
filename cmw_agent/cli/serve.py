"""Starts and serves the app; each problem of the start becomes one line."""

import asyncio
import contextlib
import gc
import glob
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from cmw_agent.agent.own.definition import Agent
from cmw_agent.agent.own.references import AGENTS, load
from cmw_agent.cli.backup_folder import DATABASE, FILES, SECRET
from cmw_agent.cli.commands import database_of
from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.core.errors import StartupError
from cmw_agent.core.logs import get_logger
from cmw_agent.observability import log_config
from cmw_agent.server.build import Application, build_app
from cmw_agent.server.connection_bounds import ConnectionBounds
from cmw_agent.server.descriptors import fit_connections
from cmw_agent.server.http_protocol import protocol_for
from cmw_agent.server.lifecycle import Server
from cmw_agent.web.page.operator_part import PagePart
from memory.engine.permissions import make_file, make_folder, tighten
from memory.engine.sqlite_backup import sqlite_path
from memory.engine.storage_probe import can_lock

log = get_logger(__name__)

BACKLOG = 2048  # connections that wait to be taken, as uvicorn has it
CLOSE_SECONDS = 3  # how long connections may last once the turns and streams have ended
# Longer than a proxy keeps its connections (nginx: 60 s), or it would send into a closing one.
KEEP_ALIVE_SECONDS = 75


def start(env_file: Path | None = Path(".env")) -> Application:
    """Return the app for the environment's settings.

    Raises:
        StartupError: Something cannot work; the text is one line for each problem.
    """
    return create_app(settings=load_settings(env_file))


def create_app(
    agents: Sequence[Agent] = (),
    settings: Settings | None = None,
    *,
    root_path: str | None = None,
    page_part: PagePart | None = None,
) -> Application:
    """Return the app with the operator's agents: an ASGI app with page, channels and memory.

    Args:
        agents: They come first, and in place of the built-in agent; none keeps that.
        settings: None reads them from the environment and ``.env``.
        page_part: What stands beside the chat in windows of 1100 pixels and more: HTML, or a function
            that makes components of Gradio, such as ``lambda: gr.Markdown("…")``. It is the
            operator's own and shown as it is: the same to everybody, without what users wrote.
        root_path: The path below which the app is served, such as ``/chat``; None for the settings'.

    Raises:
        StartupError: Something cannot work; the text is one line for each problem.
    """
    settings = load_settings() if settings is None else settings
    if root_path is not None:
        settings = settings.model_copy(update={"root_path": root_path.rstrip("/")})
    log_config.configure(settings.log_level, settings.log_format)
    for sentence in settings.unknown:
        log.warning("%s", sentence)
    check_data_dir(settings.data_dir)
    tighten_permissions(settings)
    return build_app(settings, agents=agents, page_part=page_part)


def loaded(reference: str) -> Application:
    """Return the app that a module holds, such as ``my_app:app``.

    The current folder is searched first, as Python itself does for a script.

    Raises:
        StartupError: It cannot be imported, or is no app of `create_app`.
    """
    sys.path.insert(0, "")
    found = load(reference, AGENTS, "cmw-agent serve")
    if not isinstance(found, Application):
        raise StartupError(
            f"cmw-agent serve: {reference} must be an app of cmw_agent.create_app, "
            f"not {type(found).__name__}"
        )
    return found


def check_data_dir(folder: Path) -> None:
    """Make the data folder if it is absent, for the app's own account alone.

    Raises:
        StartupError: It cannot be made or written.
    """
    probe = folder / f".write-test-{os.getpid()}"
    try:
        make_folder(folder)
        os.close(make_file(probe))
    except OSError as error:
        raise StartupError(
            f"CMW_DATA_DIR: the folder {folder} cannot be written ({error.strerror}); "
            "name one that can"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def tighten_permissions(settings: Settings) -> None:
    """Take other accounts' rights to files that earlier versions or other programs left open."""
    own = (f"{DATABASE}*", f"{SECRET}*", f"{FILES}*")
    results = [tighten(settings.data_dir, own, with_folder=True)]
    database = sqlite_path(settings.database_url.get_secret_value())
    if database is not None and database.parent != settings.data_dir:
        its_files = (f"{glob.escape(database.name)}*",)
        results.append(tighten(database.parent, its_files, with_folder=False))
    for done in results:
        if done.changed:
            log.warning("permissions tightened to 0600 and 0700", count=done.changed)
        if done.refused:
            log.warning(
                "permissions cannot be tightened here: other accounts of this machine may read conversations and files",
                count=done.refused,
            )


def check_storage(settings: Settings, vfs: str = "") -> None:
    """Refuse storage that takes files and no locks, such as a mounted bucket.

    Args:
        settings: They name the database.
        vfs: As of `can_lock`.

    Raises:
        StartupError: SQLite cannot lock its database there.
    """
    database = sqlite_path(settings.database_url.get_secret_value())
    if database is not None and not can_lock(database.parent, vfs):
        raise StartupError(
            f"CMW_DATABASE_URL: SQLite cannot lock files in {database.parent}, which may be a "
            "mounted bucket or a network drive; put the database on a disk (CMW_DATA_DIR), or set "
            "CMW_DATABASE_URL to a PostgreSQL"
        )


async def check_database(settings: Settings) -> None:
    """Bring the database to this version's schema.

    Raises:
        StartupError: It cannot be opened, is locked, or comes from a newer version.
    """
    async with database_of(settings):
        pass


def listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the configured host and port.

    Raises:
        StartupError: The port is taken, or the host is not one of this machine's.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise StartupError(f"CMW_HOST: {settings.host} is not known ({error.strerror})") from error
    try:
        if os.name != "nt":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # From here on a client that connects waits, instead of being refused.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise StartupError(
            f"CMW_PORT: {settings.host}:{settings.port} cannot be used ({error.strerror}); "
            "choose another port"
        ) from error
    return bound


def serve(application: Application) -> None:
    """Serve the app until SIGTERM or SIGINT; exit with code 2 where it cannot start."""
    settings = application.runtime.settings
    try:
        bound = listen(settings)
        check_storage(settings)
        asyncio.run(check_database(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    fit_connections(application.runtime.budgets, settings)
    host, port = bound.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    print(f"{settings.name} is at {address}{settings.root_path}", flush=True)
    if application.runtime.answered_by == "demo":
        print("The demo model answers; set OPENAI_API_KEY or OPENAI_BASE_URL for a real one.")
    config = uvicorn.Config(
        application.asgi,
        http=protocol_for(ConnectionBounds(application.runtime.budgets, settings.trust_proxy)),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the app's own: see web/security/proxy_headers.py
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
    )
    # What is loaded now stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        server = Server(config, application.runtime, application.events)
        runner.run(server.serve(sockets=[bound]))

"""Starts and serves the app; each problem of the start becomes one line."""

import asyncio
import contextlib
import gc
import glob
import os
import socket
import sys
from pathlib import Path

import uvicorn

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
from memory.engine.permissions import make_file, make_folder, tighten
from memory.engine.sqlite_backup import sqlite_path

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
    settings = load_settings(env_file)
    log_config.configure(settings.log_level, settings.log_format)
    for sentence in settings.unknown:
        log.warning("%s", sentence)
    check_data_dir(settings.data_dir)
    tighten_permissions(settings)
    return build_app(settings)


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
        asyncio.run(check_database(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    fit_connections(application.runtime.budgets, settings)
    host, port = bound.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    print(
        f"{settings.name} is at http://{f'[{shown}]' if ':' in shown else shown}:{port}", flush=True
    )
    if application.runtime.models.is_demo:
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

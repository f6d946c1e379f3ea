"""Runs PgBouncer in front of a PostgreSQL server for tests (Debian's `pgbouncer`)."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port
from tests.programs import PGBOUNCER, path_of

# To the server: far fewer than clients, where no client keeps one.
CONNECTIONS = {"transaction": 4, "session": 30}
CONFIGURATION = """\
[databases]
{name} = host={folder} dbname={name} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
log_connections = 0
log_disconnections = 0
log_stats = 0
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 500
"""


@contextlib.contextmanager
def pooler(folder: Path, server_url: str, mode: str = "transaction") -> Iterator[str]:
    """Run PgBouncer for the block; yields the URL of the database behind it.

    Args:
        folder: Holds its configuration.
        server_url: The URL of a database of a server that listens on a socket.
        mode: When a client's connection to the server ends: ``transaction`` or ``session``.
    """
    parts, port = urlsplit(server_url), free_port()
    name, user = parts.path[1:], (parts.username or "").removesuffix(":")
    sockets = Path(parse_qs(parts.query)["host"][0])
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        CONFIGURATION.format(
            name=name,
            folder=sockets,
            user=user,
            port=port,
            mode=mode,
            connections=CONNECTIONS[mode],
        )
    )
    program = subprocess.Popen(
        [path_of(PGBOUNCER), *_account(sockets), settings], stderr=subprocess.PIPE, text=True
    )
    assert program.stderr is not None
    try:
        for line in program.stderr:
            if "process up" in line:
                break
        else:
            raise RuntimeError("PgBouncer ended")
        yield f"postgresql://{user}@127.0.0.1:{port}/{name}"
    finally:
        program.kill()
        program.stderr.close()
        program.wait(10)


def _account(sockets: Path) -> list[str]:
    """Return the arguments that make it run as the account that may enter the server's folder.

    It refuses to run as root.
    """
    if os.geteuid() != 0:
        return []
    return ["-u", pwd.getpwuid(sockets.stat().st_uid).pw_name]

"""Runs a Redis server for tests (Debian's `redis-server`)."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import REDIS, path_of

NAME = "redis-server"


@contextlib.contextmanager
def started(folder: Path) -> Iterator[str]:
    """Run a server for the block, with only its socket in `folder`; yields its URL."""
    socket = folder / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(
        [path_of(REDIS), *arguments], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "ready to accept connections" in line:
                break
        else:
            raise RuntimeError(f"{NAME} ended: {''.join(lines)[-500:]}")
        yield f"unix://{socket}"
    finally:
        server.kill()
        server.stdout.close()
        server.wait(10)
        socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a server that runs as long as the test session."""
    # The path of a socket may have 107 characters at most; those of pytest can be longer.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, started(Path(folder)) as url:
        yield url

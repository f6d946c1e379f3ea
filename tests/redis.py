"""The Redis of the tests: Debian's `redis-server`, started for a test and gone with it."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nginx import install

NAME = "redis-server"
MISSING = """\
error: the tests need redis-server, and there is none.
  Debian, Ubuntu:  sudo apt-get install redis-server
  macOS:           brew install redis"""


class RedisMissing(Exception):
    """No redis-server was found; the text says how to get one."""


def redis_server() -> str:
    """Return the path of a redis-server.

    Raises:
        RedisMissing: There is none.
    """
    found = shutil.which(NAME)
    if found is None:
        raise RedisMissing(MISSING)
    return found


def provided_redis() -> str:
    """Return the path of a redis-server, installed first where that needs nobody's leave.

    Raises:
        RedisMissing: There is none, and it cannot be installed.
    """
    try:
        return redis_server()
    except RedisMissing:
        install(NAME)
    return redis_server()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[str]:
    """Run a server without any file but its socket in `folder`; the block gets its address."""
    socket = folder / "redis.sock"
    words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(
        [redis_server(), *words], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        said = []
        for line in server.stdout:
            said.append(line)
            if "ready to accept connections" in line:
                break
        else:
            raise RuntimeError(f"{NAME} ended: {''.join(said)[-500:]}")
        yield f"unix://{socket}"
    finally:
        server.kill()
        server.stdout.close()
        server.wait(10)
        socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a server that lives as long as the test run."""
    # The path of a socket may have 107 characters, which those of pytest do not keep to.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, started(Path(folder)) as url:
        yield url

"""The Redis of the tests: Debian's `redis-server`, started for a test and gone with it."""

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
    """Run a server without any file but its socket in `folder`; the block gets its address."""
    socket = folder / "redis.sock"
    words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(
        [path_of(REDIS), *words], cwd=folder, stdout=subprocess.PIPE, text=True
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

"""The app as a process of its own, for what only the death of a process can show.

Importing the app takes seconds, so a fork server imports it once and each start is a fork of
that. The child then runs `app.py` as `python app.py` does: its own environment, folder, output
and exit code.
"""

import asyncio
import contextlib
import multiprocessing
import os
import runpy
import sys
from collections.abc import AsyncIterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

HOUSE = Path(__file__).parents[1]
START = 120.0  # seconds that a start may take; the first one imports the app


class ProcessEndedError(Exception):
    """The process ended before it said what was waited for; the text is all that it wrote."""


class Process:
    """One started app. `out` and `err` hold what it wrote so far."""

    def __init__(self, inner: ForkServerProcess) -> None:
        self._inner = inner
        self.out = bytearray()
        self.err = bytearray()
        self._changed = asyncio.Event()
        self._open = 2

    @property
    def pid(self) -> int:
        assert self._inner.pid is not None
        return self._inner.pid

    async def url(self) -> str:
        """Where it serves, as it says on its first line."""
        async with asyncio.timeout(START):
            while b"\n" not in self.out:
                if not self._open:
                    raise ProcessEndedError(self.text)
                self._changed.clear()
                await self._changed.wait()
        return self.out.split(b"\n", 1)[0].decode().rsplit(" ", 1)[1]

    async def code(self) -> int:
        """Wait for its end; return the exit code, negative for the signal that ended it."""
        async with asyncio.timeout(START):
            while self._open:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.to_thread(self._inner.join)
        assert self._inner.exitcode is not None
        return self._inner.exitcode

    async def kill(self) -> None:
        """End it at once, as a power switch would (SIGKILL)."""
        self._inner.kill()
        await self.code()

    async def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self._inner.terminate()
        return await self.code()

    @property
    def text(self) -> str:
        """All that it wrote."""
        return (self.out + self.err).decode(errors="replace")

    def heard(self, place: bytearray, data: bytes) -> None:
        place += data
        self._open -= not data
        self._changed.set()


@contextlib.asynccontextmanager
async def started(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Process]:
    """Start the app in `folder` with these variables; end it with the block.

    Its port is a free one unless `settings` says otherwise.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cmw_agent.cli.serve"])
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    environment = {"PATH": os.environ["PATH"], "CMW_PORT": "0", **settings}
    writers = [writer for _, writer in pipes]
    inner = context.Process(target=_run, args=(str(folder), environment, *writers), daemon=True)
    inner.start()
    process = Process(inner)
    readers = []
    for (reader, writer), place in zip(pipes, (process.out, process.err), strict=True):
        writer.close()
        readers.append(asyncio.create_task(_listen(reader, process, place)))
    try:
        yield process
    finally:
        if inner.is_alive():
            await process.kill()
        await asyncio.gather(*readers)
        inner.close()


async def _listen(reader: Connection, process: Process, place: bytearray) -> None:
    # The file gets a descriptor of its own, which its transport closes.
    file = os.fdopen(os.dup(reader.fileno()), "rb", buffering=0)
    reader.close()
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), file
    )
    try:
        while data := await stream.read(65_536):
            process.heard(place, data)
    finally:
        process.heard(place, b"")
        transport.close()


def _run(folder: str, environment: dict[str, str], out: Connection, err: Connection) -> None:
    """Be `python app.py`. Runs in the child."""
    for writer, descriptor in ((out, 1), (err, 2)):
        os.dup2(writer.fileno(), descriptor)
        writer.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(HOUSE / "app.py")]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.stdout.flush()

"""Runs the app as a process of its own, for tests that kill or restart it.

Importing the app takes seconds, so a fork server imports it once and forks a child for each
start. The child runs `app.py` as `python app.py` does, with its own environment, folder, output
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
START = 120.0  # time limit of a start in seconds; the first one imports the app


class ProcessEndedError(Exception):
    """The process ended before it printed its URL; the text is its whole output."""


class Process:
    """A running app; `out` and `err` are its standard output and error so far."""

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
        """Return the app's URL, which its first line of output names.

        Raises:
            ProcessEndedError: The process has ended before.
        """
        async with asyncio.timeout(START):
            while b"\n" not in self.out:
                if not self._open:
                    raise ProcessEndedError(self.text)
                self._changed.clear()
                await self._changed.wait()
        return self.out.split(b"\n", 1)[0].decode().rsplit(" ", 1)[1]

    async def code(self) -> int:
        """Wait for the process to end; return its exit code, or minus the number of the fatal signal."""
        async with asyncio.timeout(START):
            while self._open:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.to_thread(self._inner.join)
        assert self._inner.exitcode is not None
        return self._inner.exitcode

    async def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._inner.kill()
        await self.code()

    async def stop(self) -> int:
        """Terminate the process (SIGTERM) and return its exit code."""
        self._inner.terminate()
        return await self.code()

    @property
    def text(self) -> str:
        """The whole output so far."""
        return (self.out + self.err).decode(errors="replace")

    def add_output(self, buffer: bytearray, data: bytes) -> None:
        """Append output to `out` or `err`; empty data means that it has ended."""
        buffer += data
        self._open -= not data
        self._changed.set()


@contextlib.asynccontextmanager
async def started(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run the app for the block; it is killed at the end if it still runs.

    Args:
        folder: The working directory.
        settings: The environment variables; without `CMW_PORT` the port is a free one.
    """
    context = multiprocessing.get_context("forkserver")
    # The second is imported late, by an app that has an endpoint, as all of these have.
    context.set_forkserver_preload(["cmw_agent.cli.serve", "cmw_agent.llm.coalesced_model"])
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    # A title would be one further request to the endpoint, and tests count them.
    defaults = {"PATH": os.environ["PATH"], "CMW_PORT": "0", "CMW_TITLES": "off"}
    environment = {**defaults, **settings}
    writers = [writer for _, writer in pipes]
    inner = context.Process(target=_run, args=(str(folder), environment, *writers), daemon=True)
    inner.start()
    process = Process(inner)
    readers = []
    for (reader, writer), buffer in zip(pipes, (process.out, process.err), strict=True):
        writer.close()
        readers.append(asyncio.create_task(_listen(reader, process, buffer)))
    try:
        yield process
    finally:
        if inner.is_alive():
            await process.kill()
        await asyncio.gather(*readers)
        inner.close()


async def _listen(reader: Connection, process: Process, buffer: bytearray) -> None:
    # The file gets a descriptor of its own, which its transport closes.
    file = os.fdopen(os.dup(reader.fileno()), "rb", buffering=0)
    reader.close()
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), file
    )
    try:
        while data := await stream.read(65_536):
            process.add_output(buffer, data)
    finally:
        process.add_output(buffer, b"")
        transport.close()


def _run(folder: str, environment: dict[str, str], out: Connection, err: Connection) -> None:
    """Run `app.py` in the child process, as `python app.py` does."""
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

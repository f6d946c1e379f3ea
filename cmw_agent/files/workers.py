"""Starts and ends worker processes: without secrets, in a session of their own."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
END_SECONDS = 5.0  # maximum wait for a killed worker
PASSED_ON = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL")  # environment variables of the worker


async def start_worker(
    module: str, *arguments: str, stdin: int | IO[bytes], line_bytes: int = 65_536
) -> asyncio.subprocess.Process:
    """Start a worker process; `end_worker` ends it.

    Args:
        module: The module that it runs.
        arguments: Its arguments.
        stdin: Its standard input, as for `subprocess.Popen`.
        line_bytes: Of the longest line that is read of its output.
    """
    # The environment contains no secret; single-threaded libraries need less address space.
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        limit=line_bytes,
    )


async def end_worker(worker: asyncio.subprocess.Process) -> None:
    """Kill the worker and the processes that it started, and wait for its end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            # asyncio reports the end of the process only after the pipe is read to its end.
            while worker.stdout is not None and await worker.stdout.read(65_536):
                pass
            await worker.wait()

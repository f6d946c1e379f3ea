"""Extracts text and pictures from files in a worker process with limits on time, memory and output.

See ``docs/adr/0012-files-in-the-data-folder-text-in-the-database.md``.
"""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.logs import get_logger
from cmw_agent.files import sandbox

log = get_logger(__name__)

ROOT = Path(__file__).parents[2]
WORKER = "cmw_agent.files.extraction_worker"
END_SECONDS = 5.0  # maximum wait for a killed worker
MAX_OUTPUT = 4_000_000  # bytes: 200,000 characters as JSON, with room to spare
PICTURE_BYTES = 16_000_000
PASSED_ON = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL")  # environment variables of the worker
SENTENCES = {
    "damaged": "This file cannot be read; it may be damaged or locked with a password.",
    "locked": "This file is locked with a password; please remove it first.",
    "memory": "This file is too complex to be read.",
    "time": "Reading this file took too long; please send a smaller one.",
    "printed": "This file is too complex to be read.",
    "bomb": "This file unpacks to far more than it seems to hold, so it was not opened.",
    "paths": "This file holds links or paths that lead out of it, so it was not opened.",
    "pixels": "This picture has more than 50 megapixels; please send a smaller one.",
    "kind": "Files of this kind are not taken; pictures, audio, PDF, Word, Excel, "
    "PowerPoint, HTML, text, CSV and Markdown are.",
    "unavailable": "Documents of this kind cannot be read on this server.",
}


class FileRefusedError(InvalidMessageError):
    """The file is not accepted.

    Args:
        reason: A key of `SENTENCES`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(SENTENCES.get(reason, SENTENCES["damaged"]), status=422)
        self.reason = reason


class _WorkerStoppedError(Exception):
    """The worker was stopped, or ended without a result; the argument is a key of `SENTENCES`."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Result of the worker: the actual media type, and the text of a document."""

    media_type: str
    text: str | None


class Extraction:
    """Starts a worker process for each file; `Files` limits how many run at once.

    Args:
        settings: Limits on time and memory.
        module: The worker's module; tests of the limits name a hostile one.
    """

    def __init__(self, settings: Settings, *, module: str = WORKER) -> None:
        self._seconds = settings.extraction_seconds
        self._megabytes = settings.extraction_megabytes
        self._module = module
        _log_sandbox(sandbox.features())

    async def read(self, source: Path, media_type: str, picture: Path) -> Extracted:
        """Return the actual media type and the text of a file; write the picture of an image.

        Args:
            source: Path of the file.
            media_type: As detected from its first bytes.
            picture: Path to which a scaled picture of an image is written.

        Raises:
            FileRefusedError: The file is hostile, damaged or of an unknown kind.
        """
        job = {
            "source": str(source),
            "picture": str(picture),
            "media_type": media_type,
            "megabytes": self._megabytes,
            "seconds": int(self._seconds) + 1,
            "output": PICTURE_BYTES,
        }
        try:
            result = _parse(await self._run(orjson.dumps(job) + b"\n"))
        except _WorkerStoppedError as stopped:
            log.warning("a file could not be read", reason=stopped)
            raise FileRefusedError(str(stopped)) from None
        except (NotImplementedError, OSError) as error:  # the system starts no processes
            log.error("no worker could be started", cause=type(error).__name__)  # noqa: TRY400
            raise FileRefusedError("unavailable") from None
        if "refused" in result:
            log.info("a file was refused", reason=str(result["refused"])[:20])
            raise FileRefusedError(str(result["refused"]))
        text = result.get("text")
        return Extracted(str(result["media_type"]), text if isinstance(text, str) else None)

    async def _run(self, job: bytes) -> bytes:
        worker = await start_worker(self._module, stdin=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(self._seconds):
                output = await _communicate(worker, job)
                # A worker that continues after its output is stopped below.
                if len(output) > MAX_OUTPUT:
                    raise _WorkerStoppedError("printed")
                return output
        except TimeoutError:
            raise _WorkerStoppedError("time") from None
        finally:
            await asyncio.shield(end_worker(worker))


def _log_sandbox(features: sandbox.SandboxFeatures) -> None:
    if features.is_whole:
        log.info("documents are read in a sandbox without the data folder and the network")
        return
    log.warning(
        "this system offers no whole sandbox for reading documents; put the app into a container where strangers upload",
        landlock=features.landlock,
        seccomp=features.seccomp,
    )


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


async def _communicate(worker: asyncio.subprocess.Process, job: bytes) -> bytes:
    if worker.stdin is None or worker.stdout is None:
        raise _WorkerStoppedError("damaged")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.stdin.write(job)
        await worker.stdin.drain()
        worker.stdin.close()
    output = bytearray()
    while len(output) <= MAX_OUTPUT and (part := await worker.stdout.read(65_536)):
        output += part
    return bytes(output)


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


def _parse(output: bytes) -> dict[str, Any]:
    try:
        result = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _WorkerStoppedError("memory") from None  # killed by a limit of the system
    if not isinstance(result, dict) or not ("refused" in result or "media_type" in result):
        raise _WorkerStoppedError("damaged")
    return result

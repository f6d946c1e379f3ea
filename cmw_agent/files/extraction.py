"""Has a file read by a worker process with limits on time, memory and output.

See ``docs/adr/0012-files-in-the-data-folder-text-in-the-database.md``.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.files import sandbox

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
WORKER = "cmw_agent.files.extraction_worker"
END_SECONDS = 5.0  # until a killed worker is gone
MAX_PRINTED = 4_000_000  # bytes: 200,000 characters as JSON, with room to spare
PICTURE_BYTES = 16_000_000
PASSED_ON = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL")
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
    """The file is not taken.

    Args:
        word: A fixed word that says why, from `SENTENCES`.
    """

    def __init__(self, word: str) -> None:
        super().__init__(SENTENCES.get(word, SENTENCES["damaged"]), status=422)
        self.word = word


class _WorkerStoppedError(Exception):
    """The worker was stopped, or ended without an answer; the argument is a word."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the worker found: the true media type, and the text of a document."""

    media_type: str
    text: str | None


class Extraction:
    """Starts a worker for each file; how many there are at once is `Files`'s matter.

    Args:
        settings: The limits.
        module: What is run as the worker; tests of the limits name a hostile one.
    """

    def __init__(self, settings: Settings, *, module: str = WORKER) -> None:
        self._seconds = settings.extraction_seconds
        self._megabytes = settings.extraction_megabytes
        self._module = module
        _log_sandbox(sandbox.offered())

    async def read(self, source: Path, media_type: str, picture: Path) -> Extracted:
        """Return what is in the file at `source`; of an image write a `picture` for models.

        Raises:
            FileRefusedError: The file is hostile, damaged or of no known kind.
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
            found = _understood(await self._run(orjson.dumps(job) + b"\n"))
        except _WorkerStoppedError as stopped:
            log.warning("a file could not be read reason=%s", stopped)
            raise FileRefusedError(str(stopped)) from None
        except (NotImplementedError, OSError) as error:  # no process can be started here
            log.error("no worker could be started cause=%s", type(error).__name__)  # noqa: TRY400
            raise FileRefusedError("unavailable") from None
        if "refused" in found:
            log.info("a file was refused reason=%s", str(found["refused"])[:20])
            raise FileRefusedError(str(found["refused"]))
        text = found.get("text")
        return Extracted(str(found["media_type"]), text if isinstance(text, str) else None)

    async def _run(self, job: bytes) -> bytes:
        # No secret of the app is in its environment; single threads spare it address space.
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._seconds):
                printed = await _talk(worker, job)
                # One that goes on after it has answered is stopped below.
                if len(printed) > MAX_PRINTED:
                    raise _WorkerStoppedError("printed")
                return printed
        except TimeoutError:
            raise _WorkerStoppedError("time") from None
        finally:
            await asyncio.shield(_end(worker))


def _log_sandbox(offer: sandbox.Offer) -> None:
    if offer.is_whole:
        log.info("documents are read in a sandbox without the data folder and the network")
        return
    log.warning(
        "this system offers no whole sandbox for reading documents; put the app into a container "
        "where strangers upload landlock=%d seccomp=%s",
        offer.landlock,
        offer.seccomp,
    )


async def _talk(worker: asyncio.subprocess.Process, job: bytes) -> bytes:
    if worker.stdin is None or worker.stdout is None:
        raise _WorkerStoppedError("damaged")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.stdin.write(job)
        await worker.stdin.drain()
        worker.stdin.close()
    printed = bytearray()
    while len(printed) <= MAX_PRINTED and (part := await worker.stdout.read(65_536)):
        printed += part
    return bytes(printed)


async def _end(worker: asyncio.subprocess.Process) -> None:
    """Kill the worker with all that it started, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            # asyncio sees the end only behind what is still in the pipe.
            while worker.stdout is not None and await worker.stdout.read(65_536):
                pass
            await worker.wait()


def _understood(printed: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(printed)
    except orjson.JSONDecodeError:
        raise _WorkerStoppedError("memory") from None  # killed by a limit of the system
    if not isinstance(found, dict) or not ("refused" in found or "media_type" in found):
        raise _WorkerStoppedError("damaged")
    return found

"""Extracts text and pictures from files in a worker process with limits on time, memory and output.

See ``docs/adr/0012-files-in-the-data-folder-text-in-the-database.md``.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.logs import get_logger
from cmw_agent.files import sandbox
from cmw_agent.files.notes import checked
from cmw_agent.files.office_conversion import OfficeConverter
from cmw_agent.files.sniffing import OFFICE
from cmw_agent.files.workers import PASSED_ON, end_worker, start_worker
from cmw_agent.language import wording

log = get_logger(__name__)

WORKER = "cmw_agent.files.extraction_worker"
MAX_OUTPUT = 4_000_000  # bytes: 200,000 characters as JSON, with room to spare
PICTURE_BYTES = 16_000_000
# Kinds of documents of which pictures may be made.
PICTURED = frozenset({"application/pdf", OFFICE})
# Why a document is refused that only LibreOffice could read, by its ending.
REASONS = {"doc": "doc", "xls": "xls", "xlsb": "xls", "ppt": "ppt"}
SENTENCES = {
    "damaged": wording("This file cannot be read; it may be damaged or locked with a password."),
    "locked": wording("This file is locked with a password; please remove it first."),
    "memory": wording("This file is too complex to be read."),
    "time": wording("Reading this file took too long; please send a smaller one."),
    "printed": wording("This file is too complex to be read."),
    "bomb": wording("This file unpacks to far more than it seems to hold, so it was not opened."),
    "paths": wording("This file holds links or paths that lead out of it, so it was not opened."),
    "pixels": wording("This picture has more than 50 megapixels; please send a smaller one."),
    "kind": wording(
        "Files of this kind are not taken. Taken are pictures (PNG, JPEG, GIF, WebP, HEIC, AVIF, TIFF, "
        "BMP), audio, PDF, documents of Word, Excel and PowerPoint, OpenDocument, RTF, EPUB, e-mails "
        "(EML, MSG), HTML, CSV, Markdown and other text."
    ),
    "archive": wording(
        "Archives are not opened; please unpack this one and send the files that are in it."
    ),
    "iwork": wording(
        "Documents of Pages, Numbers and Keynote cannot be read; please export this one as PDF or in "
        "the form of Word, Excel or PowerPoint."
    ),
    "heic": wording("HEIC pictures cannot be read on this server; please send this one as JPEG."),
    "doc": wording(
        "Word documents of the old form (.doc) cannot be read on this server; please save this one "
        "as .docx or PDF and send that."
    ),
    "xls": wording(
        "Excel workbooks of the old form (.xls) and binary ones (.xlsb) cannot be read on this server; "
        "please save this one as .xlsx and send that."
    ),
    "ppt": wording(
        "PowerPoint presentations of the old form (.ppt) cannot be read on this server; please save "
        "this one as .pptx or PDF and send that."
    ),
    "unavailable": wording("Documents of this kind cannot be read on this server."),
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
    """Result of the worker.

    Args:
        media_type: The actual one.
        text: Of a document.
        notes: What a user must know of it, as `files.notes` has it.
    """

    media_type: str
    text: str | None
    notes: str | None = None


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
        self._office = OfficeConverter(settings)
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
        try:
            async with asyncio.timeout(self._seconds):
                return await self._read(source, media_type, picture)
        except TimeoutError:
            reason = "time"
        except _WorkerStoppedError as stopped:
            reason = str(stopped)
        except (NotImplementedError, OSError) as error:  # the system starts no processes
            log.error("no worker could be started", cause=type(error).__name__)  # noqa: TRY400
            raise FileRefusedError("unavailable") from None
        log.warning("a file could not be read", reason=reason)
        raise FileRefusedError(reason)

    async def _read(self, source: Path, media_type: str, picture: Path) -> Extracted:
        result = await self._result(source, media_type, picture)
        if "office" in result:
            kind, media_type = str(result["office"]), str(result["media_type"])
            async with self._office.converted(source, kind) as converted:
                if converted is None:
                    raise FileRefusedError(REASONS.get(kind, "kind"))
                result = await self._result(converted.path, converted.media_type, picture)
            if "office" in result:
                raise _WorkerStoppedError("damaged")
            result["media_type"] = media_type
        text = result.get("text")
        notes = checked(result.get("notes"))
        return Extracted(str(result["media_type"]), text if isinstance(text, str) else None, notes)

    async def _result(self, source: Path, media_type: str, picture: Path) -> dict[str, Any]:
        """Return what a worker says of a file.

        Raises:
            FileRefusedError: The worker refuses it.
        """
        job = {
            "source": str(source),
            "picture": str(picture) if media_type in PICTURED or _is_image(media_type) else "",
            "media_type": media_type,
            "megabytes": self._megabytes,
            "seconds": int(self._seconds) + 1,
            "output": PICTURE_BYTES,
        }
        result = _parse(await self._run(orjson.dumps(job) + b"\n"))
        if "refused" in result:
            log.info("a file was refused", reason=str(result["refused"])[:20])
            raise FileRefusedError(str(result["refused"]))
        return result

    async def _run(self, job: bytes) -> bytes:
        worker = await start_worker(self._module, stdin=asyncio.subprocess.PIPE)
        try:
            output = await _communicate(worker, job)
            # A worker that continues after its output is stopped below.
            if len(output) > MAX_OUTPUT:
                raise _WorkerStoppedError("printed")
            return output
        finally:
            await asyncio.shield(end_worker(worker))


def _is_image(media_type: str) -> bool:
    return media_type.startswith("image/")


def _log_sandbox(features: sandbox.SandboxFeatures) -> None:
    if features.is_whole:
        log.info("documents are read in a sandbox without the data folder and the network")
        return
    log.warning(
        "this system offers no whole sandbox for reading documents; put the app into a container where strangers upload",
        landlock=features.landlock,
        seccomp=features.seccomp,
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


def _parse(output: bytes) -> dict[str, Any]:
    try:
        result = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _WorkerStoppedError("memory") from None  # killed by a limit of the system
    if not isinstance(result, dict) or not ("refused" in result or "media_type" in result):
        raise _WorkerStoppedError("damaged")
    return result


__all__ = ["PASSED_ON", "Extracted", "Extraction", "FileRefusedError"]

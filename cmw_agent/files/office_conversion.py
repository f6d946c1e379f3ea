"""Converts old Office documents by LibreOffice, where it is installed, in a sandbox of its own."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.logs import get_logger
from cmw_agent.files.office_worker import socket_of
from cmw_agent.files.sniffing import OFFICE
from cmw_agent.files.workers import end_worker, start_worker

log = get_logger(__name__)

WORKER = "cmw_agent.files.office_worker"
PROGRAMS = ("soffice", "libreoffice")
# With a new profile LibreOffice starts itself again, which it cannot in the sandbox: its socket stands
# in its way.
STARTS = 2
TARGETS = {"doc": "docx", "xls": "xlsx", "xlsb": "xlsx", "ppt": "pptx"}


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A converted document, which lasts as long as the context that made it."""

    path: Path
    media_type: str


class OfficeConverter:
    """Converts documents that only LibreOffice can read.

    Args:
        settings: Limits on time, memory and the size of a file.
    """

    def __init__(self, settings: Settings) -> None:
        self._megabytes = settings.extraction_megabytes
        self._seconds = int(settings.extraction_seconds) + 1

    @contextlib.asynccontextmanager
    async def converted(self, source: Path, kind: str) -> AsyncIterator[ConvertedFile | None]:
        """Convert a document.

        Args:
            source: Its path.
            kind: Its ending: a key of `TARGETS`.

        Yields:
            The converted one, which does not exist where LibreOffice could not read the document;
            None where LibreOffice is not installed.
        """
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None or kind not in TARGETS:
            yield None
            return
        folder = await asyncio.to_thread(_new_folder)
        try:
            await asyncio.to_thread(shutil.copyfile, source, folder / f"document.{kind}")
            path = folder / "out" / f"document.{TARGETS[kind]}"
            is_there = False
            for _ in range(STARTS):
                await self._run(program, folder, kind)
                if is_there := await asyncio.to_thread(path.is_file):
                    break
            if not is_there:
                log.warning("LibreOffice did not convert a document", kind=kind)
            yield ConvertedFile(path, OFFICE)
        finally:
            removing = asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            await asyncio.shield(removing)

    async def _run(self, program: str, folder: Path, kind: str) -> None:
        job = {
            "program": program,
            "folder": str(folder),
            "source": f"document.{kind}",
            "target": TARGETS[kind],
            "megabytes": self._megabytes,
            "seconds": self._seconds,
        }
        worker = await start_worker(
            WORKER, orjson.dumps(job).decode(), stdin=asyncio.subprocess.DEVNULL
        )
        try:
            await worker.wait()
        finally:
            await asyncio.shield(end_worker(worker))
            with contextlib.suppress(OSError):
                await asyncio.to_thread(socket_of(folder).unlink, missing_ok=True)


def _new_folder() -> Path:
    """Make a folder that this account alone can read."""
    return Path(tempfile.mkdtemp(prefix="cmw-office-")).resolve()

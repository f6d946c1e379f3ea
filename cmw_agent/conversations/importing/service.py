"""ImportService: makes the conversations of an export file the importer's own.

For every channel. What a file says of owners and ids is not read: each conversation gets a new id,
and its owner is the principal who imports. See ``docs/adr/0040-imports-are-read-in-a-worker.md``.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import IO, Any

from cmw_agent.config.settings import Settings
from cmw_agent.conversations.importing.records import ImportLimits, UnreadableError
from cmw_agent.conversations.importing.report import ImportReport
from cmw_agent.conversations.importing.run import ImportRun, ImportTarget
from cmw_agent.conversations.importing.worker_client import read_events
from cmw_agent.core.errors import InvalidMessageError, ServiceUnavailableError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.files.disk_room import DiskRoom
from cmw_agent.files.service import Files, MemoryOf
from cmw_agent.files.storage import WRITE_BYTES
from cmw_agent.files.uploads import paced
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from memory.engine.permissions import make_folder
from memory.records import utcnow

log = get_logger(__name__)

MB = 1_000_000
MAX_ANSWER_CHARS = 1_000_000
MAX_MESSAGES = 100_000  # of one conversation
MAX_CONVERSATION_BYTES = 64 * MB
UPLOAD_SECONDS = 1_800.0
PROGRESS_SECONDS = 0.5  # between two lines of progress
NOT_KEPT = "Imports need a visit that is kept; please allow this page's cookie and reload it."


class ImportService:
    """Imports export files of this app, ChatGPT, Claude and Open WebUI.

    Args:
        settings: Data folder and limits.
        memory_of: Gives the memory that holds a principal's conversations.
        files: Stores the files of this app's own exports.
        budgets: Limits the imports that run, and what they store.
        clock: The time, with its zone.
    """

    def __init__(
        self,
        settings: Settings,
        memory_of: MemoryOf,
        files: Files,
        budgets: Budgets,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._memory_of = memory_of
        self._files = files
        self._budgets = budgets
        self._clock = clock
        self._runs: dict[str, ImportRun] = {}
        self._folder = settings.data_dir / "imports"
        self._room = DiskRoom(settings, budgets)
        self._max_bytes = settings.max_import_mb * MB
        self._is_expiring = settings.retention_days > 0
        self.limits = ImportLimits(
            message_chars=settings.max_message_chars,
            answer_chars=max(settings.max_message_chars, MAX_ANSWER_CHARS),
            messages=MAX_MESSAGES,
            conversation_bytes=min(MAX_CONVERSATION_BYTES, self._max_bytes),
            total_bytes=self._max_bytes,
        )

    async def run(
        self,
        principal: Principal,
        target: ImportTarget,
        body: AsyncIterator[bytes],
        address: str | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Import a file; yield the progress, and at last the result.

        The first value comes when the file's form is known. What is stored stays, however the
        import ends: an import that is left early ends with the conversation before.

        Args:
            principal: Who imports, and owns what is imported.
            target: Where the conversations go.
            body: The file, in pieces.
            address: Network address of the client, if there is one.

        Raises:
            UserError: The file cannot be read, is too large, or another import runs.
        """
        if not principal.is_kept:
            raise InvalidMessageError(NOT_KEPT, status=403)
        report = ImportReport(self.limits)
        run = ImportRun(
            principal=principal,
            target=target,
            memory=self._memory_of(principal),
            files=self._files,
            budgets=self._budgets,
            address=address,
            report=report,
            now=self._clock(),
            is_expiring=self._is_expiring,
        )
        with self._budgets.take("imports", principal.id, address), self._registered(run):
            async with (
                self._received(body) as source,
                contextlib.aclosing(self._progress(run, source, report)) as progress,
            ):
                async for each in progress:
                    yield each
        log.info(
            "import ended",
            principal=principal.log_name,
            source=report.source or "-",
            imported=report.imported,
            refused=report.refused.total(),
            failure=report.failure or "-",
        )
        yield report.result

    async def stop(self, principal: Principal) -> None:
        """Let a principal's running import store nothing more."""
        if (run := self._runs.get(principal.id)) is not None:
            await run.stop()

    @contextlib.contextmanager
    def _registered(self, run: ImportRun) -> Iterator[None]:
        self._runs[run.principal.id] = run  # the budget lets one of each owner run
        try:
            yield
        finally:
            del self._runs[run.principal.id]

    async def _progress(
        self, run: ImportRun, source: IO[bytes], report: ImportReport
    ) -> AsyncGenerator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        shown_at = loop.time() - PROGRESS_SECONDS
        try:
            async with contextlib.aclosing(read_events(source, self.limits)) as events:
                async for event in events:
                    await run.handle(event, events)
                    if report.source is not None and loop.time() - shown_at >= PROGRESS_SECONDS:
                        shown_at = loop.time()
                        yield report.progress
        except UnreadableError as error:
            if report.source is None:
                sentence = report.failure_sentence(str(error))
                raise InvalidMessageError(sentence, status=422) from None
            report.failure = str(error)

    @contextlib.asynccontextmanager
    async def _received(self, body: AsyncIterator[bytes]) -> AsyncIterator[IO[bytes]]:
        """Write a body to a file without a name, which goes when it is closed or the process ends."""
        await asyncio.to_thread(make_folder, self._folder)
        await self._room.check_disk(self._max_bytes)
        try:
            file = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", dir=self._folder)
            try:
                await self._write(file, body)
                await asyncio.to_thread(file.seek, 0)
                yield file
            finally:
                await asyncio.shield(asyncio.to_thread(file.close))
        except OSError as error:
            unavailable = ServiceUnavailableError(
                "Files cannot be imported right now; please try again in a moment."
            )
            log.error(  # noqa: TRY400
                "an import failed",
                error_id=unavailable.error_id,
                cause=describe_exception(error),
            )
            raise unavailable from None

    async def _write(self, file: IO[bytes], body: AsyncIterator[bytes]) -> None:
        size, pending = 0, bytearray()
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for part in paced(body):
                    size += len(part)
                    if size > self._max_bytes:
                        raise InvalidMessageError(
                            f"This file is too large; at most {self._max_bytes // MB:,} MB are "
                            "imported. A conversations.json without pictures may be smaller.",
                            status=413,
                        )
                    pending += part
                    if len(pending) >= WRITE_BYTES:
                        await asyncio.to_thread(file.write, bytes(pending))
                        pending.clear()
        except TimeoutError:
            raise InvalidMessageError(
                "The upload took too long; please try again.", status=408
            ) from None
        if not size:
            raise InvalidMessageError("This file is empty.")
        await asyncio.to_thread(file.write, bytes(pending))
        await asyncio.to_thread(file.flush)

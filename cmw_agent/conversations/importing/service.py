"""ImportService: makes the conversations of an export file the importer's own.

For every channel. What a file says of owners is not read: each conversation gets a new id, and its
owner is the principal who imports. See ``docs/adr/0040-imports-are-read-in-a-worker.md``.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any

from cmw_agent.config.settings import Settings
from cmw_agent.conversations.importing.job import ImportJob
from cmw_agent.conversations.importing.records import ImportLimits
from cmw_agent.conversations.importing.report import ImportReport
from cmw_agent.conversations.importing.run import ImportRun, ImportTarget
from cmw_agent.conversations.importing.upload import MB, ExportUploads
from cmw_agent.conversations.importing.worker_client import WORKER
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, ServiceUnavailableError
from cmw_agent.files.service import Files, MemoryOf
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from memory.records import utcnow

MAX_ANSWER_CHARS = 1_000_000
MAX_MESSAGES = 100_000  # of one conversation
MAX_CONVERSATION_BYTES = 64 * MB
MAX_JOBS = 300  # whose results are kept, the newest
NOT_KEPT = wording(
    "Imports need a visit that is kept; please allow this page's cookie and reload it."
)
RESTARTS = wording("The app is about to restart; please try again in a moment.")


class ImportService:
    """Imports export files of this app, ChatGPT, Claude and Open WebUI.

    Each import runs in a task of its own; an owner has one at a time. Its state is in this process.

    Args:
        settings: Data folder and limits.
        memory_of: Gives the memory that holds a principal's conversations.
        files: Stores the files of this app's own exports.
        budgets: Limits the imports that run, and what they store.
        clock: The time, with its zone.
        worker: The module that reads the files; tests name another.
    """

    def __init__(
        self,
        settings: Settings,
        memory_of: MemoryOf,
        files: Files,
        budgets: Budgets,
        clock: Callable[[], datetime] = utcnow,
        worker: str = WORKER,
    ) -> None:
        self._memory_of = memory_of
        self._files = files
        self._budgets = budgets
        self._clock = clock
        self._worker = worker
        self._uploads = ExportUploads(settings, budgets)
        self._jobs: OrderedDict[str, ImportJob] = OrderedDict()  # the newest of each owner
        self._is_open = True
        self._is_expiring = settings.retention_days > 0
        max_bytes = settings.max_import_mb * MB
        self.limits = ImportLimits(
            message_chars=settings.max_message_chars,
            answer_chars=max(settings.max_message_chars, MAX_ANSWER_CHARS),
            messages=MAX_MESSAGES,
            conversation_bytes=min(MAX_CONVERSATION_BYTES, max_bytes),
            total_bytes=max_bytes,
        )

    async def begin(
        self,
        principal: Principal,
        target: ImportTarget,
        body: AsyncIterator[bytes],
        address: str | None = None,
        name: str = "",
    ) -> ImportJob:
        """Begin to import a file; return when it is here and its form is known.

        What is stored stays, however the import ends: whole conversations.

        Args:
            principal: Who imports, and owns what is imported.
            target: Where the conversations go.
            body: The file, in pieces.
            address: Network address of the client, if there is one.
            name: The name of the file.

        Raises:
            UserError: The file cannot be read, is too large, or another import runs.
        """
        if not principal.is_stored:
            raise InvalidMessageError(NOT_KEPT, status=403)
        if not self._is_open:
            raise ServiceUnavailableError(RESTARTS)
        hold = self._budgets.take("imports", principal.id, address)
        job = ImportJob(self._run(principal, target, address), hold, name, self._worker)
        self._add(job)
        try:
            source = await self._uploads.receive(body)
        except BaseException:
            job.abandon()
            self._remove(job)
            raise
        try:
            await job.begin(source)
        except InvalidMessageError:
            self._remove(job)  # whoever sent the file reads why
            raise
        return job

    async def run(
        self,
        principal: Principal,
        target: ImportTarget,
        body: AsyncIterator[bytes],
        address: str | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Import a file for as long as the caller reads: yield the progress, and at last the result.

        Arguments and errors are those of `begin`.
        """
        job = await self.begin(principal, target, body, address)
        try:
            async with contextlib.aclosing(job.lines()) as lines:
                async for line in lines:
                    yield line
        finally:
            await job.stop("left")
            self._remove(job)

    def state(self, principal: Principal) -> dict[str, Any] | None:
        """Return the state of a principal's newest import; None where there is none."""
        job = self._jobs.get(principal.id)
        return job.state if job is not None else None

    async def dismiss(self, principal: Principal, import_id: str) -> None:
        """Stop a principal's import if it runs; forget the result of one that has ended.

        Raises:
            NotFoundError: It is not the principal's newest import.
        """
        job = self._jobs.get(principal.id)
        if job is None or job.id != import_id:
            raise NotFoundError
        if job.has_ended:
            self._remove(job)
        else:
            await job.stop("cancelled")

    async def stop(self, principal: Principal) -> None:
        """Let a principal's running import store nothing more, since all is deleted."""
        if (job := self._jobs.get(principal.id)) is not None:
            await job.stop("stopped")

    async def stop_login(self, principal: Principal) -> None:
        """Stop the import that a principal began, that of an account's one login."""
        job = self._jobs.get(principal.id)
        if job is not None and job.principal.login == principal.login:
            await job.stop("login")

    async def drain(self, seconds: float) -> None:
        """Begin no more imports, let the running ones end for `seconds`, stop the rest."""
        self._is_open = False
        running = [job for job in self._jobs.values() if not job.has_ended]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(job.wait() for job in running))
        await asyncio.gather(*(job.stop("closing") for job in running))

    def _run(self, principal: Principal, target: ImportTarget, address: str | None) -> ImportRun:
        return ImportRun(
            principal=principal,
            target=target,
            memory=self._memory_of(principal),
            files=self._files,
            budgets=self._budgets,
            address=address,
            report=ImportReport(self.limits),
            now=self._clock(),
            is_expiring=self._is_expiring,
        )

    def _add(self, job: ImportJob) -> None:
        self._jobs[job.principal.id] = job
        self._jobs.move_to_end(job.principal.id)
        if len(self._jobs) > MAX_JOBS:  # more than can run
            oldest = next(owner for owner, each in self._jobs.items() if each.has_ended)
            del self._jobs[oldest]

    def _remove(self, job: ImportJob) -> None:
        if self._jobs.get(job.principal.id) is job:
            del self._jobs[job.principal.id]

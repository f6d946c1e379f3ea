"""One import that runs in a task of its own, whether or not anybody reads its progress."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import IO, Any

from cmw_agent.conversations.importing.records import UnreadableError
from cmw_agent.conversations.importing.run import ImportRun
from cmw_agent.conversations.importing.worker_client import WORKER, read_events
from cmw_agent.core.errors import InvalidMessageError, describe_exception, new_error_id
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Hold

log = get_logger(__name__)

PROGRESS_SECONDS = 0.5  # between two lines of progress
STOP_SECONDS = 30.0  # until what is being stored is there
NAME_CHARS = 100  # of the file


class ImportJob:
    """An import of one principal, from the upload to its result.

    Args:
        run: Stores what is read.
        hold: The place that it takes; given back at its end.
        name: The name of the file, as the importer knows it.
        worker: The module that reads the file.
    """

    def __init__(self, run: ImportRun, hold: Hold, name: str, worker: str = WORKER) -> None:
        self.id = secrets.token_hex(8)
        self._run = run
        self._hold = hold
        self._name = name[:NAME_CHARS]
        self._worker = worker
        self._reason: str | None = None  # why it is stopped
        self._has_begun = False
        self._is_known = asyncio.Event()  # of the file's form, or that it has none
        self._has_ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def principal(self) -> Principal:
        """Who imports."""
        return self._run.principal

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is stored."""
        return self._has_ended.is_set()

    @property
    def state(self) -> dict[str, Any]:
        """What a page of the importer shows: how far it is, and the result of one that has ended."""
        report = self._run.report
        return {
            "id": self.id,
            "name": self._name,
            "share_read": round(report.share_read, 3),
            **report.progress,
            "result": report.result if self.has_ended else None,
        }

    async def begin(self, source: IO[bytes]) -> None:
        """Begin to read a file, which is closed at the end; return when its form is known.

        Raises:
            InvalidMessageError: It has none that can be read, or the import was stopped.
        """
        self._task = asyncio.create_task(self._work(source), name="import")
        await self._is_known.wait()  # the worker has a time for each event
        report = self._run.report
        if report.source is None:
            sentence = report.failure_sentence(report.failure or "worker")
            raise InvalidMessageError(sentence, status=422)

    def abandon(self) -> None:
        """End an import whose file did not come."""
        self._hold.release()
        self._has_ended.set()

    async def lines(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the progress now and then, and at last the result."""
        while not self.has_ended:
            yield self._run.report.progress
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._has_ended.wait()
        yield self._run.report.result

    async def wait(self) -> None:
        """Wait for the end of what has begun."""
        if self._task is not None:
            await self._has_ended.wait()

    async def stop(self, reason: str) -> None:
        """Store nothing more; return once what is being stored is there.

        Args:
            reason: A key of `report.FAILURES`.
        """
        if self.has_ended:
            return
        self._reason = self._reason or reason
        await self._run.stop()
        # A task that is cancelled before its first step would not come to its end.
        if self._task is not None and self._has_begun:
            self._task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)

    async def _work(self, source: IO[bytes]) -> None:
        self._has_begun = True
        report = self._run.report
        try:
            if self._reason is None:
                await self._read(source)
            else:
                report.failure = self._reason
        except UnreadableError as error:
            report.failure = self._reason or str(error)
        except asyncio.CancelledError:
            report.failure = self._reason or "closing"
            if self._reason is None:
                raise
        except Exception as error:  # noqa: BLE001 (the user reads it, the log names it)
            report.failure = "worker"
            log.error(  # noqa: TRY400
                "an import failed", error_id=new_error_id(), cause=describe_exception(error)
            )
        finally:
            self._end()
            await asyncio.shield(asyncio.to_thread(source.close))

    async def _read(self, source: IO[bytes]) -> None:
        report = self._run.report
        events = read_events(source, report.limits, module=self._worker)
        async with contextlib.aclosing(events):
            async for event in events:
                await self._run.handle(event, events)
                if report.source is not None:
                    self._is_known.set()

    def _end(self) -> None:
        report = self._run.report
        self._hold.release()
        self._is_known.set()
        self._has_ended.set()
        log.info(
            "import ended",
            principal=self.principal.log_name,
            source=report.source or "-",
            imported=report.imported,
            skipped=report.known,
            refused=report.refused.total(),
            failure=report.failure or "-",
        )

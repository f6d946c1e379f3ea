"""One import: stores the conversations that the worker reads, part by part."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cmw_agent.conversations.importing.imported_files import FileBody, PartialFileError
from cmw_agent.conversations.importing.message_records import (
    head_record,
    message_record,
    moment,
    started_at,
)
from cmw_agent.conversations.importing.recognition import (
    known_conversation,
    mark_of,
    share_of,
)
from cmw_agent.conversations.importing.records import SOURCE_NAMES, UnreadableError
from cmw_agent.conversations.importing.report import ImportReport
from cmw_agent.core.errors import UserError
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from memory.conversations.imports import (
    ImportedHead,
    ImportMark,
    ImportPart,
    Known,
    MessageToImport,
)
from memory.errors import (
    ConversationNotFoundError,
    DatabaseUnavailableError,
    InvalidTextError,
)
from memory.manager import ConversationMemoryManager
from memory.records import (
    ConversationOrigin,
    ConversationStatus,
    StoredFile,
)

MEGABYTE = 1_000_000
NO_FILE = wording("files of other apps, and files that are not in the ZIP, are not imported.")
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where imported conversations go.

    Attributes:
        agent_id: The agent of conversations that name none of `agent_ids`.
        agent_ids: The agents that the importer may use.
        channel: The importer's channel.
        status: The status of the conversations.
        tenant_id: The tenant that may list them.
        external_id: The id under which the tenant knows them.
    """

    agent_id: str
    agent_ids: frozenset[str]
    channel: str = "web"
    status: ConversationStatus = "inactive"
    tenant_id: str | None = None
    external_id: str | None = None


@dataclass(slots=True)
class _Current:
    """The conversation that is being stored; `is_skipped` says that the rest of it is not."""

    event: Event
    head: ImportedHead | None = None
    seq: int = 0
    written_at: datetime | None = None
    held: list[MessageToImport] = field(default_factory=list)  # until it is known what follows
    mark: ImportMark | None = None
    known: Known | None = None
    is_skipped: bool = False


@dataclass(slots=True)
class ImportRun:
    """Stores what the worker reads as conversations of one principal.

    Args:
        principal: The owner of all that is stored.
        target: Where the conversations go.
        memory: The owner's.
        files: Stores files.
        budgets: Limits what is stored.
        address: Network address of the client, if there is one.
        report: Counts what is done.
        now: No time is later.
        is_expiring: Whether conversations are deleted some time after their last use: imported ones
            count as used now.
    """

    principal: Principal
    target: ImportTarget
    memory: ConversationMemoryManager
    files: Files
    budgets: Budgets
    address: str | None
    report: ImportReport
    now: datetime
    is_expiring: bool
    _is_stopped: bool = False
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _current: _Current | None = None
    _stored_files: deque[StoredFile | None] = field(default_factory=deque)
    # Bytes that no budget has counted; an import counts for one megabyte at least.
    _unpaid: int = 1

    async def stop(self) -> None:
        """Let nothing more be stored; return once what is being stored is there."""
        self._is_stopped = True
        async with self._storing:
            pass

    async def handle(self, event: Event, events: AsyncIterator[Event]) -> None:
        """Do what an event of the worker says.

        Args:
            event: The event.
            events: Those that follow: the bytes of a file are taken from it.

        Raises:
            UnreadableError: The rest of the file cannot be imported.
        """
        if self.report.source is not None:
            # Not the texts alone: a short message takes a row, and a refused conversation time.
            self._spend(event["line_bytes"])
        match event.get("event"):
            case "source" if event.get("source") in SOURCE_NAMES:
                self.report.source = event["source"]
            case "refused":
                title, count = str(event.get("title")), int(event.get("count", 1))
                self.report.refuse(title, str(event.get("reason")), count)
            case "conversation":
                self._stored_files.clear()
                self._current = await self._begin(event)
            case "file":
                body = FileBody(event, events)
                is_skipped = self._current is not None and self._current.is_skipped
                self._stored_files.append(None if is_skipped else await self._file(body))
                await body.drain()
            case "messages" if self._current is not None:
                await self._messages(self._current, event)
            case "end" if self._current is not None:
                await self._end(self._current)
                self._current = None
            case _:
                raise UnreadableError("worker")

    async def _begin(self, event: Event) -> _Current:
        mark = mark_of(event)
        try:
            known = await known_conversation(
                self.memory, self.principal.id, self.report.source, mark, event
            )
        except DatabaseUnavailableError:
            raise UnreadableError("full") from None
        is_same = known == "same"
        self.report.known += is_same
        self.report.share_read = share_of(event)
        return _Current(event, mark=mark, known=known, is_skipped=is_same)

    async def _messages(self, current: _Current, event: Event) -> None:
        if current.is_skipped:
            return
        messages = [self._message(current, item) for item in event.get("messages", ())]
        await self._store(current, is_last=False)
        current.held = messages

    async def _end(self, current: _Current) -> None:
        await self._store(current, is_last=True)
        if not current.is_skipped:
            self.report.imported += 1
            self.report.notes["changed"] += current.known == "changed"
            for kind, count in current.event.get("notes", {}).items():
                self.report.notes[kind] += count

    def _message(self, current: _Current, item: Event) -> MessageToImport:
        files = [
            self._stored_files.popleft() if self._stored_files else None
            for _ in item.get("files", ())
        ]
        before = current.written_at or started_at(current.event, self.now)
        written = moment(item.get("at"), self.now, before)
        self.report.notes["times"] += written.is_future
        current.written_at = written.at
        return message_record(item, files, written.at, self.report.limits)

    async def _store(self, current: _Current, *, is_last: bool) -> None:
        messages, current.held = current.held, []
        if current.is_skipped or not (messages or current.head or is_last):
            return
        head = current.head = current.head or head_record(
            current.event,
            messages,
            current.mark,
            self._origin(current.event),
            self.now,
            status=self.target.status,
            is_expiring=self.is_expiring,
        )
        try:
            async with self._storing:
                if self._is_stopped:
                    raise UnreadableError("stopped")
                part = ImportPart(head, current.seq, messages, is_last)
                current.seq = await self.memory.import_part(self.principal.id, part)
        except DatabaseUnavailableError:
            raise UnreadableError("full") from None
        except ValueError:
            raise UnreadableError("worker") from None
        except (ConversationNotFoundError, InvalidTextError) as error:
            is_gone = isinstance(error, ConversationNotFoundError)
            self.report.refuse(head.title, "changed" if is_gone else "stored")
            current.is_skipped = True

    def _origin(self, event: Event) -> ConversationOrigin:
        target, agent = self.target, event.get("agent")
        return ConversationOrigin(
            agent_id=agent if agent in target.agent_ids else target.agent_id,
            channel=target.channel,
            context={"imported_from": SOURCE_NAMES[self.report.source or "own"]},
            tenant_id=target.tenant_id,
            external_id=target.external_id,
        )

    def _spend(self, size: int) -> None:
        self._unpaid += size
        megabytes = max(0, -(-self._unpaid // MEGABYTE))
        if not megabytes:
            return
        self._unpaid -= megabytes * MEGABYTE
        try:
            self.budgets.spend("imported_mb", self.principal.id, self.address, megabytes)
        except UserError:
            raise UnreadableError("budget") from None

    async def _file(self, body: FileBody) -> StoredFile | None:
        try:
            async with contextlib.aclosing(body.pieces()) as pieces:
                stored = await self.files.add(self.principal, body.name, "", pieces, self.address)
        except UserError as error:
            self.report.lose_file(body.name, error.sentence)
            return None
        except PartialFileError:
            self.report.lose_file(body.name, NO_FILE)
            return None
        self.report.files += 1
        return stored

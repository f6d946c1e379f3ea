"""One import: stores the conversations that the worker reads, part by part."""

import asyncio
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cmw_agent.conversations.importing.message_records import message_record, moment
from cmw_agent.conversations.importing.recognition import (
    arrangement_of,
    mark_of,
    original_of,
    share_of,
)
from cmw_agent.conversations.importing.records import SOURCE_NAMES, UnreadableError
from cmw_agent.conversations.importing.report import ImportReport
from cmw_agent.core.errors import UserError
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
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
    new_conversation_id,
)

MEGABYTE = 1_000_000
UNTITLED = "Imported conversation"
NO_FILE = "files of other apps, and files that are not in the ZIP, are not imported."
Event = dict[str, Any]
_NOTHING: Event = {}


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
                self._stored_files.append(await self._file(event, events))
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
            known = await self._known(mark, event)
        except DatabaseUnavailableError:
            raise UnreadableError("full") from None
        is_same = known == "same"
        self.report.known += is_same
        self.report.share_read = share_of(event)
        return _Current(event, mark=mark, known=known, is_skipped=is_same)

    async def _known(self, mark: ImportMark, event: Event) -> Known | None:
        """Return what the importer has of a conversation: as an import, or as the original."""
        known = await self.memory.known_import(self.principal.id, mark)
        if known == "same" or self.report.source != "own":
            return known
        original = await original_of(self.memory, self.principal.id, event)
        return original if original == "same" else known or original

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
        before = current.written_at or self._started_at(current)
        written = moment(item.get("at"), self.now, before)
        self.report.notes["times"] += written.is_future
        current.written_at = written.at
        return message_record(item, files, written.at, self.report.limits)

    async def _store(self, current: _Current, *, is_last: bool) -> None:
        messages, current.held = current.held, []
        if current.is_skipped or not (messages or current.head or is_last):
            return
        head = current.head = current.head or self._head(current, messages)
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

    def _head(self, current: _Current, messages: list[MessageToImport]) -> ImportedHead:
        event, target = current.event, self.target
        questions = (message.content for message in messages if message.role == "user")
        title = event.get("title") or next(questions, "").strip() or UNTITLED
        started_at = self._started_at(current)
        used_at = moment(event.get("updated_at"), self.now, started_at).at
        agent = event.get("agent")
        return ImportedHead(
            conversation_id=new_conversation_id(),
            title=str(title),
            started_at=started_at,
            last_activity_at=self.now if self.is_expiring else max(started_at, used_at),
            status=target.status,
            origin=ConversationOrigin(
                agent_id=agent if agent in target.agent_ids else target.agent_id,
                channel=target.channel,
                context={"imported_from": SOURCE_NAMES[self.report.source or "own"]},
                tenant_id=target.tenant_id,
                external_id=target.external_id,
            ),
            mark=current.mark,
            arrangement=arrangement_of(event),
        )

    def _started_at(self, current: _Current) -> datetime:
        event = current.event
        return moment(event.get("created_at") or event.get("updated_at"), self.now, self.now).at

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

    async def _file(self, event: Event, events: AsyncIterator[Event]) -> StoredFile | None:
        name, stored = str(event.get("name")), None
        is_skipped = self._current is not None and self._current.is_skipped
        if is_skipped and event.get("is_there") is True:
            await _FileBody(events).drain()
        if is_skipped:
            return None
        if event.get("is_there") is not True:
            self.report.lose_file(name, NO_FILE)
            return None
        body = _FileBody(events)
        try:
            async with contextlib.aclosing(body.pieces()) as pieces:
                stored = await self.files.add(self.principal, name, "", pieces, self.address)
        except UserError as error:
            self.report.lose_file(name, error.sentence)
        except _NoFileError:
            self.report.lose_file(name, NO_FILE)
        else:
            self.report.files += 1
        await body.drain()
        return stored


class _NoFileError(Exception):
    """The worker could not read all of the file."""


class _FileBody:
    """The bytes of a file, taken from the worker's events."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self._has_ended = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the file. Raises _NoFileError where not all of it is there."""
        while (event := await anext(self._events, _NOTHING)).get("event") == "bytes":
            try:
                yield base64.b64decode(str(event.get("data")), validate=True)
            except binascii.Error:
                raise UnreadableError("worker") from None
        self._has_ended = True
        if event.get("is_whole") is not True:
            raise _NoFileError

    async def drain(self) -> None:
        """Read what nobody has taken."""
        while not self._has_ended:
            self._has_ended = (await anext(self._events, _NOTHING)).get("event") != "bytes"

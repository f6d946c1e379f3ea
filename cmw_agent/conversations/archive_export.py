"""Writes conversations and their files as one ZIP archive that this app can import again.

In it are ``account.json`` (what the archive is, and whose), ``conversations.jsonl`` (a conversation a
line, as a JSON export has it, with the paths of its files), ``files/`` and, of an account that has saved
any, ``prompts.json``. No name of a file can lead
out of the folder into which the archive is unpacked. See ``docs/exports.md``.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import orjson

from cmw_agent.conversations.export import compact_head, file_record, message_record
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.zip_stream import ZipStream
from cmw_agent.core.errors import NotFoundError
from cmw_agent.identity.principals import Principal
from memory.records import Conversation, StoredFile, StoredMessage

MEDIA_TYPE = "application/zip"
FORMAT, VERSION = "cmw-agent-export", 1
READ_BYTES = 262_144
NAME_CHARS = 80
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def path_in_archive(file_id: str, name: str) -> str:
    """Return the path of a file in an archive."""
    safe = UNSAFE.sub("_", name)[-NAME_CHARS:].lstrip("._-")
    return f"files/{file_id}-{safe or 'file'}"


class ArchiveExport:
    """The archive of one principal's conversations.

    Args:
        history: The conversations and files.
        principal: Whose archive it is.
        now: When it is made.
        with_thinking: Whether the models' thoughts are in it.
        with_versions: Whether all versions of messages are in it, or those that are shown.
    """

    def __init__(
        self,
        history: ConversationService,
        principal: Principal,
        now: datetime,
        *,
        with_thinking: bool,
        with_versions: bool = False,
    ) -> None:
        self._history = history
        self._principal = principal
        self._with_thinking = with_thinking
        self._with_versions = with_versions
        self._now = now
        self._zip = ZipStream()
        self._file_ids: list[str] = []  # of the conversations that were written

    async def one(self, conversation: Conversation) -> AsyncGenerator[bytes]:
        """Yield the archive of one conversation, with its files."""

        async def conversations() -> AsyncGenerator[Conversation]:
            yield conversation

        async def files() -> AsyncGenerator[StoredFile]:
            for file_id in dict.fromkeys(self._file_ids):
                with contextlib.suppress(NotFoundError):
                    yield (await self._history.files.open(self._principal, file_id))[0]

        async for piece in self._written(conversations(), files()):
            yield piece

    async def everything(self) -> AsyncGenerator[bytes]:
        """Yield the archive of all conversations, files and saved prompts."""
        files = self._history.files.all_of(self._principal)
        conversations = self._history.conversations(self._principal)
        async for piece in self._written(conversations, files, await self._prompts()):
            yield piece

    async def _prompts(self) -> list[tuple[str, bytes]]:
        """Return the member of the saved prompts; none where there are none."""
        saved = await self._history.prompts.prompts(self._principal)
        if not saved:
            return []
        listed = [{"name": prompt.name, "text": prompt.text} for prompt in saved]
        content = orjson.dumps(listed, option=orjson.OPT_INDENT_2) + b"\n"
        return [("prompts.json", content)]

    async def _written(
        self,
        conversations: AsyncGenerator[Conversation],
        files: AsyncGenerator[StoredFile],
        further: Sequence[tuple[str, bytes]] = (),
    ) -> AsyncGenerator[bytes]:
        async with contextlib.aclosing(conversations), contextlib.aclosing(files):
            account, lines = _pieces(self._account()), self._lines(conversations)
            async for piece in self._member("account.json", self._now, account):
                yield piece
            async for piece in self._member("conversations.jsonl", self._now, lines):
                yield piece
            for name, content in further:
                async for piece in self._member(name, self._now, _pieces(content)):
                    yield piece
            async for file in files:
                async for piece in self._file(file):
                    yield piece
            yield self._zip.end()

    async def _member(
        self, name: str, at: datetime, content: AsyncGenerator[bytes], *, is_packed: bool = False
    ) -> AsyncGenerator[bytes]:
        # What is compressed can no longer be looked at.
        content = self._history.files.outgoing(self._principal, content)
        async with (
            contextlib.aclosing(content),
            contextlib.aclosing(self._zip.member(name, at, content, is_packed=is_packed)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    def _account(self) -> bytes:
        content = {
            "format": FORMAT,
            "version": VERSION,
            "exported_at": self._now.isoformat(),
            "account": {"kind": self._principal.kind, "name": self._principal.name},
            "with_thinking": self._with_thinking,
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"

    async def _lines(self, conversations: AsyncIterator[Conversation]) -> AsyncGenerator[bytes]:
        async for conversation in conversations:
            yield compact_head(conversation).encode()
            between = b""
            # One that is deleted while the others are read ends there.
            with contextlib.suppress(NotFoundError):
                async for page in self._history.messages(
                    self._principal,
                    conversation.conversation_id,
                    all_versions=self._with_versions,
                ):
                    files = await self._files_of(conversation, page)
                    yield between + await asyncio.to_thread(self._messages, page, files)
                    between = b","
            yield b"]}\n"

    async def _files_of(
        self, conversation: Conversation, page: Sequence[StoredMessage]
    ) -> list[StoredFile]:
        seqs = [message.seq for message in page]
        files = await self._history.files.of_messages(
            self._principal, conversation.conversation_id, seqs
        )
        self._file_ids += [file.file_id for file in files]
        return files

    def _messages(self, page: Sequence[StoredMessage], files: Iterable[StoredFile]) -> bytes:
        of_seq: dict[int | None, list[StoredFile]] = {}
        for file in files:
            of_seq.setdefault(file.seq, []).append(file)
        return b",".join(
            orjson.dumps(self._message(message, of_seq.get(message.seq, ()))) for message in page
        )

    def _message(self, message: StoredMessage, files: Iterable[StoredFile]) -> dict[str, object]:
        record = message_record(
            message, with_thinking=self._with_thinking, with_versions=self._with_versions
        )
        for picture in record.get("pictures", ()):
            picture["path"] = path_in_archive(picture["id"], picture["name"])
        if message.role == "user":
            record["files"] = [
                file_record(file) | {"path": path_in_archive(file.file_id, file.name)}
                for file in files
            ]
        return record

    async def _file(self, file: StoredFile) -> AsyncGenerator[bytes]:
        try:
            _, path = await self._history.files.open(self._principal, file.file_id)
        except NotFoundError:
            return  # deleted while the others were read
        name = path_in_archive(file.file_id, file.name)
        async for piece in self._member(name, file.created_at, _read(path), is_packed=True):
            yield piece


async def _pieces(content: bytes) -> AsyncGenerator[bytes]:
    yield content


async def _read(path: Path) -> AsyncGenerator[bytes]:
    source: BinaryIO = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(source.read, READ_BYTES):
            yield piece
    finally:
        source.close()

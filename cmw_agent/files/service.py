"""What users do with files: upload, fetch, remove; and what a model is shown of them.

For every channel. Each method takes the principal who asks; another's file and one that is
not there are the same `FileMissingError`.
"""

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import (
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
    frames,
)
from cmw_agent.files.disk_room import DiskRoom, megabytes, network_digest
from cmw_agent.files.extraction import Extraction, FileRefusedError
from cmw_agent.files.sniffing import HEAD, clean_name, detect
from cmw_agent.files.storage import FILE_ID, FileStore, FileTooLargeError, ReceivedFile
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from cmw_agent.limits.pace import Pace
from cmw_agent.llm.transcription import Transcription
from memory.conversations.files import MAX_FILES
from memory.errors import InvalidTextError, QuotaExceededError, StoreError, UnknownFileError
from memory.manager import ConversationMemoryManager
from memory.records import StoredFile, utcnow

log = logging.getLogger(__name__)

UPLOAD_SECONDS, SILENT_SECONDS = 600.0, 30.0
LEAST_RATE = 8_192  # bytes a second that an upload must come with on average
GRACE_SECONDS = 900.0  # from when an upload may begin to be read, beside what reading may take
SWEPT_AT_ONCE = 500
MAX_PICTURES = 20  # in what one request to a model holds
MemoryOf = Callable[[Principal], ConversationMemoryManager]
T = TypeVar("T")


class FileMissingError(NotFoundError):
    """The file is another's, or is not there: told alike."""

    sentence = "This file was not found."


class Files:
    """See the module's text.

    Args:
        settings: Folder, limits and endpoint.
        memory_of: Gives the memory that holds what is known of a principal's files.
        known: Says which ids are those of files, for the upkeep.
        budgets: Bounds uploads, the disk, and the workers that read documents.
        extraction: Reads documents and pictures; made from the settings when absent.

    Raises:
        UserError: From each method, where something fails or is refused.
    """

    def __init__(
        self,
        settings: Settings,
        memory_of: MemoryOf,
        known: Callable[[Sequence[str]], Awaitable[set[str]]],
        budgets: Budgets,
        extraction: Extraction | None = None,
    ) -> None:
        self._store = FileStore(settings.data_dir / "files")
        self._memory_of = memory_of
        self._known = known
        self._extraction = extraction or Extraction(settings)
        self._transcription = Transcription(settings)
        self._budgets = budgets
        self._room = DiskRoom(settings, budgets)
        self._most = settings.max_file_bytes
        self._reading_seconds = settings.extraction_seconds
        reading = 3 * settings.extraction_seconds + settings.turn_timeout
        self._grace = UPLOAD_SECONDS + reading + GRACE_SECONDS

    async def add(
        self,
        principal: Principal,
        name: str,
        media_type: str,
        body: AsyncIterator[bytes],
        address: str | None = None,
    ) -> StoredFile:
        """Keep what `body` brings, once it was read; nothing stays of what is refused.

        Args:
            principal: Who uploads.
            name: Shown as it is cleaned; never part of a path.
            media_type: What the client says that it is, which does not count.
            body: The bytes, as they come.
            address: The network address that it comes from, if there is one.
        """
        del media_type
        memory = self._memory(principal)
        file_id = secrets.token_hex(16)
        network = network_digest(principal, address)
        with self._budgets.take("uploads", principal.id, address):
            await self._check_room(principal, network, 1)
            await self._room.check_disk(self._most)
            try:
                received = await self._receive(file_id, body)
                await self._check_room(principal, network, received.size)
                reader = self._reader(principal, address)
                file = await self._read(file_id, clean_name(name), received, reader)
                await self._store.keep(file_id)
                adding = memory.add_file(
                    principal.id, file, network=network, bound_of=self._room.bound_of
                )
                await self._told(adding)
            except BaseException:
                await asyncio.shield(self._store.drop([file_id]))
                raise
        return file

    async def open(self, principal: Principal, file_id: str) -> tuple[StoredFile, Path]:
        """Return what is known of a file, and where its bytes are."""
        file = await self._find(principal, file_id)
        path = self._store.path(file.file_id)
        if not await asyncio.to_thread(path.is_file):
            raise FileMissingError
        return file, path

    async def remove(self, principal: Principal, file_id: str) -> None:
        """Delete a file that no message has."""
        if not principal.is_kept or not FILE_ID.fullmatch(file_id):
            raise FileMissingError
        await self._told(self._memory_of(principal).remove_file(principal.id, file_id))
        await self._store.drop([file_id])

    async def forget(self, principal: Principal) -> None:
        """Delete all files of a principal for good, at once."""
        memory = self._memory_of(principal)
        await self._store.drop(await self._told(memory.forget_files(principal.id)))

    async def _picture(self, own: StoredFile) -> str:
        if own.kind != "image":
            raise FileMissingError
        try:
            picture = await asyncio.to_thread(self._store.picture(own.file_id).read_bytes)
        except FileNotFoundError:
            raise FileMissingError from None
        media_type = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
        return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"

    async def contents(
        self, principal: Principal, conversation: str, seqs: Sequence[int], *, chars: int
    ) -> dict[int, list[dict[str, Any]]]:
        """Return what a model gets beside the text of messages: content parts, by `seq`.

        The newest files come first to the room of `chars` for texts; what has none left is
        only named.
        """
        found = await self._told(self._memory(principal).files_of(principal.id, conversation, seqs))
        parts: dict[int, list[dict[str, Any]]] = {}
        pictures = 0
        for file in reversed(found):
            part = _named(file, chars)
            chars -= len(part["text"])
            with contextlib.suppress(FileMissingError):
                if file.kind == "image" and pictures < MAX_PICTURES:
                    url = await self._picture(file)
                    part = {"type": "image_url", "image_url": {"url": url}}
                    pictures += 1
            parts.setdefault(file.seq or 0, []).insert(0, part)
        return parts

    async def sweep(self) -> int:
        """Delete bytes that no row names, once no upload can be about to; return how many files."""
        old = await self._store.old(self._grace)
        ids, gone = list(old), 0
        for start in range(0, len(ids), SWEPT_AT_ONCE):
            some = ids[start : start + SWEPT_AT_ONCE]
            known = await self._known(some)
            unknown = [file_id for file_id in some if file_id not in known]
            await self._store.drop(unknown)
            gone += len(unknown)
        return gone

    def _memory(self, principal: Principal) -> ConversationMemoryManager:
        if not principal.is_kept:
            raise InvalidMessageError(
                "Files need a visit that is kept; please allow this page's cookie and reload it.",
                status=403,
            )
        return self._memory_of(principal)

    async def _find(self, principal: Principal, file_id: str) -> StoredFile:
        if not principal.is_kept or not FILE_ID.fullmatch(file_id):
            raise FileMissingError
        return await self._told(self._memory_of(principal).file(principal.id, file_id))

    def _reader(
        self, principal: Principal, address: str | None
    ) -> contextlib.AbstractAsyncContextManager[object]:
        """Wait for a worker: whoever has the fewest at work goes first, and nobody has two."""
        wait = 2 * self._reading_seconds
        return self._budgets.hold("extraction", principal.id, address, wait_seconds=wait)

    async def _check_room(self, principal: Principal, network: str | None, wanted: int) -> None:
        # Refused early; what comes in parallel is counted again when it is stored.
        used = await self._told(self._memory_of(principal).used_bytes(principal.id, network))
        if (bound := self._room.bound_of(used, wanted)) is not None:
            raise self._room.error(bound, used.owner)

    async def _receive(self, file_id: str, body: AsyncIterator[bytes]) -> ReceivedFile:
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                received = await self._store.receive(
                    file_id, lively(body), most=self._most, head=HEAD
                )
        except FileTooLargeError:
            most = megabytes(self._most)
            raise InvalidMessageError(
                f"This file is too large; at most {most} are taken.", status=413
            ) from None
        except TimeoutError:
            raise InvalidMessageError(
                "The upload took too long; please try again.", status=408
            ) from None
        except OSError as error:
            raise self._failed(error) from None
        if not received.size:
            raise InvalidMessageError("This file is empty.")
        return received

    async def _read(
        self,
        file_id: str,
        name: str,
        received: ReceivedFile,
        reader: contextlib.AbstractAsyncContextManager[object],
    ) -> StoredFile:
        found = detect(received.head, name)
        if found is None:
            raise FileRefusedError("kind")
        media_type, kept, text = found.media_type, received.size, None
        if found.kind == "audio":
            text = await self._transcription.text(received.path, media_type)
        else:
            drawn = received.path.with_suffix(".picture")
            async with reader:
                extracted = await self._extraction.read(received.path, media_type, drawn)
            media_type, text = extracted.media_type, extracted.text
            kept += await asyncio.to_thread(_size, drawn)
        kept += len((text or "").encode())
        return StoredFile(
            file_id, None, None, name, media_type, found.kind, received.size, kept, text, utcnow()
        )

    async def _told(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except UnknownFileError:
            raise FileMissingError from None
        except QuotaExceededError as error:
            raise self._room.error(error.bound, error.used) from None
        except InvalidTextError:
            raise FileRefusedError("damaged") from None
        except StoreError as error:
            raise self._failed(error) from None

    @staticmethod
    def _failed(error: Exception) -> UserError:
        told = ServiceUnavailableError(
            "Files cannot be stored right now; please try again in a moment."
        )
        log.error("files failed error_id=%s cause=%s", told.error_id, frames(error))
        return told


async def lively(body: AsyncIterator[bytes], pace: Pace | None = None) -> AsyncGenerator[bytes]:
    """Hand on what comes, as long as enough of it comes.

    Raises:
        TimeoutError: Nothing comes, or less than the pace asks for.
    """
    loop, count = asyncio.get_running_loop(), 0
    pace = pace or Pace(SILENT_SECONDS, LEAST_RATE)
    while True:
        until = min(loop.time() + SILENT_SECONDS, pace.deadline(count))
        async with asyncio.timeout_at(until):
            part = await anext(body, None)
        if part is None:
            return
        count += len(part)
        yield part


def _named(file: StoredFile, chars: int) -> dict[str, Any]:
    head = f"[File: {file.name}]"
    if file.text is None:
        return {"type": "text", "text": head}
    room = max(0, chars - len(head) - 1)
    text = file.text if len(file.text) <= room else file.text[:room] + "\n[The rest was left out.]"
    return {"type": "text", "text": f"{head}\n{text}"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


__all__ = ["MAX_FILES", "FileMissingError", "Files"]

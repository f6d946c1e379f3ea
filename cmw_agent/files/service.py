"""Service for files: upload, open and delete them, and build their content for models.

Each method takes the principal who asks. A file of another principal and a file that does not
exist raise the same `FileMissingError`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import (
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
    describe_exception,
)
from cmw_agent.core.logs import get_logger
from cmw_agent.files.content import Contents, contents_of, window_chars
from cmw_agent.files.disk_room import DiskRoom, megabytes, network_digest
from cmw_agent.files.extraction import Extraction, FileRefusedError
from cmw_agent.files.notes import with_window
from cmw_agent.files.sniffing import HEAD, clean_name, detect, refusal_of
from cmw_agent.files.storage import (
    FILE_ID,
    PICTURE,
    WRITE_BYTES,
    FileStore,
    FileTooLargeError,
    ReceivedFile,
)
from cmw_agent.files.uploads import paced
from cmw_agent.identity.principals import Principal
from cmw_agent.identity.tripwire import Tripwire
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from cmw_agent.llm.transcription import Transcription
from memory.conversations.files import MAX_FILES
from memory.errors import InvalidTextError, QuotaExceededError, StoreError, UnknownFileError
from memory.manager import ConversationMemoryManager
from memory.records import StoredFile, utcnow

log = get_logger(__name__)

UPLOAD_SECONDS = 600.0  # maximum duration of one upload
GRACE_SECONDS = 900.0  # added to the longest upload and extraction before bytes may be swept
SWEEP_BATCH = 500  # files
MemoryOf = Callable[[Principal], ConversationMemoryManager]
T = TypeVar("T")


class FileMissingError(NotFoundError):
    """The file belongs to another principal or does not exist; both give the same answer."""

    sentence = wording("This file was not found.")


class Files:
    """The files of all principals. One object serves the process.

    Args:
        settings: Data folder, limits and endpoint.
        memory_of: Returns the memory that stores a principal's files.
        known_files: Returns which of the given ids belong to stored files, for `sweep`.
        budgets: Limits uploads, bytes on disk, and extraction workers.
        extraction: Reads documents and pictures; made from the settings by default.
        tripwire: Looks at what goes out; None without one.

    Raises:
        UserError: From each method, if the request fails or is refused.
    """

    def __init__(
        self,
        settings: Settings,
        memory_of: MemoryOf,
        known_files: Callable[[Sequence[str]], Awaitable[set[str]]],
        budgets: Budgets,
        extraction: Extraction | None = None,
        tripwire: Tripwire | None = None,
    ) -> None:
        self._tripwire = tripwire
        self._store = FileStore(settings.data_dir / "files")
        self._memory_of = memory_of
        self._known_files = known_files
        self._extraction = extraction or Extraction(settings)
        self._transcription = Transcription(settings)
        self._budgets = budgets
        self._room = DiskRoom(settings, budgets)
        self._max_bytes = settings.max_file_bytes
        self._window_chars = window_chars(settings)
        self._extraction_seconds = settings.extraction_seconds
        reading_seconds = 3 * settings.extraction_seconds + settings.turn_timeout
        self._min_age = UPLOAD_SECONDS + reading_seconds + GRACE_SECONDS

    async def add(
        self,
        principal: Principal,
        name: str,
        media_type: str,
        body: AsyncIterator[bytes],
        address: str | None = None,
    ) -> StoredFile:
        """Store an upload after extracting its content; of a refused one nothing remains.

        Args:
            principal: Who uploads.
            name: The client's name of the file; shown after cleaning, never part of a path.
            media_type: The client's media type, which is ignored.
            body: The bytes, in pieces.
            address: Network address of the client, if there is one.
        """
        del media_type
        memory = self._memory(principal)
        file_id = secrets.token_hex(16)
        network = network_digest(principal, address)
        with self._budgets.take("uploads", principal.id, address):
            await self._check_quota(principal, network, 1)
            await self._room.check_disk(self._max_bytes)
            try:
                received = await self._receive(file_id, body)
                await self._check_quota(principal, network, received.size)
                slot = self._extraction_slot(principal, address)
                file = await self._read(file_id, clean_name(name), received, slot)
                await self._store.accept(file_id)
                adding = memory.add_file(
                    principal.id, file, network=network, bound_of=self._room.bound_of
                )
                await self._user_errors(adding)
            except BaseException:
                await asyncio.shield(self._store.drop([file_id]))
                raise
        return file

    async def add_picture(
        self, principal: Principal, title: str, data: bytes, address: str | None = None
    ) -> StoredFile:
        """Store a picture that a model made, under the same limits and checks as an upload.

        Args:
            principal: Whose picture it is.
            title: Its name without an ending.
            data: Its bytes.
            address: Network address of the client, if there is one.
        """
        file_type = detect(data[:HEAD], title)
        if file_type is None or file_type.kind != "image":
            raise FileRefusedError("kind")
        media_type = file_type.media_type
        name = f"{title}.{media_type.partition('/')[2]}"
        return await self.add(principal, name, media_type, _pieces(data), address)

    async def open(self, principal: Principal, file_id: str) -> tuple[StoredFile, Path]:
        """Return the record of a file that goes out to a principal, and the path of its bytes.

        Raises:
            IsolationBreachError: It holds another owner's canary.
        """
        file = await self._find(principal, file_id)
        path = self._store.path(file.file_id)
        if not await asyncio.to_thread(path.is_file):
            raise FileMissingError
        if self._tripwire is not None:
            await self._tripwire.check_file(principal.id, path)
        return file, path

    def outgoing(
        self, principal: Principal, pieces: AsyncGenerator[bytes]
    ) -> AsyncGenerator[bytes]:
        """Return the pieces of a download for a principal, which the tripwire looks at.

        They end with IsolationBreachError where another owner's canary begins.
        """
        return pieces if self._tripwire is None else self._tripwire.outgoing(principal.id, pieces)

    def clean(self, principal: Principal, text: str) -> str:
        """Return an exported text for a principal, which the tripwire has looked at.

        Raises:
            IsolationBreachError: It holds another owner's canary.
        """
        return text if self._tripwire is None else self._tripwire.clean(principal.id, text)

    async def of_messages(
        self, principal: Principal, conversation: str, seqs: Sequence[int]
    ) -> list[StoredFile]:
        """Return the records of the files of messages, oldest first."""
        memory = self._memory_of(principal)
        return await self._user_errors(memory.files_of(principal.id, conversation, seqs))

    async def all_of(self, principal: Principal) -> AsyncGenerator[StoredFile]:
        """Yield the records of all files of a principal."""
        memory, after_id = self._memory_of(principal), ""
        while page := await self._user_errors(memory.all_files(principal.id, after_id=after_id)):
            for file in page:
                yield file
            after_id = page[-1].file_id

    async def remove(self, principal: Principal, file_id: str) -> None:
        """Delete a file that is not attached to a message."""
        if not principal.is_stored or not FILE_ID.fullmatch(file_id):
            raise FileMissingError
        await self._user_errors(self._memory_of(principal).remove_file(principal.id, file_id))
        await self._store.drop([file_id])

    async def forget(self, principal: Principal) -> None:
        """Delete all files of a principal, permanently and immediately."""
        memory = self._memory_of(principal)
        await self._store.drop(await self._user_errors(memory.forget_files(principal.id)))

    async def contents(
        self, principal: Principal, conversation: str, seqs: Sequence[int], *, chars: int
    ) -> Contents:
        """Return the content of the files attached to messages, for a model.

        Args:
            principal: Owner of the conversation.
            conversation: Its id.
            seqs: Sequence numbers of the messages.
            chars: Maximum length of all texts, which the newest files use first; a file for
                which none is left is only named.
        """
        memory = self._memory(principal)
        files = await self._user_errors(memory.files_of(principal.id, conversation, seqs))
        return await contents_of(self._store, files, chars)

    async def sweep(self) -> int:
        """Delete bytes without a row, if they are older than any running upload; return how many."""
        ids, count = list(await self._store.older_than(self._min_age)), 0
        for start in range(0, len(ids), SWEEP_BATCH):
            batch = ids[start : start + SWEEP_BATCH]
            known_ids = await self._known_files(batch)
            unknown = [file_id for file_id in batch if file_id not in known_ids]
            await self._store.drop(unknown)
            count += len(unknown)
        return count

    def _memory(self, principal: Principal) -> ConversationMemoryManager:
        if not principal.is_stored:
            raise InvalidMessageError(
                wording(
                    "Files need a visit that is kept; please allow this page's cookie and reload it."
                ),
                status=403,
            )
        return self._memory_of(principal)

    async def _find(self, principal: Principal, file_id: str) -> StoredFile:
        if not principal.is_stored or not FILE_ID.fullmatch(file_id):
            raise FileMissingError
        return await self._user_errors(self._memory_of(principal).file(principal.id, file_id))

    def _extraction_slot(
        self, principal: Principal, address: str | None
    ) -> contextlib.AbstractAsyncContextManager[object]:
        """Return a context that waits for one of the extraction workers."""
        wait = 2 * self._extraction_seconds
        return self._budgets.hold("extraction", principal.id, address, wait_seconds=wait)

    async def _check_quota(self, principal: Principal, network: str | None, size: int) -> None:
        # An early refusal; the transaction that stores the file checks again.
        memory = self._memory_of(principal)
        used = await self._user_errors(memory.used_bytes(principal.id, network))
        if (bound := self._room.bound_of(used, size)) is not None:
            raise self._room.error(bound, used.owner)

    async def _receive(self, file_id: str, body: AsyncIterator[bytes]) -> ReceivedFile:
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                received = await self._store.receive(
                    file_id, paced(body), max_bytes=self._max_bytes, head=HEAD
                )
        except FileTooLargeError:
            limit = megabytes(self._max_bytes)
            raise InvalidMessageError(
                wording("This file is too large; at most {limit} are taken.", limit=limit),
                status=413,
            ) from None
        except TimeoutError:
            raise InvalidMessageError(
                wording("The upload took too long; please try again."), status=408
            ) from None
        except OSError as error:
            raise files_unavailable(error) from None
        if not received.size:
            raise InvalidMessageError(wording("This file is empty."))
        return received

    async def _read(
        self,
        file_id: str,
        name: str,
        received: ReceivedFile,
        slot: contextlib.AbstractAsyncContextManager[object],
    ) -> StoredFile:
        file_type = detect(received.head, name)
        if file_type is None:
            raise FileRefusedError(refusal_of(received.head))
        media_type, used_bytes, text = file_type.media_type, received.size, None
        notes = None
        if file_type.kind == "audio":
            text = await self._transcription.text(received.path, media_type)
            notes = None if text else "empty"
        else:
            picture = received.path.with_suffix(PICTURE)
            async with slot:
                extracted = await self._extraction.read(received.path, media_type, picture)
            media_type, text, notes = extracted.media_type, extracted.text, extracted.notes
            used_bytes += await asyncio.to_thread(_size, picture)
        notes = with_window(notes, len(text or ""), self._window_chars)
        used_bytes += len((text or "").encode())
        kind, size = file_type.kind, received.size
        return StoredFile(
            file_id, None, None, name, media_type, kind, size, used_bytes, text, utcnow(), notes
        )

    async def _user_errors(self, work: Awaitable[T]) -> T:
        """Return the result of `work`, with store errors converted to `UserError`."""
        try:
            return await work
        except UnknownFileError:
            raise FileMissingError from None
        except QuotaExceededError as error:
            raise self._room.error(error.bound, error.used) from None
        except InvalidTextError:
            raise FileRefusedError("damaged") from None
        except StoreError as error:
            raise files_unavailable(error) from None


def files_unavailable(cause: Exception) -> UserError:
    """Return the error for files that cannot be stored or read now; its cause is logged."""
    error = ServiceUnavailableError(
        wording("Files cannot be stored right now; please try again in a moment.")
    )
    log.error("files failed", error_id=error.error_id, cause=describe_exception(cause))
    return error


async def _pieces(data: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), WRITE_BYTES):
        yield data[start : start + WRITE_BYTES]


def _size(path: Path) -> int:
    """Return the bytes of the picture of a file; remove one that nothing was written to."""
    size = path.stat().st_size if path.exists() else 0
    if not size:
        path.unlink(missing_ok=True)
    return size


__all__ = ["MAX_FILES", "FileMissingError", "Files"]

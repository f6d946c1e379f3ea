"""Stores the bytes of files in the data folder. A path is made from a file id, never from a name."""

import asyncio
import contextlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memory.engine.permissions import make_folder

PICTURE = ".picture"
INCOMING = "incoming"
WRITE_BYTES = 1 << 20  # collected before they are written
FILE_ID = re.compile(r"[0-9a-f]{32}")


class FileTooLargeError(Exception):
    """The upload is larger than a file may be."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A received upload: its path, its size in bytes, and its first bytes."""

    path: Path
    size: int
    head: bytes


class FileStore:
    """Stores files by id; the caller has checked whose they are.

    Args:
        folder: Created on first use, readable for the app's own account alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, file_id: str) -> Path:
        """Return the path of a stored file.

        Raises:
            ValueError: `file_id` is not a file id.
        """
        if not FILE_ID.fullmatch(file_id):
            raise ValueError("not the id of a file")
        return self._folder / file_id[:2] / file_id

    def picture(self, file_id: str) -> Path:
        """Return the path of the scaled picture that a model sees of an image."""
        return self.path(file_id).with_suffix(PICTURE)

    def incoming(self, file_id: str) -> Path:
        """Return the path of an upload that is not accepted yet."""
        self.path(file_id)  # checks the id
        return self._folder / INCOMING / file_id

    async def receive(
        self, file_id: str, body: AsyncIterator[bytes], *, max_bytes: int, head: int
    ) -> ReceivedFile:
        """Write an upload to its incoming path.

        Args:
            file_id: Id of the new file.
            body: The bytes, in pieces.
            max_bytes: Maximum size of the file.
            head: Number of first bytes to return.

        Raises:
            FileTooLargeError: `body` has more than `max_bytes`.
        """
        path = self.incoming(file_id)
        await asyncio.to_thread(make_folder, path.parent)
        size, pending, first = 0, bytearray(), bytearray()
        async for part in body:
            size += len(part)
            if size > max_bytes:
                raise FileTooLargeError
            if len(first) < head:
                first += part[: head - len(first)]
            pending += part
            if len(pending) >= WRITE_BYTES:
                await asyncio.to_thread(_append, path, bytes(pending))
                pending.clear()
        await asyncio.to_thread(_append, path, bytes(pending))
        return ReceivedFile(path, size, bytes(first))

    async def accept(self, file_id: str) -> None:
        """Move an upload, and its picture if there is one, from the incoming to the final path."""
        await asyncio.to_thread(self._accept, file_id)

    async def copy(self, source: str, copy: str) -> None:
        """Copy the bytes of a stored file, and its picture if there is one, to the id `copy`.

        Raises:
            FileNotFoundError: There are no bytes of that id.
        """
        await asyncio.to_thread(self._copy, source, copy)

    async def drop(self, ids: Iterable[str]) -> None:
        """Delete the files with these ids, their pictures and their uploads, if they exist."""
        await asyncio.to_thread(self._drop, list(ids))

    async def older_than(self, seconds: float) -> dict[str, list[Path]]:
        """Return the paths that were last written more than `seconds` ago, by file id."""
        return await asyncio.to_thread(self._older_than, time.time() - seconds)

    def _accept(self, file_id: str) -> None:
        incoming, path = self.incoming(file_id), self.path(file_id)
        make_folder(path.parent)
        picture = incoming.with_suffix(PICTURE)
        if picture.exists():
            picture.replace(self.picture(file_id))
        # Restarts its age: the sweep must not delete it before its row is stored.
        os.utime(incoming)
        incoming.replace(path)

    def _copy(self, source: str, copy: str) -> None:
        make_folder(self.path(copy).parent)
        if self.picture(source).exists():
            _link(self.picture(source), self.picture(copy))
        _link(self.path(source), self.path(copy))

    def _drop(self, ids: list[str]) -> None:
        for file_id in ids:
            for path in (self.path(file_id), self.incoming(file_id)):
                path.unlink(missing_ok=True)
                path.with_suffix(PICTURE).unlink(missing_ok=True)

    def _older_than(self, before: float) -> dict[str, list[Path]]:
        paths: dict[str, list[Path]] = {}
        for path, modified_at in _modified(self._folder):
            if modified_at < before and FILE_ID.fullmatch(path.stem):
                paths.setdefault(path.stem, []).append(path)
        return paths


def _link(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o600)
    # Restarts its age: the sweep must not delete it before its row is stored.
    os.utime(target)


def _modified(folder: Path) -> Iterator[tuple[Path, float]]:
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat().st_mtime


def _append(path: Path, content: bytes) -> None:
    binary = getattr(os, "O_BINARY", 0)  # on Windows only
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | binary, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(content)

"""The bytes of files, in the data folder. A path is made of an id alone, never of a name."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memory.engine.permissions import make_folder

PICTURE = ".picture"
INCOMING = "incoming"
WRITTEN_AT_ONCE = 1 << 20
FILE_ID = re.compile(r"[0-9a-f]{32}")


class FileTooLargeError(Exception):
    """More bytes came than a file may have."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """What came: where it lies, how much it is, and its first bytes."""

    path: Path
    size: int
    head: bytes


class FileStore:
    """Keeps bytes under ids that somebody else has checked.

    Args:
        folder: Made when first needed, for the app's own account alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, file_id: str) -> Path:
        """Where the bytes of a file lie. Raises ValueError for what is no id."""
        if not FILE_ID.fullmatch(file_id):
            raise ValueError("not the id of a file")
        return self._folder / file_id[:2] / file_id

    def picture(self, file_id: str) -> Path:
        """Where the picture lies that a model sees of it."""
        return self.path(file_id).with_suffix(PICTURE)

    def arriving(self, file_id: str) -> Path:
        """Where bytes lie until they are a file."""
        self.path(file_id)
        return self._folder / INCOMING / file_id

    async def receive(
        self, file_id: str, body: AsyncIterator[bytes], *, most: int, head: int
    ) -> ReceivedFile:
        """Write what comes, piece by piece. Raises FileTooLargeError."""
        path = self.arriving(file_id)
        await asyncio.to_thread(make_folder, path.parent)
        size, pending, first = 0, bytearray(), bytearray()
        async for part in body:
            size += len(part)
            if size > most:
                raise FileTooLargeError
            if len(first) < head:
                first += part[: head - len(first)]
            pending += part
            if len(pending) >= WRITTEN_AT_ONCE:
                await asyncio.to_thread(_append, path, bytes(pending))
                pending.clear()
        await asyncio.to_thread(_append, path, bytes(pending))
        return ReceivedFile(path, size, bytes(first))

    async def keep(self, file_id: str) -> None:
        """Give what arrived, and its picture if there is one, its place."""
        await asyncio.to_thread(self._keep, file_id)

    async def drop(self, ids: Iterable[str]) -> None:
        """Delete what there is under these ids, wherever it lies."""
        await asyncio.to_thread(self._drop, list(ids))

    async def old(self, seconds: float) -> dict[str, list[Path]]:
        """Return what was written longer ago than that, by id."""
        return await asyncio.to_thread(self._old, time.time() - seconds)

    def _keep(self, file_id: str) -> None:
        arriving, place = self.arriving(file_id), self.path(file_id)
        make_folder(place.parent)
        drawn = arriving.with_suffix(PICTURE)
        if drawn.exists():
            drawn.replace(self.picture(file_id))
        # Its age counts from here: until its row is there the upkeep must leave it alone.
        os.utime(arriving)
        arriving.replace(place)

    def _drop(self, ids: list[str]) -> None:
        for file_id in ids:
            arriving = self.arriving(file_id)
            for path in (self.path(file_id), arriving):
                path.unlink(missing_ok=True)
                path.with_suffix(PICTURE).unlink(missing_ok=True)

    def _old(self, before: float) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path, written in _written(self._folder):
            if written < before and FILE_ID.fullmatch(path.stem):
                found.setdefault(path.stem, []).append(path)
        return found


def _written(folder: Path) -> Iterator[tuple[Path, float]]:
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat().st_mtime


def _append(path: Path, content: bytes) -> None:
    binary = getattr(os, "O_BINARY", 0)  # of Windows
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | binary, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(content)

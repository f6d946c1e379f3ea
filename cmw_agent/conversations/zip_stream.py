"""Writes a ZIP archive in pieces, each handed out before the next is made."""

import asyncio
import contextlib
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a ZIP archive can name


class ZipStream:
    """A ZIP archive that is written to memory and taken from there piece by piece.

    The names of members stay in memory until the end, where a ZIP archive lists them.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        # mypy wants a whole file; zipfile needs no more to write an archive that cannot seek.
        sink: Any = self._sink
        self._zip = zipfile.ZipFile(sink, "w")

    async def member(
        self, name: str, at: datetime, content: AsyncIterator[bytes], *, is_packed: bool
    ) -> AsyncGenerator[bytes]:
        """Yield a member of the archive as its content comes.

        Args:
            name: Its path in the archive.
            at: Its time.
            content: Its bytes, in pieces.
            is_packed: Whether they cannot be compressed any further.
        """
        moment = at.timetuple()[:6]
        info = zipfile.ZipInfo(name, max(EARLIEST, moment))
        info.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._zip.open(info, "w", force_zip64=True) as member:
            async for piece in content:
                await _in_thread(member.write, piece)
                if taken := self._sink.take():
                    yield taken
        if taken := self._sink.take():
            yield taken

    def end(self) -> bytes:
        """Return the end of the archive."""
        self._zip.close()
        return self._sink.take()


class _Sink:
    """A file that can only be written."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written can be taken at once."""

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


async def _in_thread(work: Callable[[bytes], object], data: bytes) -> None:
    """Run `work` in a thread; when cancelled, only once it has ended: it uses what is closed then."""
    task = asyncio.ensure_future(asyncio.to_thread(work, data))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise

"""Receives an export file that is uploaded, bounded in size and time."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError, ServiceUnavailableError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.files.disk_room import DiskRoom
from cmw_agent.files.storage import WRITE_BYTES
from cmw_agent.files.uploads import paced
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from memory.engine.permissions import make_folder

log = get_logger(__name__)

MB = 1_000_000
UPLOAD_SECONDS = 1_800.0


class ExportUploads:
    """Receives export files.

    Args:
        settings: Data folder and limits.
        budgets: Says how much of the disk files may take.
    """

    def __init__(self, settings: Settings, budgets: Budgets) -> None:
        self._folder = settings.data_dir / "imports"
        self._room = DiskRoom(settings, budgets)
        self._max_bytes = settings.max_import_mb * MB

    async def receive(self, body: AsyncIterator[bytes]) -> IO[bytes]:
        """Write a body to a file without a name, which goes when it is closed or the process ends.

        Returns:
            The file, at its beginning; the caller closes it.

        Raises:
            UserError: It is empty, too large or too slow, or cannot be stored.
        """
        try:
            await asyncio.to_thread(make_folder, self._folder)
            await self._room.check_disk(self._max_bytes)
            file = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", dir=self._folder)
            try:
                await self._write(file, body)
                await asyncio.to_thread(file.seek, 0)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(file.close))
                raise
        except OSError as error:
            unavailable = ServiceUnavailableError(
                wording("Files cannot be imported right now; please try again in a moment.")
            )
            log.error(  # noqa: TRY400
                "an import failed",
                error_id=unavailable.error_id,
                cause=describe_exception(error),
            )
            raise unavailable from None
        return file

    async def _write(self, file: IO[bytes], body: AsyncIterator[bytes]) -> None:
        size, pending = 0, bytearray()
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for part in paced(body):
                    size += len(part)
                    if size > self._max_bytes:
                        raise InvalidMessageError(
                            wording(
                                "This file is too large; at most {count} MB are imported. A conversations.json without pictures may be smaller.",
                                count=self._max_bytes // MB,
                            ),
                            status=413,
                        )
                    pending += part
                    if len(pending) >= WRITE_BYTES:
                        await asyncio.to_thread(file.write, bytes(pending))
                        pending.clear()
        except TimeoutError:
            raise InvalidMessageError(
                wording("The upload took too long; please try again."), status=408
            ) from None
        if not size:
            raise InvalidMessageError(wording("This file is empty."))
        await asyncio.to_thread(file.write, bytes(pending))
        await asyncio.to_thread(file.flush)

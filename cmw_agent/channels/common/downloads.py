"""Downloads that are written while they are read, in small pieces and at a minimum rate."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cmw_agent.core.logs import get_logger
from cmw_agent.files.media_types import SHOWN
from cmw_agent.identity.tripwire import IsolationBreachError
from cmw_agent.limits.budgets import Hold
from cmw_agent.limits.pace import Pace
from memory.records import StoredFile

log = get_logger(__name__)

PIECE_BYTES = 65_536  # that wait in a connection at most, beside its own buffer


def file_response(file: StoredFile, path: Path) -> Response:
    """Return the bytes of a user's file as they came, to be saved and never to be run."""
    return FileResponse(
        path,
        media_type=file.media_type if file.media_type in SHOWN else "application/octet-stream",
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
            # The guard adds its own, nosniff and no-store; both policies hold then.
            "content-security-policy": "sandbox; default-src 'none'",
        },
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a download must be read: a grace in seconds, then a least rate on average."""

    grace: float = 30.0
    bytes_per_second: float = 16_384.0


class Download(StreamingResponse):
    """A file in pieces; each is written when the client has read the one before.

    Args:
        pieces: The file; closed when the response ends, however that comes about.
        hold: The part of a budget that the download uses, given back then.
        media_type: Of the file.
        headers: Of the response.
        rate: One that is read more slowly is cut off; the default is for exports.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes],
        hold: Hold,
        *,
        media_type: str,
        headers: Mapping[str, str],
        rate: Rate | None = None,
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces
        self._hold = hold
        self._rate = rate or Rate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hold:
            async with contextlib.aclosing(self._pieces):
                await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send all pieces; one that is too slow or holds another user's is cut off and has no proper end."""
        head = {"type": "http.response.start", "status": self.status_code}
        await send(head | {"headers": self.raw_headers})
        pace, sent = Pace(self._rate.grace, self._rate.bytes_per_second), 0
        try:
            async for piece in self._pieces:
                for start in range(0, len(piece), PIECE_BYTES):
                    part = piece[start : start + PIECE_BYTES]
                    async with asyncio.timeout_at(pace.deadline(sent)):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                    sent += len(part)
        except TimeoutError:
            log.info("a download was read too slowly", bytes=sent)
            return
        except IsolationBreachError:
            return  # the log has it
        await send({"type": "http.response.body", "body": b"", "more_body": False})

"""Bounds how slowly the bytes of an upload may arrive."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from cmw_agent.limits.pace import Pace

SILENT_SECONDS = 30.0  # maximum time between two pieces
MIN_RATE = 8_192  # bytes per second, on average


async def paced(body: AsyncIterator[bytes], pace: Pace | None = None) -> AsyncGenerator[bytes]:
    """Yield the pieces of `body` as long as they arrive fast enough.

    Args:
        body: The bytes, in pieces.
        pace: Minimum rate; `MIN_RATE` by default.

    Raises:
        TimeoutError: No piece arrives within `SILENT_SECONDS`, or fewer bytes than `pace` requires.
    """
    loop, count = asyncio.get_running_loop(), 0
    pace = pace or Pace(SILENT_SECONDS, MIN_RATE)
    while True:
        deadline = min(loop.time() + SILENT_SECONDS, pace.deadline(count))
        async with asyncio.timeout_at(deadline):
            part = await anext(body, None)
        if part is None:
            return
        count += len(part)
        yield part

"""Forwards the bytes of one connection to another."""

import asyncio
import contextlib
from collections.abc import Callable


async def forward(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passes: Callable[[], bool] = lambda: True,
) -> None:
    """Write what comes to `writer` until one side closes; drop it while `passes` says no."""
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if passes():
                    writer.write(data)
                    await writer.drain()
    finally:
        writer.close()

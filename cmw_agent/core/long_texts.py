"""Runs work on long texts in a thread, so that it does not block the event loop.

A thread that runs Python code releases the GIL every few milliseconds (`sys.getswitchinterval`).
A single C call, such as one regular-expression match, does not: it must be linear in the text.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

LONG_CHARS = 10_000  # work on shorter texts takes less time than the switch to a thread

T = TypeVar("T")


async def off_loop(size: int, work: Callable[..., T], *arguments: object) -> T:
    """Return `work(*arguments)`, computed in the event loop's thread pool if the texts are long.

    Args:
        size: Length of the texts, in characters; up to `LONG_CHARS` the work runs in the loop.
        work: Must be thread-safe.
        arguments: Passed to `work`.
    """
    if size <= LONG_CHARS:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)

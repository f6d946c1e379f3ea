"""Work on long texts leaves the event loop.

A thread that runs Python lets the loop run between its slices (`sys.getswitchinterval`). One call
in C, such as a match of a regular expression, does not: linear work is what bounds it.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

LONG_CHARS = 10_000  # from which a text is long; shorter ones take less than a hop to a thread

T = TypeVar("T")


async def off_loop(size: int, work: Callable[..., T], *arguments: object) -> T:
    """Return what `work` returns for `arguments`: computed here where they are short.

    Long ones go to the loop's own threads, of which there are few.

    Args:
        size: Characters of the texts that are worked on.
        work: Must not touch what belongs to the loop.
        arguments: For `work`.
    """
    if size <= LONG_CHARS:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)

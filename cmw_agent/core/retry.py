"""Retries a call that failed in a way that another try can help."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    tries: int,
    pause_after: Callable[[Exception, int], float | None],
) -> T:
    """Return what `call` returns, tried again after failures.

    Args:
        call: Makes one try.
        tries: How many are made at most; the last one's error is raised.
        pause_after: Returns the seconds until the next try, for an error and the number of tries
            made so far; None where the error is to be raised.
    """
    for number in range(1, tries):
        try:
            return await call()
        except Exception as error:
            seconds = pause_after(error, number)
            if seconds is None:
                raise
        await asyncio.sleep(seconds)
    return await call()

"""Measures how the processor time of a function grows with the size of its text."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MAX_RATIO = 20.0  # of the times for eight times the text; linear work takes 8, quadratic 64
FACTOR = 8
TRIES = 4
MIN_SECONDS = 0.003  # below this the measurement itself takes most of the time


def cost(work: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
    """Return the processor time in seconds that `work` takes for an input of this size.

    Args:
        work: The function to measure.
        make: Makes an input of a size.
        size: The size in characters.
    """
    times = []
    for _ in range(3):
        text = make(size)
        start = time.thread_time()
        work(text)
        times.append(time.thread_time() - start)
    return max(min(times), MIN_SECONDS)


def grows_no_faster(
    work: Callable[[Any], object], make: Callable[[int], Any], sizes: tuple[int, ...]
) -> bool:
    """Return whether `work` takes about linear time at each of the sizes.

    Each size is compared with an eighth of it, up to `TRIES` times: a disturbance of the
    measurement passes, a quadratic function stays slow.
    """

    def is_linear(size: int) -> bool:
        return cost(work, make, size) <= MAX_RATIO * cost(work, make, size // FACTOR)

    with _without_gc():
        return all(any(is_linear(size) for _ in range(TRIES)) for size in sizes)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Collect garbage before the block, and none during it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

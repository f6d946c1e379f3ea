"""How the work for a text grows with the text, as a ratio of processor times."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MOST = 20.0  # times the work, of eight times the text; quadratic work takes 64 times
FACTOR = 8
TRIES = 4
LEAST = 0.003  # seconds; below this, what is measured is the measuring


def cost(work: Callable[[Any], object], made: Callable[[int], Any], size: int) -> float:
    """Return the processor's seconds that `work` takes for what is `made` of this size."""
    found = []
    for _ in range(3):
        text = made(size)
        begun = time.thread_time()
        work(text)
        found.append(time.thread_time() - begun)
    return max(min(found), LEAST)


def grows_no_faster(
    work: Callable[[Any], object], made: Callable[[int], Any], sizes: tuple[int, ...]
) -> bool:
    """Whether the work of each size is that of an eighth of it, about eight times.

    What disturbs a measurement passes, and the work of a text does not.
    """

    def is_linear(size: int) -> bool:
        return cost(work, made, size) <= MOST * cost(work, made, size // FACTOR)

    with _uncollected():
        return all(any(is_linear(size) for _ in range(TRIES)) for size in sizes)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What others have left is collected before anything is measured, and not meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""The garbage collector while modules are imported."""

import contextlib
import gc
from collections.abc import Iterator

NEW_OBJECTS = 10_000  # between two collections, instead of CPython's 700


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Let the garbage collector run rarely meanwhile: imports make many objects and little garbage."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)

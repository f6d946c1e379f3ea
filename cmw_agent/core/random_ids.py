"""Random ids for objects that live as long as one request or page."""

import os

POOL_BYTES = 4_096  # read from the operating system at a time


class RandomIdPool:
    """Makes random hex ids from the operating system's randomness, read for many ids at once.

    `secrets` makes one system call for each id and releases the GIL during it. Where another
    thread waits for the GIL, such as the database writer, getting it back takes far longer than
    the call.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._offset = 0

    def hex(self, length: int) -> str:
        """Return a new id of `length` random bytes, as two hex digits each."""
        end = self._offset + length
        if end > len(self._pool):
            self._pool, end = os.urandom(max(POOL_BYTES, length)), length
        self._offset = end
        return self._pool[end - length : end].hex()

"""Random names for what comes and goes with each request."""

import os

DRAWN = 4_096  # bytes at a time


class RandomIdPool:
    """Draws names in hex from the operating system's randomness, for many at a time.

    `secrets` asks the system for each name and lets go of the interpreter meanwhile; where a
    thread waits for that, such as the one that writes to the database, it takes far longer
    to come back than to be asked.
    """

    def __init__(self) -> None:
        self._drawn = b""
        self._at = 0

    def hex(self, length: int) -> str:
        """Return a new name of `length` bytes, two digits each."""
        end = self._at + length
        if end > len(self._drawn):
            self._drawn, end = os.urandom(max(DRAWN, length)), length
        self._at = end
        return self._drawn[end - length : end].hex()

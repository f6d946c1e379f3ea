"""How slowly bytes may come or go."""

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pace:
    """A deadline that each byte puts off a little, so that neither silence nor a trickle lasts.

    Args:
        grace: Seconds for the first bytes, and that may be lost on the way.
        bytes_per_second: The least rate beside that.
        began: The event loop's time at the beginning.
    """

    grace: float
    bytes_per_second: float
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def deadline(self, count: int) -> float:
        """Return the loop's time at which more than `count` bytes must have passed."""
        return self.began + self.grace + count / self.bytes_per_second

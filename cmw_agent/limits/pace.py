"""Minimum rate at which bytes must arrive or be sent."""

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pace:
    """A deadline that each byte extends, so that neither silence nor a trickle lasts for long.

    Args:
        grace: Seconds allowed in addition to the time that the minimum rate needs.
        bytes_per_second: Minimum rate.
        began: Start of the transfer, on the event loop's clock.
    """

    grace: float
    bytes_per_second: float
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def deadline(self, count: int) -> float:
        """Return the time on the loop's clock by which more than `count` bytes must have passed."""
        return self.began + self.grace + count / self.bytes_per_second

"""Refusals: how many deliveries this process has refused since it began, by HTTP status."""

from collections import Counter


class Refusals:
    """Counts deliveries.

    Attributes:
        by_status: The refused ones, by HTTP status.
        events: Those that held no message of a person.
    """

    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self.events = 0

    def count(self, status: int) -> None:
        """Count a refused delivery."""
        self.by_status[str(status)] += 1

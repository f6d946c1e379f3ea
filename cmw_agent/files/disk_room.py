"""Room on the disk for uploads: of one owner, of one network address, of all, and of the machine.

What is used is counted from the database, so that a restart forgets none of it.
"""

import asyncio
import shutil
from hashlib import sha256

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budget_sizes import BudgetFullError
from cmw_agent.limits.budgets import Budget, Budgets
from cmw_agent.limits.limiter import HOUR, RateLimitError, network_of
from memory.conversations.files import UsedBytes

# Made for nothing, by a cookie or an id. Of clients only those have an address whose key is public.
ANONYMOUS = frozenset({"visitor", "widget", "client"})
NETWORK_FULL = (
    "The visitors of your network keep as many files here as they may; please delete "
    "conversations with files, or sign in."
)
APP_FULL = "There is no room for further files here right now; please try again later."


def network_digest(principal: Principal, address: str | None) -> str | None:
    """Return what a visitor's network is known by in the database.

    None where it does not count: an account, a program or a phone answers for itself.
    """
    if address is None or principal.kind not in ANONYMOUS:
        return None
    return sha256(network_of(address).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class DiskRoom:
    """Says whether there is room for a file.

    Args:
        settings: The folder, and how much of its disk stays free.
        budgets: How many bytes each may use.
    """

    def __init__(self, settings: Settings, budgets: Budgets) -> None:
        self._folder = settings.data_dir
        self._spare = settings.disk_spare_bytes
        self._budget: Budget = budgets.budget("disk_bytes")

    def bound_of(self, used: UsedBytes, wanted: int) -> str | None:
        """Return whose bound keeps `wanted` more bytes from being stored; see `memory.conversations.files`."""
        return self._budget.bound(
            owner=used.owner, network=used.network, total=used.total, amount=wanted
        )

    async def check_disk(self, wanted: int) -> None:
        """Raise `BudgetFullError` where `wanted` bytes would leave too little of the disk free."""
        free = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
        if free - wanted < self._spare:
            raise self.error("app", 0)

    def error(self, bound: str, used: int) -> UserError:
        """Return the error for a bound of `bound_of`; `used` are the owner's bytes."""
        if bound == "app":
            return BudgetFullError(APP_FULL, retry_after=HOUR)
        if bound == "network":
            return RateLimitError(NETWORK_FULL, retry_after=HOUR)
        return InvalidMessageError(
            f"Your files take {megabytes(used)} of {megabytes(self._budget.per_owner)}, and this "
            "one does not fit; please delete conversations with files first.",
            status=413,
        )


def megabytes(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB"

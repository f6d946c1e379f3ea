"""Disk quota for uploads: per owner, per network of visitors, in total, and of the disk itself.

The used bytes are counted from the database, so that they survive a restart.
"""

import asyncio
import shutil
from hashlib import sha256

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Wording, wording
from cmw_agent.limits.budget_sizes import BudgetFullError
from cmw_agent.limits.budgets import Budget, Budgets
from cmw_agent.limits.limiter import HOUR, RateLimitError, network_of
from memory.conversations.files import UsedBytes

# Kinds of principals that cost nothing to create. Only API clients with a public key pass an address.
ANONYMOUS = frozenset({"visitor", "widget", "client"})
NETWORK_FULL = wording(
    "The visitors of your network keep as many files here as they may; please delete "
    "conversations with files, or sign in."
)
APP_FULL = wording("There is no room for further files here right now; please try again later.")


def network_digest(principal: Principal, address: str | None) -> str | None:
    """Return the digest by which the database names a visitor's network.

    Args:
        principal: Who uploads.
        address: Network address of the request, or None.

    Returns:
        None if the principal is not limited by network: an account, an API client, a phone.
    """
    if address is None or principal.kind not in ANONYMOUS:
        return None
    return sha256(network_of(address).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class DiskRoom:
    """Checks whether a file fits into the quotas and on the disk.

    Args:
        settings: The data folder, and the bytes of its disk that must stay free.
        budgets: The budget "disk_bytes", in bytes.
    """

    def __init__(self, settings: Settings, budgets: Budgets) -> None:
        self._folder = settings.data_dir
        self._spare = settings.disk_spare_bytes
        self._budget: Budget = budgets.budget("disk_bytes")

    def bound_of(self, used: UsedBytes, size: int) -> str | None:
        """Return whose quota a further file exceeds: "owner", "network" or "app"; else None.

        Args:
            used: Bytes that are stored already.
            size: Bytes of the further file.
        """
        return self._budget.bound(
            owner=used.owner, network=used.network, total=used.total, amount=size
        )

    async def check_disk(self, size: int) -> None:
        """Check that the disk has room for a file of `size` bytes.

        Raises:
            BudgetFullError: Too little of the disk would stay free.
        """
        free = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
        if free - size < self._spare:
            raise self.error("app", 0)

    def error(self, bound: str, used: int) -> UserError:
        """Return the error for an exceeded quota.

        Args:
            bound: As `bound_of` returned it.
            used: Bytes that the owner stores.
        """
        if bound == "app":
            return BudgetFullError(APP_FULL, retry_after=HOUR)
        if bound == "network":
            return RateLimitError(NETWORK_FULL, retry_after=HOUR)
        return InvalidMessageError(
            wording(
                "Your files take {used} of {limit}, and this one does not fit; please delete conversations with files first.",
                used=megabytes(used),
                limit=megabytes(self._budget.per_owner),
            ),
            status=413,
        )


def megabytes(count: int) -> Wording:
    """Return a number of bytes as text in megabytes, such as ``12.5 MB``."""
    return wording("{count} MB", count=f"{count / 1e6:.1f}")

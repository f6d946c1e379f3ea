"""Sizes of the budgets: how much of each kind one owner, one network address, and all may use.

All numbers are here and are derived from the settings. See
``docs/adr/0025-one-budget-per-address.md``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import OverloadedError
from cmw_agent.language import Wording, wording
from cmw_agent.limits.limiter import HOUR, MINUTE, RateLimitError, duration_text

BudgetKind = Literal[
    "turns",
    "mailboxes",
    "heartbeats",
    "connections",
    "approvals",
    "uploads",
    "disk_bytes",
    "tasks",
    "exports",
    "imports",
    "imported_mb",
    "share_reads",
    "copies",
    "prompts",
    "new_cookies",
    "large_bodies",
    "body_bytes",
    "extraction",
]
BUDGET_KINDS: tuple[BudgetKind, ...] = tuple(get_args(BudgetKind))
BudgetScope = Literal["owner", "network", "app"]
FULL: Mapping[BudgetScope, Wording] = MappingProxyType(
    {
        "owner": wording("You have too many {noun} right now; please try again in {wait}."),
        "network": wording(
            "Your network has too many {noun} right now; please try again in {wait}."
        ),
        "app": wording("The app has too many {noun} right now; please try again in {wait}."),
    }
)
RETRY_SECONDS = 5  # Retry-After for a budget that is held, not spent
PAGES_PER_OWNER = 50
LARGE_BODIES = 8  # request bodies in memory
BODY_BYTES = 67_108_864  # of all other request bodies that are being received
QUESTIONS = 1_000  # minimum of the total of pending approvals in one process
TASK_OWNERS = 50  # owners of one network who may each have the maximum of recurring tasks
IMPORTS = 4  # worker processes that read export files; one per owner
IMPORTED_SHARES = 10  # of the largest file, that all may import in an hour; two per owner
SHARE_READS = 4  # pages of shared chats that are being drawn, each in a thread
COPIES = 1_000  # shares, forks and continued chats in an hour
PROMPTS = 5_000  # saved prompts that are written in an hour
EXTRACTIONS = 4  # extraction workers; one per owner


class BudgetFullError(OverloadedError):
    """The total of a budget is used up.

    Args:
        sentence: Which budget, and when to try again.
        retry_after: Whole seconds until then, for the header `Retry-After`.
    """

    retry_after: int = RETRY_SECONDS

    def __init__(self, sentence: str | None = None, *, retry_after: int = RETRY_SECONDS) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of one kind may be used at once, or within a window.

    A network address may use `per_network` when nobody else uses anything. When little is free it
    may use less: no more than what is free, or a fixed multiple of that if `per_network` is over
    half of the total (dynamic thresholds of shared buffers, Choudhury and Hahne 1998). So
    something remains for newcomers, however many addresses use all they can. An address that uses
    nothing yet may take anything that is free.

    Args:
        kind: The resource.
        noun: The resource in words, for refusals: ``answers at once``.
        per_owner: Maximum for one owner.
        per_network: Maximum for one network address, for all of its owners.
        total: Maximum for all.
        seconds: Length of the window in which spending counts; None for a resource that is held
            and released.
    """

    kind: BudgetKind
    noun: str
    per_owner: int
    per_network: int
    total: int
    seconds: float | None = None

    def bound(
        self, *, owner: int, network: int | None, total: int, amount: int = 1
    ) -> BudgetScope | None:
        """Return whose limit would be exceeded: the owner's, the network's, the app's; else None.

        Args:
            owner: Present use of the owner.
            network: Present use of the network address; None if there is none, as for messengers
                and recurring tasks.
            total: Present use of all.
            amount: Further use.
        """
        free = self.total - total - amount
        # If the owner's limit equals the total, the app is full, not the owner's share.
        if owner + amount > self.per_owner and self.per_owner < self.total:
            return "owner"
        if free < 0:
            return "app"
        if network is not None and not self._is_fair(network, network + amount, free):
            return "network"
        return None

    def error(self, bound: BudgetScope) -> "RateLimitError | BudgetFullError":
        """Return the error for an exceeded limit."""
        wait = duration_text(self.retry_after)
        sentence = FULL[bound].using(noun=self.noun, wait=wait)
        kind = BudgetFullError if bound == "app" else RateLimitError
        return kind(sentence, retry_after=self.retry_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which a refused caller may try again."""
        return RETRY_SECONDS if self.seconds is None else min(math.ceil(self.seconds), HOUR)

    def _is_fair(self, before: int, after: int, free: int) -> bool:
        if self.per_network >= self.total:
            return True
        if after > self.per_network:
            return False
        multiple = max(1.0, self.per_network / (self.total - self.per_network))
        return before == 0 or after <= free * multiple


def budgets_of(settings: Settings) -> dict[BudgetKind, Budget]:
    """Return the budget of each kind, sized by the settings."""
    share, turns, pages = settings.address_share, settings.max_turns, settings.max_sessions
    questions = settings.max_tool_calls * (settings.turns_at_once or turns)
    tasks = max(settings.schedules_per_user, 1)
    disk, quota = settings.file_total_bytes, settings.file_quota_bytes
    import_mb = settings.max_import_mb
    visitors = min(settings.turns_per_address or pages, _part(share, pages))

    def held(kind: BudgetKind, noun: str, per_owner: int, total: int) -> Budget:
        return Budget(kind, noun, per_owner, _part(share, total), total)

    budgets = (
        held(
            "turns", wording("answers at once"), turns, turns
        ),  # `RateLimiter.slot` limits each owner
        held("mailboxes", wording("open pages"), PAGES_PER_OWNER, pages),
        held("heartbeats", wording("open pages"), PAGES_PER_OWNER, pages),
        held("connections", wording("connections"), 3 * pages, 3 * pages),
        held("approvals", wording("open questions"), questions, max(QUESTIONS, 2 * turns)),
        held("uploads", wording("uploads at once"), 4, 32),
        Budget("tasks", wording("recurring tasks"), tasks, min(TASK_OWNERS * tasks, pages), pages),
        held("exports", wording("exports at once"), 2, 16),
        held("imports", wording("imports at once"), 1, IMPORTS),
        Budget(
            "imported_mb",
            wording("imported megabytes"),
            2 * import_mb,
            max(2 * import_mb, _part(share, IMPORTED_SHARES * import_mb)),
            IMPORTED_SHARES * import_mb,
            HOUR,
        ),
        held("share_reads", wording("shared chats being read"), SHARE_READS, SHARE_READS),
        Budget("copies", wording("copies of chats"), 30, _part(share, COPIES), COPIES, HOUR),
        Budget(
            "prompts",
            wording("changes of saved prompts"),
            200,
            _part(share, PROMPTS),
            PROMPTS,
            HOUR,
        ),
        held("large_bodies", wording("large requests at once"), LARGE_BODIES, LARGE_BODIES),
        held("body_bytes", wording("requests underway"), BODY_BYTES, BODY_BYTES),
        held("extraction", wording("documents being read at once"), 1, EXTRACTIONS),
        held("disk_bytes", wording("bytes of files"), quota, disk),  # the database counts the use
        Budget("new_cookies", wording("new visitors"), pages, visitors, pages, MINUTE),
    )
    return {budget.kind: budget for budget in budgets}


def _part(share: float, total: int) -> int:
    return max(1, math.floor(share * total))

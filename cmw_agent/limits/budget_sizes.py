"""The size of each budget: what one owner, one network address, and all may use of a kind.

All numbers are here, and all are made from the settings. See
``docs/adr/0025-one-budget-per-address.md``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import OverloadedError
from cmw_agent.limits.limiter import HOUR, MINUTE, RateLimitError, readable

Kind = Literal[
    "turns",
    "mailboxes",
    "heartbeats",
    "connections",
    "approvals",
    "uploads",
    "disk_bytes",
    "tasks",
    "exports",
    "new_cookies",
    "large_bodies",
    "body_bytes",
    "extraction",
]
KINDS: tuple[Kind, ...] = tuple(get_args(Kind))
Bound = Literal["owner", "network", "app"]
WHO: Mapping[Bound, str] = MappingProxyType(
    {"owner": "You have", "network": "Your network has", "app": "The app has"}
)
RETRY_SECONDS = 5  # when to try again for something that is held
PAGES_PER_OWNER = 50
LARGE_BODIES = 8  # in memory
BODY_BYTES = 67_108_864  # of all other bodies that are not whole yet
QUESTIONS = 1_000  # open in one process, at least
TASK_OWNERS = 50  # of one network that may have all the recurring tasks that one may
EXTRACTIONS = 4  # workers that read documents; no owner has two


class BudgetFullError(OverloadedError):
    """All of the app's budget is used.

    Args:
        sentence: Of which kind, and when to try again.
        retry_after: Whole seconds until then, for the header of that name.
    """

    retry_after: int = RETRY_SECONDS

    def __init__(self, sentence: str | None = None, *, retry_after: int = RETRY_SECONDS) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of one kind may be used at once, or within a window.

    Alone, a network address may use `per_network`. When little is free it may use less: no more
    than is free, or a fixed multiple of it where `per_network` is over half (the dynamic threshold
    of shared buffers). So something is left for who comes next, however many addresses hold all
    they can. Who uses nothing yet may have anything that is free.

    Args:
        kind: Of what.
        noun: The same in words, for refusals: ``answers at once``.
        per_owner: For one owner.
        per_network: For one network address, whoever asks there.
        total: For all.
        seconds: The window in which spendings count; None where things are held and released.
    """

    kind: Kind
    noun: str
    per_owner: int
    per_network: int
    total: int
    seconds: float | None = None

    def bound(
        self, *, owner: int, network: int | None, total: int, amount: int = 1
    ) -> Bound | None:
        """Return whose bound is reached where `amount` more cannot be used, or None where it can.

        Args:
            owner: What the owner uses now.
            network: What the owner's network address uses now; None where there is none, as for
                messengers and recurring tasks.
            total: What all use now.
            amount: What is to be added.
        """
        free = self.total - total - amount
        # An owner's bound that is the whole is none: the app is full then.
        if owner + amount > self.per_owner and self.per_owner < self.total:
            return "owner"
        if free < 0:
            return "app"
        if network is not None and not self._is_fair(network, network + amount, free):
            return "network"
        return None

    def error(self, bound: Bound) -> "RateLimitError | BudgetFullError":
        """Return the error that tells whose bound is reached."""
        wait = readable(self.retry_after)
        sentence = f"{WHO[bound]} too many {self.noun} right now; please try again in {wait}."
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


def budgets_of(settings: Settings) -> dict[Kind, Budget]:
    """Return the budget of each kind, sized by the settings."""
    share, turns, pages = settings.address_share, settings.max_turns, settings.max_sessions
    questions = settings.max_tool_calls * (settings.turns_at_once or turns)
    tasks = max(settings.schedules_per_user, 1)
    disk, quota = settings.file_total_bytes, settings.file_quota_bytes
    visitors = min(settings.turns_per_address or pages, _part(share, pages))

    def held(kind: Kind, noun: str, per_owner: int, total: int) -> Budget:
        return Budget(kind, noun, per_owner, _part(share, total), total)

    budgets = (
        held("turns", "answers at once", turns, turns),  # `Limits` has the owner's own limit
        held("mailboxes", "open pages", PAGES_PER_OWNER, pages),
        held("heartbeats", "open pages", PAGES_PER_OWNER, pages),
        held("connections", "connections", 3 * pages, 3 * pages),
        held("approvals", "open questions", questions, max(QUESTIONS, 2 * turns)),
        held("uploads", "uploads at once", 4, 32),
        Budget("tasks", "recurring tasks", tasks, min(TASK_OWNERS * tasks, pages), pages),
        held("exports", "exports at once", 2, 16),
        held("large_bodies", "large requests at once", LARGE_BODIES, LARGE_BODIES),
        held("body_bytes", "requests underway", BODY_BYTES, BODY_BYTES),
        held("extraction", "documents being read at once", 1, EXTRACTIONS),
        held("disk_bytes", "bytes of files", quota, disk),  # what is used stands in the database
        Budget("new_cookies", "new visitors", pages, visitors, pages, MINUTE),
    )
    return {budget.kind: budget for budget in budgets}


def _part(share: float, total: int) -> int:
    return max(1, math.floor(share * total))

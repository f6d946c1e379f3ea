"""Budgets of one owner, one network address and all together."""

import asyncio
import random
from pathlib import Path

import pytest

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budgets import (
    BUDGET_KINDS,
    Budget,
    BudgetFullError,
    BudgetKind,
    Budgets,
    Hold,
    budgets_of,
)
from cmw_agent.limits.limiter import RateLimitError
from tests.harness import settings_for
from tests.service import wait_until


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def held(per_owner: int, per_network: int, total: int, kind: BudgetKind = "turns") -> Budgets:
    return Budgets({kind: Budget(kind, "answers at once", per_owner, per_network, total)})


def refused(budgets: Budgets, owner: str | None, address: str | None) -> UserError | None:
    return budgets.refusal("turns", owner, address)


def test_one_address_holds_its_share_and_no_more_however_many_owners_it_invents() -> None:
    budgets = held(10, 50, 100)
    for number in range(50):
        budgets.take("turns", f"owner {number}", "192.0.2.1")
    with pytest.raises(RateLimitError, match="Your network has too many answers") as refusal:
        budgets.take("turns", "one more", "192.0.2.1")
    assert refusal.value.retry_after >= 1
    assert refused(budgets, "somebody", "192.0.2.2") is None


@pytest.mark.parametrize("attackers", [1, 2, 5, 20])
def test_something_is_left_for_newcomers_however_many_addresses_hold_all_they_can(
    attackers: int,
) -> None:
    budgets = held(1000, 500, 1000)
    for _ in range(1000):
        for attacker in range(attackers):
            address = f"192.0.2.{attacker}"
            if refused(budgets, "x", address) is None:
                budgets.take("turns", f"{attacker}", address)
    # With a multiple of one, n addresses leave the (n + 1)th part free.
    assert budgets.used("turns") <= 1000 * attackers // (attackers + 1)
    for number in range(1000 // (attackers + 1) // 2):
        budgets.take("turns", f"user {number}", f"198.51.100.{number}")


def test_who_uses_nothing_may_have_the_last_that_is_free() -> None:
    budgets = held(10, 1, 2)
    budgets.take("turns", "a", "192.0.2.1")
    budgets.take("turns", "b", "192.0.2.2")
    with pytest.raises(BudgetFullError, match="The app has") as refusal:
        budgets.take("turns", "c", "192.0.2.3")
    assert refusal.value.status == 503
    assert refusal.value.retry_after >= 1


def test_an_owner_is_bounded_at_all_addresses_together() -> None:
    budgets = held(2, 50, 100)
    budgets.take("turns", "a", "192.0.2.1")
    budgets.take("turns", "a", "192.0.2.2")
    with pytest.raises(RateLimitError, match="You have"):
        budgets.take("turns", "a", "192.0.2.3")


def test_an_ipv6_network_of_64_bits_is_one_address_and_so_is_a_mapped_one() -> None:
    budgets = held(10, 2, 100)
    budgets.take("turns", "a", "2001:db8::1")
    budgets.take("turns", "b", "2001:db8::ffff:1")
    assert isinstance(refused(budgets, "c", "2001:db8:0:0:9::3"), RateLimitError)
    assert refused(budgets, "c", "2001:db8:0:1::3") is None
    budgets.take("turns", "a", "192.0.2.1")
    budgets.take("turns", "b", "::ffff:192.0.2.1")
    assert isinstance(refused(budgets, "c", "192.0.2.1"), RateLimitError)


def test_who_comes_without_an_address_counts_for_all_and_for_the_owner_alone() -> None:
    budgets = held(3, 1, 4)
    for _ in range(3):
        budgets.take("turns", "a", None)
    assert isinstance(refused(budgets, "a", None), RateLimitError)
    budgets.take("turns", "b", None)
    assert isinstance(refused(budgets, "c", None), BudgetFullError)


def test_the_whole_is_one_addresss_where_the_share_is_one() -> None:
    budgets = held(10, 4, 4)
    for number in range(4):
        budgets.take("turns", f"{number}", "192.0.2.1")
    assert isinstance(refused(budgets, "x", "192.0.2.1"), BudgetFullError)


def test_what_is_released_is_free_again_once_and_no_name_stays() -> None:
    budgets = held(1, 1, 2)
    first = budgets.take("turns", "a", "192.0.2.1")
    with budgets.take("turns", "b", "192.0.2.2"):
        assert budgets.used("turns") == 2
        assert budgets.used_by("turns", "192.0.2.2") == 1
    first.release()
    first.release()
    assert budgets.used("turns") == 0
    use = budgets._usages["turns"]
    assert not use.owners
    assert not use.networks
    assert budgets.waiting("turns") == 0


def test_what_is_suspended_is_free_for_others_and_resumed_beyond_the_bounds() -> None:
    budgets = held(1, 1, 1)
    hold = budgets.take("turns", "a", "192.0.2.1")
    hold.suspend()
    hold.suspend()
    other = budgets.take("turns", "b", "192.0.2.1")
    hold.resume()
    hold.resume()
    assert budgets.used("turns") == 2
    hold.release()
    hold.resume()
    assert budgets.used("turns") == 1
    assert refused(budgets, "c", None) is not None
    other.release()
    assert budgets.used("turns") == 0


def test_counts_are_right_after_any_order_of_takes_and_releases() -> None:
    draw = random.Random(14)
    budgets = held(3, 6, 12)
    holds: list[tuple[str, str, Hold]] = []
    for _ in range(5_000):
        owner, address = f"{draw.randrange(9)}", f"192.0.2.{draw.randrange(4)}"
        if holds and draw.random() < 0.5:
            holds.pop(draw.randrange(len(holds)))[2].release()
        elif refused(budgets, owner, address) is None:
            holds.append((owner, address, budgets.take("turns", owner, address)))
        assert budgets.used("turns") == len(holds) <= 12
        for number in range(4):
            found = sum(place == f"192.0.2.{number}" for _, place, _ in holds)
            assert budgets.used_by("turns", f"192.0.2.{number}") == found <= 6
        use = budgets._usages["turns"]
        assert sum(use.owners.values()) == len(holds)
        assert all(0 < count <= 3 for count in use.owners.values())


async def test_of_those_who_wait_the_one_whose_network_holds_least_goes_first() -> None:
    budgets = held(10, 4, 4)
    first = budgets.take("turns", "busy", "192.0.2.1")
    for _ in range(3):
        budgets.take("turns", "busy", "192.0.2.1")
    went: list[str] = []

    async def wait(owner: str, address: str) -> None:
        async with budgets.hold("turns", owner, address, wait_seconds=30):
            went.append(owner)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(wait(f"busy too {number}", "192.0.2.1"))
        group.create_task(wait("quiet", "192.0.2.2"))
        await wait_until(lambda: budgets.waiting("turns") == 4)
        first.release()
    assert went == ["quiet", "busy too 0", "busy too 1", "busy too 2"]
    assert budgets.used("turns") == 3


async def test_a_wait_that_is_over_or_cancelled_keeps_nothing() -> None:
    budgets = held(1, 1, 1)
    holder = budgets.take("turns", "a", "192.0.2.1")
    with pytest.raises(BudgetFullError):
        async with budgets.hold("turns", "b", "192.0.2.2", wait_seconds=0.01):
            pytest.fail("there was no room")

    async def wait() -> None:
        async with budgets.hold("turns", "c", "192.0.2.3", wait_seconds=30):
            await asyncio.Event().wait()

    for is_granted in (False, True):
        task = asyncio.create_task(wait())
        await wait_until(lambda: budgets.waiting("turns") == 1)
        if is_granted:
            holder.release()  # granted in the same step in which the caller goes
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budgets.waiting("turns") == 0
    assert budgets.used("turns") == 0


def test_what_is_spent_counts_until_its_window_is_over() -> None:
    clock = Clock()
    budget = Budget("new_cookies", "new visitors", 100, 3, 6, 60.0)
    budgets = Budgets({"new_cookies": budget}, clock)
    for _ in range(3):
        budgets.spend("new_cookies", None, "192.0.2.1")
    with pytest.raises(RateLimitError, match=r"Your network has .*; please try again in 1 minute"):
        budgets.spend("new_cookies", None, "192.0.2.1")
    budgets.spend("new_cookies", None, "192.0.2.2")
    clock.now += 60
    budgets.spend("new_cookies", None, "192.0.2.1")
    assert budgets.used("new_cookies") == 1
    assert budgets._usages["new_cookies"].entries == 1
    for _ in range(600):
        clock.now += 1
        budgets.spend("new_cookies", None, "192.0.2.3", 0)
    use = budgets._usages["new_cookies"]
    assert use.entries == len(use.spent) <= 60
    assert not use.networks


def test_an_amount_that_is_too_much_is_refused_whole() -> None:
    budget = Budget("disk_bytes", "bytes of files", 100, 500, 1000, 60.0)
    budgets = Budgets({"disk_bytes": budget}, Clock())
    budgets.spend("disk_bytes", "a", "192.0.2.1", 60)
    with pytest.raises(RateLimitError):
        budgets.spend("disk_bytes", "a", "192.0.2.1", 41)
    assert budgets.used("disk_bytes") == 60
    budgets.spend("disk_bytes", "a", "192.0.2.1", 40)


def test_what_is_held_cannot_be_spent() -> None:
    with pytest.raises(ValueError, match="are held"):
        held(1, 1, 1).spend("turns", "a", None)


def test_each_kind_has_a_budget_whose_parts_fit_into_each_other(tmp_path: Path) -> None:
    for share in (0.01, 0.5, 1):
        budgets = budgets_of(settings_for(tmp_path, address_share=share))
        assert set(budgets) == set(BUDGET_KINDS)
        for budget in budgets.values():
            assert 1 <= budget.per_network <= budget.total
            assert budget.per_owner >= 1


def test_a_class_of_fifty_behind_one_address_is_refused_nothing(tmp_path: Path) -> None:
    plain = settings_for(
        tmp_path, turns_per_minute=30, turns_per_address=300, turns_at_once=5, address_share=0.5
    )
    budgets = Budgets.of(plain)
    for number in range(50):
        owner, address = f"pupil {number}", "192.0.2.1"
        for kind in ("turns", "approvals", "mailboxes", "mailboxes", "heartbeats", "heartbeats"):
            budgets.take(kind, owner, address)
        for _ in range(8):
            budgets.take("connections", None, address)
        budgets.spend("new_cookies", None, address)
        budgets.take("disk_bytes", owner, address, plain.file_quota_bytes)

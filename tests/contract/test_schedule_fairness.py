"""Recurring tasks of many owners: limited in number, run in turn, ended when unvisited."""

import asyncio
from datetime import timedelta

import pytest

from memory.engine.database import Database
from memory.errors import TooManySchedulesError
from memory.queues.schedule_claims import RUNNING_OF_NETWORK
from memory.queues.schedules import ClaimedRun, RunEnd, Schedules, UsedTasks
from tests.contract.conftest import ALICE, BOB, Clock, Store
from tests.contract.test_memory_schedules import added, schedules, tasks

__all__ = ["schedules"]  # a fixture is found by its name here

pytestmark = pytest.mark.parametrize("database", ["sqlite-file", "postgresql"], indirect=True)
DAY = timedelta(days=1)


async def claimed_by(schedules: Schedules) -> ClaimedRun:
    claimed = await schedules.claim_due()
    assert claimed is not None
    return claimed


async def finished(schedules: Schedules, claimed: ClaimedRun) -> None:
    ending = RunEnd("complete")
    schedule = claimed.schedule.schedule_id
    assert await schedules.finish(claimed.owner, schedule, claimed.holder, ending)


async def test_an_owner_has_one_task_running_and_the_others_wait_their_turn(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    for number in range(3):
        await added(schedules, store, session=f"s{number}")
    clock.advance(60)
    for _ in range(3):
        claimed = await claimed_by(schedules)
        assert await schedules.claim_due() is None
        await finished(schedules, claimed)
    assert await schedules.claim_due() is None


async def test_replicas_that_claim_at_once_begin_one_task_of_an_owner(
    schedules: Schedules, database: Database, store: Store, clock: Clock
) -> None:
    for number in range(6):
        await added(schedules, store, session=f"s{number}")
    replicas = [tasks(database, clock) for _ in range(4)]
    clock.advance(60)
    claims = await asyncio.gather(*(replicas[n % 4].claim_due() for n in range(8)))
    assert sum(claimed is not None for claimed in claims) == 1


async def test_owners_take_turns_however_many_tasks_one_has(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    for number in range(4):
        await added(schedules, store, ALICE, f"a{number}")
    for number in range(2):
        await added(schedules, store, BOB, f"b{number}")
    clock.advance(60)
    owners = []
    while (claimed := await schedules.claim_due()) is not None:
        owners.append(claimed.owner)
        clock.advance(1)
        await finished(schedules, claimed)
    first, second = owners[:2]
    assert {first, second} == {ALICE, BOB}
    assert owners == [first, second, first, second, ALICE, ALICE]


async def test_the_visitors_of_a_network_are_one_party_and_hold_few_runs(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    for number in range(6):
        await added(schedules, store, f"v{number}", f"s{number}", network="n1")
    await added(schedules, store, BOB, "b1")
    clock.advance(60)
    claims: list[ClaimedRun] = []
    while (claimed := await schedules.claim_due()) is not None:
        claims.append(claimed)
        clock.advance(1)
    owners = [claimed.owner for claimed in claims]
    assert len(owners) == RUNNING_OF_NETWORK + 1
    assert BOB in owners[:2]
    await finished(schedules, next(one for one in claims if one.owner != BOB))
    assert (await claimed_by(schedules)).owner not in owners


async def test_tasks_are_bounded_for_a_network_and_over_all_also_at_once(
    schedules: Schedules, store: Store
) -> None:
    def bound_of(used: UsedTasks) -> str | None:
        if (used.network or 0) >= 3:
            return "network"
        return "app" if used.total >= 5 else None

    async def add(number: int, network: str | None) -> None:
        owner, session = f"v{number} {network}", f"s{number}{network}"
        await added(schedules, store, owner, session, network=network, bound_of=bound_of)

    for number in range(6):
        await store.exchange(f"v{number} n1", f"s{number}n1", "hello", "hi")
    outcomes = await asyncio.gather(*(add(n, "n1") for n in range(6)), return_exceptions=True)
    refused = [one.bound for one in outcomes if isinstance(one, TooManySchedulesError)]
    assert refused == ["network"] * 3
    await add(1, None)
    await add(2, "n2")
    with pytest.raises(TooManySchedulesError) as full:
        await add(3, None)
    assert full.value.bound == "app"


async def test_a_task_that_needs_visits_is_found_when_none_came_for_long(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store, "valice", "s1", needs_visits=True)
    await added(schedules, store, "vbob", "s2", needs_visits=True)
    await added(schedules, store, "vcarol", "s3")
    await added(schedules, store, "adave", "s4", needs_visits=True)  # came along to an account
    clock.advance(20 * 86_400)
    await schedules.visit("vbob")
    clock.advance(11 * 86_400)

    async def found() -> list[str]:
        since = clock() - 30 * DAY
        return [task.owner for task in await schedules.unvisited(since=since, prefix="v")]

    assert await found() == ["valice"]
    await schedules.visit("valice")
    assert await found() == []
    clock.advance(31 * 86_400)
    assert await found() == ["vbob", "valice"]
    assert await schedules.cancel("valice", made.schedule_id)
    assert await found() == ["vbob"]

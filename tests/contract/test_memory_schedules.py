"""Recurring tasks: each belongs to one owner, and each due time is claimed by one process."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import ConversationNotFoundError, InvalidTextError, TooManySchedulesError
from memory.maintenance.retention import Retention
from memory.queues.schedule_claims import MAX_MISSED
from memory.queues.schedules import (
    MAX_FAILURES,
    MissedRuns,
    RunEnd,
    RunOutcome,
    Schedule,
    ScheduleBound,
    Schedules,
)
from memory.schema import agent_schedules
from tests.contract.conftest import ALICE, BOB, Clock, Store

pytestmark = pytest.mark.parametrize("database", ["sqlite-file", "postgresql"], indirect=True)
HOURLY = timedelta(hours=1)
LEASE = 60.0


def hourly(cron: str, _zone: str, after: datetime) -> datetime | None:
    """The next full hour; never for the crontab `never`."""
    if cron == "never":
        return None
    return after.replace(minute=0, second=0, microsecond=0) + HOURLY


def tasks(database: Database, clock: Clock) -> Schedules:
    return Schedules(database, following=hourly, lease_seconds=LEASE, clock=clock)


@pytest.fixture
def schedules(database: Database, clock: Clock) -> Schedules:
    return tasks(database, clock)


def of_owner(most: int) -> ScheduleBound:
    """A bound of so many tasks of one owner."""
    return lambda used: "owner" if used.owner >= most else None


async def added(
    schedules: Schedules, store: Store, owner: str = ALICE, session: str = "s1", **more: Any
) -> Schedule:
    if session not in {one.conversation_id for one in await store.conversations(owner)}:
        await store.exchange(owner, session, "hello", "hi")
    values = {"text": "the news", "cron": "0 * * * *", "time_zone": "UTC", **more}
    return await schedules.add(owner, session, **{"bound_of": of_owner(10), **values})


async def only(schedules: Schedules, owner: str = ALICE) -> Schedule:
    (found,) = await schedules.of_owner(owner)
    return found


async def test_a_task_is_stored_as_it_was_given(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store, recipient="49170@c.us", text="die Nachrichten ☀")
    assert await only(schedules) == made
    assert made.next_run_at == hourly("", "", clock())
    assert (made.recipient, made.text, made.runs) == ("49170@c.us", "die Nachrichten ☀", 0)


async def test_nobody_else_sees_cancels_or_finishes_a_task(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store)
    await added(schedules, store, BOB, "s2")
    assert made not in await schedules.of_owner(BOB)
    assert not await schedules.cancel(BOB, made.schedule_id)
    assert not await schedules.cancel(BOB, "x" * 500)
    clock.advance(3600)
    claims = [await schedules.claim_due(), await schedules.claim_due()]
    for claimed in claims:
        assert claimed is not None
        other = BOB if claimed.owner == ALICE else ALICE
        ended = await schedules.finish(
            other, claimed.schedule.schedule_id, claimed.holder, RunEnd("complete")
        )
        assert not ended
    assert (await only(schedules)).runs == 0
    assert await schedules.cancel(ALICE, made.schedule_id)
    assert not await schedules.cancel(ALICE, made.schedule_id)
    assert await schedules.of_owner(ALICE) == []
    assert len(await schedules.of_owner(BOB)) == 1


async def test_a_task_cannot_be_put_into_another_s_conversation(
    schedules: Schedules, store: Store
) -> None:
    await added(schedules, store)
    for session in ("s1", "not there", "\0"):
        with pytest.raises(ConversationNotFoundError):
            await schedules.add(
                BOB, session, text="x", cron="0 * * * *", time_zone="UTC", bound_of=of_owner(10)
            )
    assert len(await schedules.of_owner(ALICE)) == 1


async def test_an_owner_has_no_more_tasks_than_are_allowed(
    schedules: Schedules, store: Store
) -> None:
    for session in ("s1", "s2"):
        await store.exchange(ALICE, session, "hello", "hi")
    outcomes = await asyncio.gather(
        *(added(schedules, store, session=f"s{1 + n % 2}", bound_of=of_owner(3)) for n in range(8)),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, TooManySchedulesError)]
    assert (len(refused), len(await schedules.of_owner(ALICE))) == (5, 3)
    await added(schedules, store, BOB, "s3", bound_of=of_owner(3))


async def test_what_cannot_be_stored_or_never_comes_is_refused(
    schedules: Schedules, store: Store
) -> None:
    with pytest.raises(InvalidTextError):
        await added(schedules, store, text="a\0b")
    with pytest.raises(ValueError, match="never"):
        await added(schedules, store, cron="never")
    with pytest.raises(ValueError, match="owner"):
        await schedules.of_owner("")
    assert await schedules.of_owner(ALICE) == []


async def test_an_occasion_is_claimed_once_and_with_what_its_run_needs(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store)
    assert not await schedules.is_due()
    assert await schedules.claim_due() is None
    clock.advance(3600)
    assert await schedules.is_due()
    claimed = await schedules.claim_due()
    assert claimed is not None
    assert (claimed.owner, claimed.agent_id, claimed.channel) == (ALICE, "assistant", "web")
    assert claimed.occasion == made.next_run_at
    assert claimed.schedule.next_run_at == made.next_run_at + HOURLY
    assert not await schedules.is_due()
    assert await schedules.claim_due() is None
    assert (await only(schedules)).last_outcome == "running"
    assert await schedules.finish(ALICE, made.schedule_id, claimed.holder, RunEnd("complete"))
    assert not await schedules.finish(ALICE, made.schedule_id, claimed.holder, RunEnd("complete"))
    stored = await only(schedules)
    assert (stored.runs, stored.failures, stored.last_outcome) == (1, 0, "complete")
    assert stored.last_run_at == made.next_run_at


async def test_of_many_replicas_each_occasion_is_one_s(
    schedules: Schedules, database: Database, store: Store, clock: Clock
) -> None:
    for number in range(6):
        await added(schedules, store, f"owner {number}", f"s{number}")
    replicas = [tasks(database, clock) for _ in range(4)]
    clock.advance(3600)
    claims = await asyncio.gather(*(replicas[n % 4].claim_due() for n in range(12)))
    taken = [claimed.schedule.schedule_id for claimed in claims if claimed is not None]
    while (claimed := await schedules.claim_due()) is not None:
        taken.append(claimed.schedule.schedule_id)
    assert len(taken) == len(set(taken)) == 6


async def test_a_run_whose_process_died_is_not_run_again_and_can_be_seen(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    clock.now = (await added(schedules, store)).next_run_at
    lost = await schedules.claim_due()
    assert lost is not None
    clock.advance(LEASE + 1)
    assert await schedules.claim_due() is None
    stored = await only(schedules)
    assert (stored.last_outcome, stored.failures, stored.runs) == ("interrupted", 1, 0)
    clock.advance(3600)
    again = await schedules.claim_due()
    assert again is not None
    assert again.occasion > lost.occasion
    assert not await schedules.finish(
        ALICE, lost.schedule.schedule_id, lost.holder, RunEnd("complete")
    )


async def test_a_task_is_not_begun_while_it_runs(
    database: Database, store: Store, clock: Clock
) -> None:
    slow = Schedules(database, following=hourly, lease_seconds=7200, clock=clock)
    await added(slow, store)
    clock.advance(3600)
    assert await slow.claim_due() is not None
    clock.advance(3600)
    assert await slow.claim_due() is None


async def test_what_was_missed_runs_once_if_it_is_not_old(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store)
    clock.advance(3600 * 5.5)
    reported = await schedules.claim_due()
    assert reported is not None
    assert reported.occasion == made.next_run_at
    assert reported.missed == MissedRuns(5, made.next_run_at + 4 * HOURLY)
    await schedules.finish(
        ALICE, reported.schedule.schedule_id, reported.holder, RunEnd("interrupted")
    )
    recent = await schedules.claim_due()  # of half an hour ago
    assert recent is not None
    assert (recent.occasion, recent.missed) == (made.next_run_at + 5 * HOURLY, None)
    await schedules.finish(ALICE, recent.schedule.schedule_id, recent.holder, RunEnd("complete"))
    assert await schedules.claim_due() is None
    clock.now = (await only(schedules)).next_run_at + timedelta(minutes=59)
    claimed = await schedules.claim_due()
    assert claimed is not None
    assert (claimed.occasion, claimed.missed) == (made.next_run_at + 6 * HOURLY, None)
    assert await schedules.claim_due() is None
    assert claimed.schedule.next_run_at > clock()


async def test_a_postponed_run_stays_that_of_its_time_until_it_is_too_late(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store)
    clock.now = made.next_run_at
    for minutes, missed in ((0, None), (1, None), (90, MissedRuns(1, made.next_run_at))):
        clock.now = made.next_run_at + timedelta(minutes=minutes)
        claimed = await schedules.claim_due()
        assert claimed is not None
        assert (claimed.occasion, claimed.missed) == (made.next_run_at, missed)
        ending = RunEnd("postponed", retry_at=clock.now + timedelta(minutes=1))
        await schedules.finish(ALICE, claimed.schedule.schedule_id, claimed.holder, ending)


async def test_missed_runs_are_counted_to_a_bound(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    await added(schedules, store)
    clock.advance(3600 * 24 * 30)
    claimed = await schedules.claim_due()
    assert claimed is not None
    assert claimed.missed is not None
    assert claimed.missed.count == MAX_MISSED
    assert clock.now - claimed.schedule.next_run_at <= HOURLY


async def ended(schedules: Schedules, clock: Clock, outcome: RunOutcome) -> None:
    clock.now = max(clock.now, (await only(schedules)).next_run_at)
    claimed = await schedules.claim_due()
    assert claimed is not None
    await schedules.finish(ALICE, claimed.schedule.schedule_id, claimed.holder, RunEnd(outcome))


async def test_a_task_that_fails_again_and_again_is_stopped(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    await added(schedules, store)
    for _ in range(MAX_FAILURES - 1):
        await ended(schedules, clock, "failed")
    await ended(schedules, clock, "limited")
    await ended(schedules, clock, "complete")
    assert (await only(schedules)).failures == 0
    for _ in range(MAX_FAILURES):
        assert not (await only(schedules)).is_paused
        await ended(schedules, clock, "failed")
    assert (await only(schedules)).is_paused
    clock.now = (await only(schedules)).next_run_at
    assert not await schedules.is_due()
    assert await schedules.claim_due() is None


async def test_a_task_that_kills_its_process_is_stopped_too(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    await added(schedules, store)
    for _ in range(MAX_FAILURES):
        clock.now = (await only(schedules)).next_run_at
        assert await schedules.claim_due() is not None
        clock.advance(LEASE + 1)
    clock.now = (await only(schedules)).next_run_at
    assert await schedules.claim_due() is None
    assert (await only(schedules)).is_paused


async def test_a_run_that_could_not_begin_is_due_again_before_its_next_time(
    schedules: Schedules, store: Store, clock: Clock
) -> None:
    made = await added(schedules, store)
    for retry, expected in ((60.0, 60.0), (7200.0, 3600.0)):
        clock.now = (await only(schedules)).next_run_at
        claimed = await schedules.claim_due()
        assert claimed is not None
        ending = RunEnd("postponed", retry_at=clock() + timedelta(seconds=retry))
        await schedules.finish(ALICE, made.schedule_id, claimed.holder, ending)
        stored = await only(schedules)
        assert (stored.failures, stored.runs, stored.last_outcome) == (0, 0, "postponed")
        assert 0 < (stored.next_run_at - clock()).total_seconds() <= expected


async def test_a_deleted_conversation_takes_its_tasks_with_it(
    schedules: Schedules, database: Database, store: Store, clock: Clock
) -> None:
    await added(schedules, store)
    await added(schedules, store, session="s2", text="another")
    await store.delete(ALICE, "s1")
    assert [task.text for task in await schedules.of_owner(ALICE)] == ["another"]
    await store.restore(ALICE, "s1")
    assert len(await schedules.of_owner(ALICE)) == 2
    await store.delete(ALICE, "s1")
    clock.advance(3600)
    claimed = await schedules.claim_due()
    assert claimed is not None
    assert claimed.schedule.conversation_id == "s2"
    assert await schedules.claim_due() is None
    clock.advance(3600)
    await Retention(database, clock=clock).clean(days=0, idle_seconds=1e9)
    assert (await kept(database)) == 1
    await store.forget(ALICE)
    assert (await kept(database)) == 0


async def kept(database: Database) -> int:
    left = sa.select(sa.func.count()).select_from(agent_schedules)
    return await database.read(
        lambda connection: int(connection.execute(left).scalar_one()), owner=EVERYONE
    )


async def test_signing_in_ends_the_visitor_s_tasks_and_no_others(
    schedules: Schedules, store: Store
) -> None:
    await added(schedules, store)
    mine = await added(schedules, store, BOB, "bobs")
    other = await added(schedules, store, "user:carol", "carols")
    await store.take_over(BOB, ALICE)
    assert await schedules.of_owner(ALICE) == []
    assert await schedules.of_owner(BOB) == [mine]
    assert await schedules.of_owner("user:carol") == [other]


async def test_a_claim_that_was_cancelled_leaves_the_occasion_due(
    schedules: Schedules, database: Database, store: Store, clock: Clock
) -> None:
    await added(schedules, store)
    clock.advance(3600)
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def noted(cron: str, zone: str, after: datetime) -> datetime | None:
        loop.call_soon_threadsafe(entered.set)
        return hourly(cron, zone, after)

    claiming = asyncio.create_task(
        Schedules(database, following=noted, lease_seconds=LEASE, clock=clock).claim_due()
    )
    await entered.wait()
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert await schedules.claim_due() is not None

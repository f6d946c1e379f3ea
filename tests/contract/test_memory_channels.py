"""Inbox and outbox: one process claims each message, sends keep their order, on each database."""

import asyncio

import pytest

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.errors import InvalidTextError
from memory.queues.inbox import (
    RUNNING_SECONDS,
    UNDATED_SECONDS,
    Inbox,
    InboxMessage,
    NewInboxMessage,
)
from memory.queues.inbox_rows import MAX_WAITING
from memory.queues.outbox import SENDING_SECONDS, NewSend, Outbox, SendState
from memory.schema import channel_messages, channel_sends
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of


@pytest.fixture
async def boxes(database: Database, clock: Clock) -> tuple[Inbox, Outbox]:
    for table in (channel_messages, channel_sends):
        await database.write(
            lambda connection, t=table: connection.execute(t.delete()),  # type: ignore[misc]
            owner=EVERYONE,
        )
    return Inbox(database, "whatsapp", clock=clock), Outbox(database, "whatsapp", clock=clock)


Boxes = tuple[Inbox, Outbox]


def new(name: str, *, is_dated: bool = True) -> NewInboxMessage:
    return NewInboxMessage(name, {"text": f"{name} ☀"}, name.encode(), is_dated)


def send(name: str, to: str = "kim") -> NewSend:
    return NewSend(name, to, "bridge", f"{name} ☀")


def names(found: list[InboxMessage]) -> list[str]:
    return [item.message_id for item in found]


async def test_of_many_deliveries_one_is_new(boxes: Boxes) -> None:
    inbox, _ = boxes
    found = await asyncio.gather(*(inbox.add(ALICE, new("m1")) for _ in range(5)))
    assert sorted(found) == ["new"] + ["seen"] * 4
    assert await inbox.answered(ALICE, new("m1")) == "seen"


async def test_a_message_is_taken_by_one_and_comes_whole(boxes: Boxes) -> None:
    inbox, _ = boxes
    await inbox.add(ALICE, new("m1"))
    taken = await asyncio.gather(*(inbox.claim(10) for _ in range(4)))
    (one,) = [item for some in taken for item in some]
    assert one == InboxMessage("m1", ALICE, {"text": "m1 ☀"}, one.holder)
    assert await inbox.media(ALICE, "m1") == b"m1"
    assert await inbox.media(BOB, "m1") is None
    assert await inbox.finish(ALICE, "m1", one.holder, "done")
    assert not await inbox.finish(ALICE, "m1", one.holder, "done")
    assert await inbox.media(ALICE, "m1") is None
    assert await inbox.add(ALICE, new("m1")) == "seen"
    assert await inbox.claim(10) == []


async def test_messages_of_one_owner_come_one_after_the_other(boxes: Boxes, clock: Clock) -> None:
    inbox, _ = boxes
    for name, owner in (("a1", ALICE), ("a2", ALICE), ("b1", BOB)):
        await inbox.add(owner, new(name))
        clock.advance(1)
    assert await inbox.backlog() == 3
    taken = await inbox.claim(10)
    assert await inbox.backlog() == 1
    assert sorted(names(taken)) == ["a1", "b1"]
    assert await inbox.claim(10) == []
    assert not await inbox.give_back(BOB, "a1", taken[0].holder)
    assert await inbox.give_back(ALICE, "a1", taken[0].holder)
    (again,) = await inbox.claim(10)
    assert again.message_id == "a1"
    await inbox.finish(ALICE, "a1", again.holder, "failed")
    assert names(await inbox.claim(10)) == ["a2"]
    assert dict((await inbox.statistics()).counts) == {"failed": 1, "running": 2}


async def test_an_answer_is_kept_with_the_end_of_its_message_or_not_at_all(boxes: Boxes) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("m1"))
    (taken,) = await inbox.claim(1)
    assert not await inbox.finish(BOB, "m1", taken.holder, "done", [send("s0")])
    assert await inbox.finish(ALICE, "m1", taken.holder, "done", [send("s1")])
    assert not await inbox.finish(ALICE, "m1", taken.holder, "done", [send("s2")])
    assert [item.send_id for item in await outbox.claim(10)] == ["s1"]


async def test_who_has_given_a_message_back_ends_it_no_more(boxes: Boxes, clock: Clock) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("m1"))
    (first,) = await inbox.claim(1)
    assert await inbox.give_back(ALICE, "m1", first.holder)
    assert not await inbox.finish(ALICE, "m1", first.holder, "done", [send("early")])
    (second,) = await inbox.claim(1)
    assert not await inbox.finish(ALICE, "m1", first.holder, "failed", [send("stale")])
    assert not await inbox.give_back(ALICE, "m1", first.holder)
    clock.advance(RUNNING_SECONDS)
    await inbox.renew([first])
    assert await inbox.mark_lost(lambda message: [], [second]) == 0
    assert await inbox.finish(ALICE, "m1", second.holder, "done", [send("s1")])
    assert [item.send_id for item in await outbox.claim(10)] == ["s1"]
    await inbox.add(ALICE, new("m2"), taken_by="h")
    await inbox.renew([first, second])
    clock.advance(RUNNING_SECONDS)
    assert await inbox.mark_lost(lambda message: [], [first, second]) == 1
    assert not await inbox.finish(ALICE, "m2", "h", "done")


async def test_what_a_dead_process_had_is_lost_and_told(boxes: Boxes, clock: Clock) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("m1"))
    (taken,) = await inbox.claim(1)
    clock.advance(RUNNING_SECONDS - 1)
    await inbox.renew([taken])
    clock.advance(RUNNING_SECONDS - 1)
    assert await inbox.mark_lost(lambda message: [send("told")]) == 0
    clock.advance(1)
    lost = await asyncio.gather(
        *(inbox.mark_lost(lambda message: [send("told")]) for _ in range(3))
    )
    assert sorted(lost) == [0, 0, 1]
    assert not await inbox.finish(ALICE, "m1", taken.holder, "done", [send("late")])
    assert await inbox.add(ALICE, new("m1")) == "seen"
    assert [item.text for item in await outbox.claim(10)] == ["told ☀"]
    assert dict((await inbox.statistics()).counts) == {"lost": 1}


async def test_an_owner_reads_on_in_their_own_messages_alone(boxes: Boxes, clock: Clock) -> None:
    inbox, _ = boxes
    await inbox.add(ALICE, new("before"))
    clock.advance(1)
    since = clock()
    await inbox.add(ALICE, new("after"))
    await inbox.add(BOB, new("other"))
    assert names(await inbox.waiting(ALICE, since)) == ["after"]
    assert not await inbox.take(ALICE, "other")
    taken = await asyncio.gather(*(inbox.take(ALICE, "after") for _ in range(3)))
    assert sorted(taken) == [False, False, True]
    assert await inbox.waiting(ALICE, since) == []


async def test_one_message_too_many_is_answered_and_not_kept(boxes: Boxes, clock: Clock) -> None:
    inbox, outbox = boxes
    for number in range(MAX_WAITING):
        assert await inbox.add(ALICE, new(f"m{number}")) == "new"
        clock.advance(1)
    assert await inbox.add(ALICE, new("more"), busy=[send("busy")]) == "full"
    assert await inbox.add(ALICE, new("more"), busy=[send("busy")]) == "seen"
    assert await inbox.add(BOB, new("other")) == "new"
    assert dict((await inbox.statistics()).counts) == {"received": MAX_WAITING + 1, "failed": 1}
    assert [item.text for item in await outbox.claim(10)] == ["busy ☀"]


async def test_a_send_goes_once_in_its_turn(boxes: Boxes, clock: Clock) -> None:
    _, outbox = boxes
    for _ in range(2):
        await outbox.add(ALICE, [send("s1"), send("s2"), send("s3", "lee")])
    taken = await asyncio.gather(*(outbox.claim(10) for _ in range(4)))
    assert sorted(item.send_id for some in taken for item in some) == ["s1", "s3"]
    assert not await outbox.end(BOB, "s1", "sent")
    assert await outbox.retry_later(ALICE, "s1", 5, "http_500")
    assert await outbox.end(ALICE, "s3", "sent")
    assert await outbox.claim(10) == []
    clock.advance(5)
    (again,) = await outbox.claim(10)
    assert (again.send_id, again.attempts, again.text) == ("s1", 2, "s1 ☀")
    assert await outbox.end(ALICE, "s1", "failed", "http_400")
    assert [item.send_id for item in await outbox.claim(10)] == ["s2"]
    clock.advance(SENDING_SECONDS)
    assert await outbox.expire() == 1
    assert not await outbox.end(ALICE, "s2", "sent")
    figures = await outbox.statistics()
    assert dict(figures.counts) == {"sent": 1, "failed": 1, "uncertain": 1}
    assert [failure.kind for failure in figures.failures] == ["crashed", "http_400"]


async def test_an_owner_learns_how_far_their_sends_have_come(boxes: Boxes, clock: Clock) -> None:
    _, outbox = boxes
    ids = ["s1", "s2"]
    await outbox.add(ALICE, [send("s1"), send("s2")])
    assert await outbox.states(ALICE, ids) == [SendState("pending", None)] * 2
    assert await outbox.states(BOB, ids) == []
    assert await outbox.states(ALICE, ["s3"]) == []
    await outbox.claim(1)
    assert await outbox.states(ALICE, ids[::-1]) == [
        SendState("pending", None),
        SendState("sending", None),
    ]
    clock.advance(1)
    await outbox.end(ALICE, "s1", "sent")
    sent = SendState("sent", clock())
    await outbox.claim(1)
    clock.advance(1)
    await outbox.end(ALICE, "s2", "failed", "http_400")
    assert await outbox.states(ALICE, ids) == [sent, SendState("failed", clock())]
    with pytest.raises(ValueError, match="owner"):
        await outbox.states("", ids)


async def test_what_has_ended_keeps_nothing_personal_and_goes(
    boxes: Boxes, database: Database, clock: Clock
) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("m1"))
    await inbox.add(BOB, new("m2", is_dated=False))
    for item in await inbox.claim(2):
        sends = [send(f"to {item.owner}")]
        await inbox.finish(item.owner, item.message_id, item.holder, "done", sends)
    for _ in range(2):
        for told in await outbox.claim(10):
            await outbox.end(told.owner, told.send_id, "sent")
    kept = await rows_of(database)
    for table, column in (("channel_messages", 4), ("channel_sends", 5)):
        assert {(row[2], row[column]) for row in kept[table]} == {(None, None)}, table
    clock.advance(100)
    assert (await inbox.purge(101), await outbox.purge(101)) == (0, 0)
    clock.advance(2)
    assert (await inbox.purge(101), await outbox.purge(101)) == (1, 2)
    # without a time of its own, only its id tells it from its repetition, for thirty days
    assert await inbox.add(BOB, new("m2", is_dated=False)) == "seen"
    clock.advance(UNDATED_SECONDS - 102)
    assert await inbox.purge(101) == 0
    clock.advance(1)
    assert await inbox.purge(UNDATED_SECONDS + 101) == 0
    assert await inbox.purge(101) == 1
    assert (await rows_of(database))["channel_messages"] == []


async def test_one_s_failing_send_keeps_nobody_else_s_from_the_same_group(
    boxes: Boxes, clock: Clock
) -> None:
    _, outbox = boxes
    await outbox.add(ALICE, [send("a1", "group"), send("a2", "group")])
    clock.advance(1)
    await outbox.add(BOB, [send("b1", "group")])
    assert sorted(item.send_id for item in await outbox.claim(10)) == ["a1", "b1"]
    await outbox.retry_later(ALICE, "a1", 5_400, "http_500")
    await outbox.end(BOB, "b1", "sent")
    await outbox.add(BOB, [send("b2", "group")])
    assert [item.send_id for item in await outbox.claim(10)] == ["b2"]


async def test_a_name_stands_for_one_content(
    boxes: Boxes, database: Database, clock: Clock
) -> None:
    _, outbox = boxes
    found = await asyncio.gather(
        *(outbox.add_named(ALICE, "n", c, [send(f"{c}.0"), send(f"{c}.1")]) for c in "xyx")
    )
    first = (await outbox.claim(1))[0].send_id
    assert found == ([True, False, True] if first == "x.0" else [False, True, False])
    assert dict((await outbox.statistics()).counts) == {"sending": 1, "pending": 1}
    await outbox.end(ALICE, first, "sent")
    assert not await outbox.add_named(ALICE, "n", "z", [send("z.0")])
    assert await outbox.add_named(ALICE, "n", first[0], [send("again")])
    assert [item.send_id for item in await outbox.claim(9)] == [f"{first[0]}.1"]
    await outbox.end(ALICE, f"{first[0]}.1", "sent")
    assert ALICE not in str((await rows_of(database))["channel_sends"])
    clock.advance(102)
    assert await outbox.purge(101) == 3


async def test_to_be_forgotten_leaves_bare_ids(
    boxes: Boxes, store: Store, database: Database
) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("running"))
    (running,) = await inbox.claim(1)
    await inbox.add(ALICE, new("waiting"))
    await inbox.add(BOB, new("other"))
    await outbox.add(ALICE, [send("s1")])
    await outbox.add(BOB, [send("s2", "lee")])
    await store.forget(ALICE)
    assert await inbox.add(ALICE, new("waiting")) == "seen"
    assert names(await inbox.claim(10)) == ["other"]
    assert [item.send_id for item in await outbox.claim(10)] == ["s2"]
    assert await inbox.finish(ALICE, "running", running.holder, "done")
    assert ALICE not in str((await rows_of(database))["channel_messages"])


async def test_what_cannot_be_stored_is_refused(boxes: Boxes) -> None:
    inbox, outbox = boxes
    await inbox.add(ALICE, new("m1"), taken_by="h")
    for text in ("\0", "\ud800"):
        wrong = NewSend("s", "kim", "bridge", text)
        with pytest.raises(InvalidTextError):
            await outbox.add(ALICE, [wrong])
        with pytest.raises(InvalidTextError):
            await inbox.finish(ALICE, "m1", "h", "done", [wrong])
    with pytest.raises(ValueError, match="owner"):
        await inbox.add("", new("m2"))

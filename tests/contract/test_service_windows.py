"""Service windows: texts wait while they are closed, in their order, on each database."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from memory.engine.database import Database
from memory.queues.outbox import NewSend, Outbox
from memory.queues.window_store import CROSSING, WINDOW, ServiceWindows
from memory.queues.windows import CALL_PAUSE, HELD_DAYS, MAX_HELD, Call, WindowRule
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

IDS = itertools.count()
RULE = WindowRule("cloud", Call("call", lambda text: text.upper(), lambda: f"call-{next(IDS)}"))
SILENT = WindowRule("cloud")


@pytest.fixture
def windows(database: Database, clock: Clock) -> ServiceWindows:
    return ServiceWindows(database, "whatsapp", clock=clock)


@pytest.fixture
def outbox(database: Database, clock: Clock) -> Outbox:
    return Outbox(database, "whatsapp", clock=clock)


def send(name: str, to: str = "kim", kind: str = "cloud") -> NewSend:
    return NewSend(name, to, kind, name)


async def sent(outbox: Outbox) -> list[str]:
    """Send what may be sent; return the texts in their order."""
    texts = []
    while claimed := await outbox.claim(10):
        for item in claimed:
            texts.append(item.text)
            await outbox.end(item.owner, item.send_id, "sent")
    return texts


async def closed(windows: ServiceWindows, clock: Clock, *recipients: str) -> None:
    """Let the windows of recipients close."""
    await windows.opened(ALICE, recipients, clock())
    clock.advance(WINDOW.total_seconds())


async def test_a_window_lasts_from_the_last_message_and_never_gets_shorter(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await windows.opened(ALICE, ["kim"], clock())
    await windows.opened(ALICE, ["kim"], clock() - timedelta(hours=5))
    await windows.opened(ALICE, ["kim"], clock() + timedelta(hours=5))
    clock.advance(WINDOW.total_seconds() - 1)
    await outbox.add(ALICE, [send("one")])
    assert await windows.settle(RULE) == 0
    assert await sent(outbox) == ["one"]
    clock.advance(1)
    await outbox.add(ALICE, [send("two")])
    assert await outbox.claim(1, RULE) == []
    assert await windows.settle(RULE) == 1
    assert await sent(outbox) == ["TWO"]


async def test_of_whom_nothing_is_known_the_window_is_open(
    windows: ServiceWindows, outbox: Outbox
) -> None:
    await outbox.add(ALICE, [send("one")])
    assert await windows.settle(RULE) == 0
    assert await sent(outbox) == ["one"]


async def test_what_waits_comes_in_order_before_what_came_later(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await closed(windows, clock, "kim")
    await outbox.add(ALICE, [send("one"), send("two")])
    clock.advance(1)
    await outbox.add(ALICE, [send("three"), send("lee", "lee"), send("by bridge", "kim", "bridge")])
    assert await windows.settle(SILENT) == 3
    assert sorted(await sent(outbox)) == ["by bridge", "lee"]
    assert dict((await outbox.statistics()).counts) == {"held": 3, "sent": 2}
    assert (await outbox.statistics()).oldest is None
    clock.advance(1)
    await windows.opened(ALICE, ["kim"], clock())
    await outbox.add(ALICE, [send("four")])
    assert await windows.settle(SILENT) == 0
    assert await sent(outbox) == ["one", "two", "three", "four"]


async def test_a_recipient_is_called_once_a_day_however_many_processes_look(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await closed(windows, clock, "kim")
    await outbox.add(ALICE, [send("one"), send("two")])
    held = await asyncio.gather(*(windows.settle(RULE) for _ in range(4)))
    assert sum(held) == 2
    assert await sent(outbox) == ["ONE"]
    clock.advance(CALL_PAUSE.total_seconds() - 1)
    await outbox.add(BOB, [send("three")])
    await windows.settle(RULE)
    assert await sent(outbox) == []
    clock.advance(1)
    assert await windows.settle(RULE) == 0  # nothing new waits
    assert await sent(outbox) == []
    await outbox.add(ALICE, [send("four")])
    await windows.settle(RULE)
    assert await sent(outbox) == ["FOUR"]


async def test_a_refusal_closes_the_window_unless_they_have_just_written(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await outbox.add(ALICE, [send("one")])
    (item,) = await outbox.claim(1)
    clock.advance(1)
    assert await windows.refused(ALICE, item.send_id, "kim")
    assert await windows.settle(SILENT) == 1
    await windows.opened(ALICE, ["kim"], clock())
    await windows.settle(SILENT)
    (item,) = await outbox.claim(1)
    assert item.attempts == 1
    clock.advance(60)
    await windows.opened(ALICE, ["kim"], clock())
    assert await windows.refused(ALICE, item.send_id, "kim")
    assert await windows.settle(SILENT) == 0
    assert await sent(outbox) == []
    clock.advance(2)
    assert await sent(outbox) == ["one"]
    assert not await windows.refused(ALICE, item.send_id, "kim")
    assert not await windows.refused(BOB, item.send_id, "lee")


async def test_a_refusal_that_names_another_s_send_knows_nothing_of_when_it_began(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await outbox.add(ALICE, [send("one")])
    (item,) = await outbox.claim(1)
    clock.advance(60)
    await windows.opened(BOB, ["lee"], clock())
    clock.advance(CROSSING.total_seconds() + 1)
    # Lee has written since the send of ALICE began, which nothing of BOB's may show.
    assert not await windows.refused(BOB, item.send_id, "lee")
    await outbox.add(BOB, [send("two", "lee")])
    assert await windows.settle(SILENT) == 1


async def test_what_was_taken_is_sent_again_while_its_text_is_kept(
    windows: ServiceWindows, outbox: Outbox, database: Database, clock: Clock
) -> None:
    await outbox.add(ALICE, [send("one"), send("two", "lee")])
    for item in await outbox.claim(2):
        await outbox.end(ALICE, item.send_id, "sent", keep_seconds=600)
    assert await windows.refused_later("one")
    assert not await windows.refused_later("one")
    assert await windows.settle(SILENT) == 1
    clock.advance(600)
    await outbox.expire()
    assert not await windows.refused_later("two")
    rows = (await rows_of(database))["channel_sends"]
    assert sorted((row[0], row[2], row[3], row[5]) for row in rows) == [
        ("one", ALICE, "kim", "one"),
        ("two", None, None, None),
    ]
    await windows.opened(ALICE, ["kim"], clock())
    await windows.settle(SILENT)
    assert await sent(outbox) == ["one"]


async def test_what_waits_is_bounded_in_number_and_in_time(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await closed(windows, clock, "kim")
    await outbox.add(ALICE, [send(f"{number:03}") for number in range(MAX_HELD + 2)])
    await windows.settle(SILENT)
    assert dict((await outbox.statistics()).counts) == {"held": MAX_HELD, "failed": 2}
    clock.advance(HELD_DAYS * 86_400 - 1)
    assert await windows.give_up() == 0
    clock.advance(1)
    assert await windows.give_up() == MAX_HELD
    kinds = {failure.kind for failure in (await outbox.statistics()).failures}
    assert kinds <= {"window_closed", "too_many_held"}
    await windows.opened(ALICE, ["kim"], clock())
    await windows.settle(SILENT)
    assert await sent(outbox) == []


async def test_one_s_many_texts_displace_nobody_else_s(
    windows: ServiceWindows, outbox: Outbox, clock: Clock
) -> None:
    await closed(windows, clock, "group")
    await outbox.add(BOB, [send("first of all", "group")])
    clock.advance(1)
    await outbox.add(ALICE, [send(f"{number:03}", "group") for number in range(MAX_HELD)])
    await windows.settle(SILENT)
    assert dict((await outbox.statistics()).counts) == {"held": MAX_HELD + 1}


async def test_to_be_forgotten_takes_windows_and_what_waits_of_one_owner_alone(
    windows: ServiceWindows, outbox: Outbox, store: Store, database: Database, clock: Clock
) -> None:
    await closed(windows, clock, "kim")
    await windows.opened(BOB, ["lee"], clock() - WINDOW)
    await outbox.add(ALICE, [send("one")])
    await outbox.add(BOB, [send("two", "lee")])
    assert await windows.settle(SILENT) == 2
    await store.forget(ALICE)
    rows = await rows_of(database)
    assert [row[:3] for row in rows["channel_windows"]] == [("whatsapp", "lee", BOB)]
    assert [row[0] for row in rows["channel_sends"]] == ["two"]

"""Mailboxes: a crowd makes room among itself, and nobody pushes out another's only one."""

import asyncio
from collections.abc import Iterator

import pytest

from cmw_agent.identity import Kind, Principal
from cmw_agent.sessions import PER_PRINCIPAL
from cmw_agent.web.mailboxes import Mailbox, Mailboxes

CAPACITY = 8
READER = object()


def people(kind: Kind, letter: str) -> Iterator[Principal]:
    """Principals whom nobody has ever been before."""
    number = 0
    while True:
        number += 1
        yield Principal(f"{letter}{number}", kind)


def crowd(kind: Kind) -> Iterator[Principal]:
    """Those who flood: each invents itself anew, or one opens page after page."""
    if kind == "ephemeral":
        return people("ephemeral", "e")
    one = Principal("v-flood", "visitor")
    return iter(lambda: one, None)


def victim(number: int) -> Principal:
    return Principal(f"a{number}", "account")


def holds(boxes: Mailboxes, key: str, box: Mailbox) -> bool:
    return boxes.get(key) is box and not box.fetched.is_set()


@pytest.mark.parametrize("kind", ["ephemeral", "visitor"])
def test_a_flood_pushes_out_no_mailbox_of_others_though_nobody_reads_it(kind: Kind) -> None:
    boxes = Mailboxes(CAPACITY)
    victims = {f"victim-{n}": boxes.open(f"victim-{n}", victim(n)) for n in range(3)}
    for number, who in zip(range(CAPACITY * 4), crowd(kind), strict=False):
        boxes.open(f"flood-{number}", who)
        for key, box in victims.items():
            assert box is not None
            assert holds(boxes, key, box), (number, key)
    assert len(boxes) == CAPACITY
    # Somebody new finds room all the same: among the flood.
    late = boxes.open("late", victim(9))
    assert late is not None
    assert all(boxes.get(key) is box for key, box in victims.items())


def test_where_everybody_has_one_mailbox_a_stranger_finds_no_room() -> None:
    boxes = Mailboxes(CAPACITY)
    held = {f"{n}": boxes.open(f"{n}", victim(n)) for n in range(CAPACITY)}
    for who in (victim(99), Principal("e1", "ephemeral"), Principal("v1", "visitor")):
        assert boxes.open("stranger", who) is None
    assert {key: boxes.get(key) for key in held} == held


def test_a_mailbox_that_is_read_is_pushed_out_by_nobody() -> None:
    boxes = Mailboxes(CAPACITY)
    held = {}
    for number, who in zip(range(CAPACITY), people("ephemeral", "e"), strict=False):
        box = boxes.open(f"{number}", who)
        assert box is not None
        box.reader = READER
        held[f"{number}"] = box
    assert boxes.open("next", Principal("e99", "ephemeral")) is None
    assert {key: boxes.get(key) for key in held} == held


def test_who_has_as_many_as_one_may_pushes_out_their_own_alone() -> None:
    boxes = Mailboxes(PER_PRINCIPAL * 4)
    others = {}
    for number, who in zip(range(5), people("ephemeral", "e"), strict=False):
        others[f"other-{number}"] = boxes.open(f"other-{number}", who)
    others |= {f"pair-{n}": boxes.open(f"pair-{n}", victim(1)) for n in range(2)}
    me = victim(0)
    mine = [boxes.open(f"mine-{n}", me) for n in range(PER_PRINCIPAL)]
    assert None not in mine
    for number in range(3):
        assert boxes.open(f"more-{number}", me) is not None
        assert boxes.get(f"mine-{number}") is None
        assert {key: boxes.get(key) for key in others} == others
    for _, box in boxes:
        if box.principal == me:
            box.reader = READER
    assert boxes.open("one-too-many", me) is None
    assert {key: boxes.get(key) for key in others} == others


async def test_who_is_pushed_out_has_their_events_stopped() -> None:
    boxes = Mailboxes(1)
    box = boxes.open("first", Principal("e1", "ephemeral"))
    assert box is not None
    waiting = asyncio.create_task(asyncio.Event().wait())
    box.running["event"] = waiting  # type: ignore[assignment]
    assert boxes.open("second", Principal("e2", "ephemeral")) is not None
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await waiting

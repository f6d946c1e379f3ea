"""Event buffers: at the limit, whoever holds several loses one, and nobody loses the only one."""

import asyncio
from collections.abc import Iterator

import pytest

from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal, PrincipalKind
from cmw_agent.limits.budgets import Budget, Budgets
from cmw_agent.web.gradio_transport.mailboxes import EventBuffer, EventBuffers

CAPACITY = 8
PER_OWNER = 6
READER = object()
HERE, ELSEWHERE, NEW = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def mailboxes(capacity: int = CAPACITY) -> EventBuffers:
    """Return none yet, with room for `capacity`, whatever address they are opened from."""
    budget = Budget("mailboxes", "open pages", PER_OWNER, capacity, capacity)
    return EventBuffers(Budgets({"mailboxes": budget}))


def people(kind: PrincipalKind, letter: str) -> Iterator[Principal]:
    """Principals whom nobody has ever been before."""
    number = 0
    while True:
        number += 1
        yield Principal(f"{letter}{number}", kind)


def crowd(kind: PrincipalKind) -> Iterator[Principal]:
    """Those who flood: each invents itself anew, or one opens page after page."""
    if kind == "ephemeral":
        return people("ephemeral", "e")
    one = Principal("v-flood", "visitor")
    return iter(lambda: one, None)


def victim(number: int) -> Principal:
    return Principal(f"a{number}", "account")


def holds(boxes: EventBuffers, key: str, box: EventBuffer) -> bool:
    return boxes.get(key) is box and not box.fetched.is_set()


@pytest.mark.parametrize("kind", ["ephemeral", "visitor"])
def test_a_flood_pushes_out_no_mailbox_of_others_though_nobody_reads_it(
    kind: PrincipalKind,
) -> None:
    boxes = mailboxes()
    victims = {f"victim-{n}": boxes.open(f"victim-{n}", victim(n), ELSEWHERE) for n in range(3)}
    for number, who in zip(range(CAPACITY * 4), crowd(kind), strict=False):
        boxes.open(f"flood-{number}", who, HERE)
        for key, box in victims.items():
            assert holds(boxes, key, box), (number, key)
    assert len(boxes) == CAPACITY
    # Somebody new finds room all the same: among the flood.
    boxes.open("late", victim(9), NEW)
    assert all(boxes.get(key) is box for key, box in victims.items())


def test_where_everybody_has_one_mailbox_a_stranger_finds_no_room() -> None:
    boxes = mailboxes()
    held = {f"{n}": boxes.open(f"{n}", victim(n), HERE) for n in range(CAPACITY)}
    for who in (victim(99), Principal("e1", "ephemeral"), Principal("v1", "visitor")):
        with pytest.raises(UserError):
            boxes.open("stranger", who, HERE)
    assert {key: boxes.get(key) for key in held} == held


def test_a_mailbox_that_is_read_is_pushed_out_by_nobody() -> None:
    boxes = mailboxes()
    held = {}
    for number, who in zip(range(CAPACITY), people("ephemeral", "e"), strict=False):
        box = boxes.open(f"{number}", who, HERE)
        box.reader = READER
        held[f"{number}"] = box
    for address in (HERE, NEW):
        with pytest.raises(UserError):
            boxes.open("next", Principal("e99", "ephemeral"), address)
    assert {key: boxes.get(key) for key in held} == held


def test_who_has_as_many_as_one_may_pushes_out_their_own_alone() -> None:
    boxes = mailboxes(PER_OWNER * 4)
    others = {}
    for number, who in zip(range(5), people("ephemeral", "e"), strict=False):
        others[f"other-{number}"] = boxes.open(f"other-{number}", who, HERE)
    others |= {f"pair-{n}": boxes.open(f"pair-{n}", victim(1), HERE) for n in range(2)}
    me = victim(0)
    for number in range(PER_OWNER):
        boxes.open(f"mine-{number}", me, HERE)
    for number in range(3):
        boxes.open(f"more-{number}", me, HERE)
        assert boxes.get(f"mine-{number}") is None
        assert {key: boxes.get(key) for key in others} == others
    for _, box in boxes:
        if box.principal == me:
            box.reader = READER
    with pytest.raises(UserError):
        boxes.open("one-too-many", me, HERE)
    assert {key: boxes.get(key) for key in others} == others


async def test_who_is_pushed_out_has_their_events_stopped() -> None:
    boxes = mailboxes(1)
    box = boxes.open("first", Principal("e1", "ephemeral"), HERE)
    waiting = asyncio.create_task(asyncio.Event().wait())
    box.running["event"] = waiting  # type: ignore[assignment]
    boxes.open("second", Principal("e2", "ephemeral"), HERE)
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await waiting

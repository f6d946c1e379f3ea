"""The statements of a turn take SQLite as many steps in a long conversation as in a short one."""

import sqlite3
import uuid
from collections.abc import Awaitable, Callable

import pytest

from memory.records import ConversationOrigin, NewTurn, TurnTicket
from tests.contract.conftest import ALICE, Store
from tests.driver import StatementListener

SHORT, LONG = "short", "long"
BUDGET = 200  # tokens: a few of the messages


class Steps:
    """Counts the instructions of SQLite's virtual machine (sqlite3_progress_handler)."""

    def __init__(self, driver: StatementListener) -> None:
        self.seen = 0
        driver.listener = self._hear

    def _hear(self, connection: sqlite3.Connection, _sql: str) -> None:
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.seen += 1
        return 0


async def a_turn(store: Store, conversation_id: str) -> None:
    ticket = await store.begin_turn(
        ALICE,
        NewTurn(
            conversation_id,
            "hello",
            key=uuid.uuid4().hex,
            origin=ConversationOrigin(),
            budget=BUDGET,
        ),
    )
    await ended(store, ticket)


async def a_retry(store: Store, conversation_id: str) -> None:
    ticket = await store.begin_retry(ALICE, conversation_id, key=uuid.uuid4().hex, budget=BUDGET)
    await ended(store, ticket)


async def ended(store: Store, ticket: TurnTicket) -> None:
    await store.checkpoint(ALICE, ticket.turn_id, content="so f", tool_calls=[])
    assert await store.finish(ALICE, ticket.turn_id, "so far")


async def a_page(store: Store, conversation_id: str) -> None:
    assert len(await store.messages(ALICE, conversation_id, limit=4)) == 4


async def a_window(store: Store, conversation_id: str) -> None:
    assert await store.window(ALICE, conversation_id, budget=BUDGET, before_seq=10_000)


async def its_head(store: Store, conversation_id: str) -> None:
    assert (await store.conversation(ALICE, conversation_id)).message_count >= 4


@pytest.mark.parametrize("asks", [a_turn, a_retry, a_page, a_window, its_head])
async def test_the_length_of_a_conversation_costs_no_further_steps(
    asks: Callable[[Store, str], Awaitable[None]], file_store: Store, driver: StatementListener
) -> None:
    for conversation_id, turns in ((LONG, 300), (SHORT, 8)):
        for _ in range(turns):
            await file_store.exchange(ALICE, conversation_id, "hello", "so far")
    steps = Steps(driver)
    found: dict[str, list[int]] = {SHORT: [], LONG: []}
    for _ in range(5):  # in some of them the search index tidies up
        for conversation_id, counts in found.items():
            before = steps.seen
            await asks(file_store, conversation_id)
            counts.append(steps.seen - before)
    short, long = min(found[SHORT]), min(found[LONG])
    assert 0 < long < 1.05 * short

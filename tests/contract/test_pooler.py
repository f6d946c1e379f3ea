"""Behind a pooler that hands out the server's connections by the transaction, all works the same."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memory.engine.database import Database
from memory.engine.postgres import POOLED
from memory.errors import ConversationNotFoundError
from tests.campaigns import campaign
from tests.contract.conftest import Store, emptied
from tests.pgbouncer import pooler

AT_ONCE = 25
ROUNDS = campaign("CMW_POOLER_ROUNDS")


@pytest.fixture(params=["transaction", "session"])
async def pooled(
    request: pytest.FixtureRequest, postgres_server: str, tmp_path: Path
) -> AsyncIterator[Database]:
    """An empty database behind PgBouncer."""
    with pooler(tmp_path, postgres_server, request.param) as url:
        async with emptied(url) as opened:
            yield opened


async def exchange(store: Store, number: int) -> None:
    """Store an exchange of an owner of its own, and read it and nobody else's."""
    owner, other = f"user:{number}", f"user:{(number + 1) % AT_ONCE}"
    conversation, said = uuid.uuid4().hex, f"I am {number}"
    await store.exchange(owner, conversation, said, said.upper())
    assert await store.texts(owner, conversation) == [("user", said), ("assistant", said.upper())]
    with pytest.raises(ConversationNotFoundError):
        await store.texts(other, conversation)


@pytest.mark.timeout(300 + ROUNDS)
async def test_turns_at_once_are_stored_and_read_by_their_owners(pooled: Database) -> None:
    store = Store(pooled)
    for _ in range(ROUNDS):
        await asyncio.gather(*(exchange(store, number) for number in range(AT_ONCE)))


async def test_a_pooler_is_recognised_and_named_to_the_operator(pooled: Database) -> None:
    assert POOLED in pooled.remarks
    assert pooled.notices(lambda _: None, lambda: None) is None


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_without_a_pooler_statements_are_prepared(database: Database) -> None:
    assert database.remarks == ()
    assert database.notices(lambda _: None, lambda: None) is not None

"""Fills the tables with the same rows under different owners, foreign keys aside."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.logins import agent_logins
from memory.schema import (
    agent_connections,
    agent_consents,
    agent_files,
    agent_mcp_servers,
    agent_messages,
    agent_preferences,
    agent_prompts,
    agent_schedules,
    agent_sessions,
    agent_share_files,
    agent_share_messages,
    agent_share_snapshots,
    agent_shares,
    agent_threads,
    agent_turns,
)
from tests.contract.conftest import ALICE

STRANGER: Final = "user:stranger"
NOW: Final = datetime(2030, 1, 31, 12, tzinfo=UTC)
BEFORE, LATER = NOW - timedelta(hours=5), NOW + timedelta(hours=5)
FILE: Final = {
    "name": "secret",
    "media_type": "text/plain",
    "kind": "document",
    "size_bytes": 5,
    "kept_bytes": 5,
    "created_at": BEFORE,
}
TASK: Final = {
    "text": "secret",
    "cron": "0 8 * * *",
    "time_zone": "UTC",
    "next_run_at": BEFORE,
    "holder": "holder",
    "created_at": BEFORE,
    "runs": 0,
    "failures": 0,
    "visited_at": BEFORE,
}
Owners = Mapping[sa.Table, str]


class RollbackError(Exception):
    """Ends a transaction of which nothing is to stay."""


def reader_of(owner: str) -> str:
    """Return the principal of the link that an owner shares."""
    return f"reader:{owner}"


def add_share(connection: sa.Connection, owners: Owners) -> None:
    """Store a share; each table's rows belong to the link of their owner."""

    def add(table: sa.Table, **values: Any) -> None:
        row = {"reader_id": reader_of(owners.get(table, ALICE)), **values}
        connection.execute(sa.insert(table), row)

    owner = owners.get(agent_shares, ALICE)
    add(agent_shares, share_id="share", owner_id=owner, session_id="hers")
    add(
        agent_share_snapshots,
        agent_id="main",
        title="secret title",
        with_files=True,
        files_left_out=0,
        message_count=2,
        suspended=False,
        created_at=BEFORE,
    )
    add(
        agent_share_messages,
        seq=1,
        role="user",
        content="secret",
        status="complete",
        created_at=BEFORE,
    )
    add(agent_share_files, number=1, seq=1, file_id="copy", **FILE)


def fill(connection: sa.Connection, owners: Owners) -> None:
    """Store the same rows always, those of each table as their owner's."""

    def add(table: sa.Table, **values: Any) -> None:
        row = {"owner_id": owners.get(table, ALICE), **values}
        connection.execute(sa.insert(table), row)

    ordinary = {
        "agent_id": "main",
        "title": "secret title",
        "channel": "web",
        "context_data": {"model": "hers"},
        "summary": "secret",
        "message_count": 2,
        "last_seq": 3,
        "status": "active",
        "started_at": BEFORE,
        "last_activity_at": BEFORE,
        "tenant_id": owners.get(agent_sessions, ALICE),
        "import_source": "source",
        "import_digest": "digest",
        "title_origin": "message",
    }
    add(agent_sessions, session_id="hers", **ordinary)
    add(agent_sessions, session_id="gone", deleted_at=BEFORE, **ordinary)
    add(agent_sessions, session_id="pinned", is_pinned=True, **ordinary)
    add(agent_sessions, session_id="archived", is_archived=True, **ordinary)
    # the last one is another version of the answer
    for seq, role in ((1, "user"), (2, "assistant"), (3, "assistant")):
        add(
            agent_messages,
            session_id="hers",
            seq=seq,
            role=role,
            content="secret",
            status="complete",
            created_at=BEFORE,
            turn_id="turn",
            superseded=seq == 3,
            parent_seq=0 if role == "user" else 1,
            tokens_used=7,
            details={"receipt": {"hash": "secret"}},
        )
    add(
        agent_turns,
        turn_id="turn",
        session_id="hers",
        idempotency_key="key",
        state="running",
        holder="holder",
        lease_expires_at=BEFORE,
        user_seq=1,
        answer_seq=2,
        started_at=BEFORE,
    )
    stored = {"created_at": BEFORE, "updated_at": BEFORE}
    add(agent_preferences, language="ru")
    add(agent_consents, kind="ratings", given_at=BEFORE)
    add(agent_prompts, prompt_id="prompt", name="secret", text="secret", **stored)
    add(agent_threads, thread_id="thread", session_id="nowhere", agent_id="main", created_at=BEFORE)
    add(agent_files, file_id="sent", session_id="hers", seq=1, **FILE)
    # One that belongs to no conversation is its owner's, whoever else owns one.
    if owners.get(agent_files, ALICE) == owners.get(agent_sessions, ALICE):
        add(agent_files, file_id="free", session_id=None, seq=None, **FILE)
    add_share(connection, owners)
    add(agent_schedules, schedule_id="task", session_id="hers", **TASK)
    for state in ("offered", "begun", "returned", "connected"):
        add(
            agent_connections,
            connection_id=state,
            toolkit="gmail",
            state=state,
            user_id="cmw-user",
            account_id="ca_1",
            code="code",
            tries=5,
            created_at=BEFORE,
            expires_at=LATER,
        )
    add(agent_mcp_servers, server="own", url="https://own.example.com", **stored)
    add(agent_mcp_servers, server="wiki", sealed="secret", **stored)
    add(agent_logins, login_id="login", created_at=BEFORE, names=["hers"])


def worlds(tables: set[sa.Table]) -> Iterator[Owners]:
    """Yield who owns the rows of each table, at least one of them Alice."""
    ordered = sorted(tables, key=lambda table: table.name)
    for owners in itertools.product((ALICE, STRANGER), repeat=len(ordered)):
        if ALICE in owners:
            yield dict(zip(ordered, owners, strict=True))


def let_owners_differ(connection: sa.Connection, owners: Owners) -> None:
    """Let this transaction, of which nothing stays, store what the foreign keys forbid."""
    if len(set(owners.values())) == 1:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    else:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")


async def rolled_back(database: Database, work: Callable[[sa.Connection], None]) -> None:
    """Do some work on everybody's rows, and take it back."""

    def undone(connection: sa.Connection) -> None:
        work(connection)
        raise RollbackError

    with pytest.raises(RollbackError):
        await database.write(undone, owner=EVERYONE)


async def in_world(
    database: Database, owners: Owners, work: Callable[[sa.Connection], None]
) -> None:
    """Do some work among rows with these owners, and take all of it back."""

    def filled(connection: sa.Connection) -> None:
        let_owners_differ(connection, owners)
        fill(connection, owners)
        work(connection)

    await rolled_back(database, filled)

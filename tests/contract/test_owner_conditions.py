"""Owners: each statement finds nothing where a row of any of its tables is another owner's.

A stranger runs it on rows of which at least one table's are Alice's and the others' the stranger's
own. Foreign keys forbid such rows, so that each transaction is rolled back. Run by Alice on rows
that are all hers, the statement must find something.
"""

import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa

import memory
from memory.conversations import preferences, turn_statements
from memory.engine.database import Database
from memory.engine.prepared import Prepared
from memory.engine.scopes import EVERYONE
from memory.maintenance import retention
from memory.queues import inbox_rows, outbox_rows, schedule_claims
from memory.queues.inbox_rows import NewInboxMessage
from memory.queues.outbox_rows import NewSend
from memory.schema import (
    agent_schedules,
    agent_sessions,
    agent_turns,
    channel_messages,
    channel_sends,
    metadata,
)
from tests.contract.conftest import ALICE, BOB
from tests.contract.worlds import (
    BEFORE,
    LATER,
    NOW,
    STRANGER,
    TASK,
    in_world,
    reader_of,
    rolled_back,
    worlds,
)

MODULES: Final = (
    "connection_rows",
    "conversations.files",
    "conversations.imports",
    "conversations.forks",
    "conversations.editing",
    "logins",
    "threads",
    "mcp_rows",
    "conversations.reading",
    "conversations.share_copies",
    "conversations.share_files",
    "conversations.shares",
    "queues.schedule_claims",
    "queues.schedule_rows",
    "conversations.turn_statements",
    "conversations.order",
    "conversations.preferences",
    "conversations.prompts",
    "conversations.questions",
    "conversations.receipt_chain",
    "conversations.summaries",
    "conversations.tenants",
    "conversations.transfer",
    "conversations.tree",
    "conversations.usage",
)
# parameters with which Alice finds something
VALUES: Final[dict[str, Any]] = {
    "added": 1,
    "after_id": "",
    "after_seq": 0,
    "at": NOW,
    "before_at": LATER,
    "before_id": "z",
    "before_seq": 100,
    "conversation_created_at": BEFORE,
    "digest": "digest",
    "first_seq": 1,
    "from_seq": 1,
    "ids": ["hers"],
    "is_suspended": True,
    "last_seq": 9,
    "max_open": 0,
    "new_context": {"mine": 1},
    "new_archived": False,
    "parent": 1,
    "of_role": "assistant",
    "skipped": 0,
    "new_comment": "mine",
    "new_decisions": [],
    "new_questions": [],
    "new_feedback": "like",
    "new_folder": "mine",
    "new_pinned": True,
    "new_reason": "other",
    "new_name": "mine",
    "new_owner": BOB,
    "new_sealed": "mine",
    "new_summary": "mine",
    "new_text": "mine",
    "new_title": "mine",
    "noted_before": NOW,
    "now": NOW,
    "agent_id_": "main",
    "agents": ["main"],
    "thread_id_": "thread",
    "code_": "code",
    "connection_id_": "begun",
    "file_id_": "sent",
    "hidden_at": None,
    "holder_": "holder",
    "kind_": "ratings",
    "login_id_": "login",
    "number_": 1,
    "prompt_id_": "prompt",
    "server_": "wiki",
    "schedule_id_": "task",
    "share_id_": "share",
    "shown": 1,
    "source_": "source",
    "conversation_id_": "hers",
    "toolkit_": "gmail",
    "toolkits": ["asana"],
    "turn_id_": "turn",
    "pattern": "%secret%",
    "rows": 10,
    "expected_seq": 0,
    "seqs": [1],
    "parents": [1],
    "through_seq": 2,
    "new_id": "gone",
    "new_details": {"note": "mine"},
    "since": BEFORE,
    "to_seq": 9,
    "to_conversation_id": "hers",
    "until": LATER,
    "summarized_through_seq": 2,
    "was": "begun",
    "was_due_at": BEFORE,
    "with_files": False,
}
# the columns that a statement sets, and what differs from `VALUES`
MORE: Final[dict[str, dict[str, Any]]] = {
    "connection_rows._MOVE": {"state": "returned"},
    "connection_rows._CHOOSE": {"connection_id_": "connected"},
    "conversations.files._ATTACH": {"ids": ["free"]},
    "conversations.files._NAMES": {"ids": ["free"]},
    "conversations.forks._NEXT": {"seq_": 1},
    "conversations.forks._SET_DETAILS": {"new_id": "hers", "seq_": 2},
    "conversations.files._REMOVE": {"file_id_": "free"},
    "conversations.imports._GROW": {"conversation_id_": "gone", "before_seq": 3},
    "conversations.editing._EXPLAIN": {"seq_": 2},
    "conversations.editing._RATE": {"seq_": 2},
    "conversations.editing._RESTORE": {"conversation_id_": "gone"},
    "mcp_rows._UNSEAL": {"server_": "own"},
    "logins._RENAME": {"names": ["mine"]},
    "queues.schedule_rows._FINISH": {"failures": 0},
    "queues.schedule_rows.MOVE": {"failures": 0},
    "queues.schedule_claims.MOVE": {"failures": 0},
    "conversations.turn_statements.END_ANSWER": {"content": "mine", "seq_": 2},
    "conversations.turn_statements.END_TURN": {"finished_at": NOW, "state": "complete"},
    "conversations.turn_statements.INTERRUPT_ANSWER": {"error_id": "mine", "seq_": 2},
    "conversations.turn_statements.KEEP_ANSWER": {"content": "mine", "seq_": 2},
    "conversations.turn_statements.KNOWN_OR_RUNNING": {"key": "key"},
    "conversations.turn_statements.MESSAGE": {"seq_": 2},
    "conversations.turn_statements.QUESTION_BEFORE": {"seq_": 2},
    "conversations.turn_statements.RENEW_TURN": {"lease_expires_at": LATER},
    "conversations.turn_statements._CHANGE_ANSWER": {"content": "mine", "seq_": 2},
    "conversations.turn_statements._CHANGE_RUNNING_TURN": {"state": "complete"},
    "conversations.receipt_chain._BEFORE": {"seq_": 9},
    "conversations.tree._BRANCHES_AT": {"seq_": 3},
    "conversations.tree._NEWEST_BELOW": {"seq_": 3},
    "conversations.tree._RUNNING": {"at": BEFORE - timedelta(seconds=1)},
    "conversations.tree._SHOW": {"seq_": 3},
    # while the lease lasted
    "conversations.questions._OPEN": {"at": BEFORE - timedelta(hours=1)},
    "conversations.reading._RUNNING_ANSWER": {"at": BEFORE - timedelta(hours=1)},
    "conversations.turn_statements.REQUEST_STOP": {"at": BEFORE - timedelta(hours=1)},
    "conversations.turn_statements.WATCH_TURN": {"at": BEFORE - timedelta(hours=1)},
}
# a union, whose second part finds the turn by another key
AGAIN: Final = {"conversations.turn_statements.KNOWN_OR_RUNNING": {"key": "another"}}
# looks for what is not there, of which nothing is told
ABSENT: Final[dict[str, set[sa.Table]]] = {"threads._ORPHANED": {agent_sessions}}
# what a new conversation would consist of
CREATED: Final[dict[str, Any]] = {
    "session_id": "hers",
    "agent_id": "main",
    "title": "mine",
    "channel": "web",
    "website_domain": None,
    "ip_address": None,
    "context_data": None,
    "tenant_id": None,
    "external_id": None,
    "started_at": NOW,
    "last_activity_at": NOW,
}
# takes its owner as the value of a column
CREATING: Final = (
    turn_statements.CREATE_OR_EXTEND.statement,
    turn_statements.CREATE_OR_EXTEND.elsewhere,
)


def statements_of(module: str, dialect: str) -> Iterator[tuple[str, sa.Executable]]:
    """Yield the named statements of a module that take an owner, by name."""
    for name, value in vars(importlib.import_module(f"memory.{module}")).items():
        statement: Any = value.get(dialect) if isinstance(value, dict) else value
        if isinstance(value, Prepared):
            statement = value.statement if dialect == "sqlite" else value.elsewhere
        if isinstance(value, dict) and isinstance(statement, str):
            statement = sa.text(statement)
        if isinstance(statement, sa.Executable) and takes_owner(statement):
            yield f"{module}.{name}", statement


def takes_owner(statement: sa.Executable) -> bool:
    """Whether a statement has a parameter for whose rows it is about."""
    if isinstance(statement, sa.Table) or statement in CREATING:
        return statement in CREATING
    parts = [*sa.sql.visitors.iterate(statement)]  # type: ignore[arg-type]
    named = {each.key for each in parts if isinstance(each, sa.BindParameter)}
    return bool(named & {"owner_id_", "reader_id_", "tenant_id_"})


async def dialect_of(database: Database) -> str:
    """Return the name of what kind of database it is."""
    return await database.read(lambda connection: connection.dialect.name, owner=EVERYONE)


def tables_of(statement: sa.Executable) -> set[sa.Table]:
    """Return the tables that a statement reads or changes."""
    if isinstance(statement, sa.TextClause):
        words = re.findall(r"\w+", statement.text)
        return {table for table in metadata.sorted_tables if table.name in words}
    parts = [*sa.sql.visitors.iterate(statement)]  # type: ignore[arg-type]
    return {each for each in parts if isinstance(each, sa.Table)}


def parameters_of(name: str, owner: str, dialect: str) -> dict[str, Any]:
    """Return what a statement is run with as this owner, with Alice's ids."""
    ids = {"owner_id_": owner, "tenant_id_": owner, "reader_id_": reader_of(owner)}
    values = {**VALUES, **ids, **MORE.get(name, {})}
    if name == "conversations.turn_statements.CREATE_OR_EXTEND":
        values |= CREATED | {"owner_id": owner}
    if name == "conversations.editing._MATCHES":
        words = 'owner_id : "user:alice" AND content : "secret" *'
        values |= {"words": words if dialect == "sqlite" else "'secret':*"}
        values |= {"owner_lexeme": f"'owner:{ALICE}'"}
    return values


def found(connection: sa.Connection, statement: sa.Executable, values: dict[str, Any]) -> bool:
    """Run a statement; whether it changed or returned anything."""
    result = connection.execute(statement, values)
    if result.returns_rows:
        return any(any(row) for row in result)
    return result.rowcount > 0


def test_every_module_whose_statements_take_an_owner_is_tried() -> None:
    names = {each.name for each in pkgutil.walk_packages(memory.__path__, "memory.")}
    found = {name for name in names - {"memory.migrations.env"} if "versions" not in name}
    ours = {name.removeprefix("memory.") for name in found}
    assert {name for name in ours if any(statements_of(name, "sqlite"))} == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
async def test_no_statement_finds_what_is_in_part_another_s(
    database: Database, module: str
) -> None:
    dialect = await dialect_of(database)
    for name, statement in statements_of(module, dialect):
        first = parameters_of(name, STRANGER, dialect)
        tables = tables_of(statement) - ABSENT.get(name, set())
        tries = (first, first | AGAIN[name]) if name in AGAIN else (first,)
        for mine, owners in itertools.product(tries, worlds(tables)):

            def none_found(connection: sa.Connection) -> None:
                shown = {table.name: owner for table, owner in owners.items()}  # noqa: B023
                assert not found(connection, statement, mine), (name, shown)  # noqa: B023

            await in_world(database, owners, none_found)


@pytest.mark.parametrize("module", MODULES)
async def test_each_of_these_statements_finds_what_is_its_owner_s(
    database: Database, module: str
) -> None:
    """Without this, the other would pass for statements that find nothing at all."""
    dialect = await dialect_of(database)
    named = dict(statements_of(module, dialect))
    assert named
    for name, statement in named.items():
        hers = parameters_of(name, ALICE, dialect)

        def some_found(connection: sa.Connection) -> None:
            assert found(connection, statement, hers), name  # noqa: B023

        await in_world(database, {}, some_found)


async def test_a_task_is_due_only_with_a_conversation_of_the_same_owner(
    database: Database,
) -> None:
    def is_due(connection: sa.Connection) -> bool:
        return schedule_claims.is_due(connection, NOW)

    def due(connection: sa.Connection) -> None:
        assert is_due(connection)

    def not_due(connection: sa.Connection) -> None:
        assert not is_due(connection)

    await in_world(database, {}, due)
    for owners in worlds({agent_schedules, agent_sessions}):
        if STRANGER in owners.values():
            await in_world(database, owners, not_due)


async def test_the_running_task_of_one_owner_keeps_no_other_s_from_running(
    database: Database,
) -> None:
    def work(connection: sa.Connection) -> None:
        running = sa.update(agent_schedules).values(lease_until=LATER, network="there")
        connection.execute(running)
        session = {"session_id": "bobs", "owner_id": BOB, "last_activity_at": BEFORE}
        session |= {"agent_id": "main", "title": "", "channel": "web", "started_at": BEFORE}
        session |= {"message_count": 0, "last_seq": 0, "status": "active"}
        connection.execute(sa.insert(agent_sessions), session)
        task = {"schedule_id": "bobs", "session_id": "bobs", "owner_id": BOB, **TASK}
        connection.execute(sa.insert(agent_schedules), task | {"next_run_at": NOW})
        claimed = schedule_claims.claim_due(connection, NOW, LATER, lambda *_: LATER)
        assert claimed is not None
        assert claimed.owner == BOB

    await in_world(database, {}, work)


async def test_another_s_turn_holds_no_conversation(database: Database) -> None:
    is_active = agent_sessions.c.session_id == "hers"

    def held(connection: sa.Connection) -> None:
        assert retention.mark_inactive(connection, is_active, NOW) == (0, 0)

    def free(connection: sa.Connection) -> None:
        assert retention.mark_inactive(connection, is_active, NOW) == (1, 1)

    await in_world(database, {}, held)
    await in_world(database, {agent_turns: STRANGER, agent_sessions: ALICE}, free)


def arrives(connection: sa.Connection, owner: str, message_id: str, at: datetime) -> str:
    """Let a message come in."""
    values = {"state": "received", "received_at": at}
    new = NewInboxMessage(message_id, {"text": "secret"}, b"secret")
    return inbox_rows.add(connection, owner, "phone", new, values)


async def test_one_owner_s_messages_fill_no_other_s_queue(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        arrivals = [
            arrives(connection, ALICE, f"hers-{number:02}", NOW)
            for number in range(inbox_rows.MAX_WAITING + 1)
        ]
        assert arrivals[-2:] == ["new", "full"]
        assert arrives(connection, BOB, "bobs", LATER) == "new"

    await rolled_back(database, work)


async def test_one_owner_s_messages_let_no_other_s_wait(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        arrives(connection, ALICE, "hers-1", BEFORE)
        arrives(connection, ALICE, "hers-2", NOW)
        arrives(connection, BOB, "bobs", LATER)
        taken = inbox_rows.claim(connection, "phone", "holder", limit=9, until=LATER)
        assert {item.message_id for item in taken} == {"hers-1", "bobs"}

    await rolled_back(database, work)


async def test_what_came_in_from_another_is_neither_read_nor_changed(database: Database) -> None:
    everything = sa.select(channel_messages).order_by(channel_messages.c.message_id)

    def work(connection: sa.Connection) -> None:
        arrives(connection, ALICE, "hers", NOW)
        before = connection.execute(everything).all()
        assert inbox_rows.waiting(connection, BOB, "phone", BEFORE) == []
        assert inbox_rows.media(connection, BOB, "phone", "hers") is None
        assert not inbox_rows.change(connection, BOB, "phone", "hers", "", {"state": "done"})
        inbox_rows.forget(connection, BOB)
        assert connection.execute(everything).all() == before
        assert len(inbox_rows.waiting(connection, ALICE, "phone", BEFORE)) == 1
        assert inbox_rows.media(connection, ALICE, "phone", "hers") == b"secret"
        assert inbox_rows.change(connection, ALICE, "phone", "hers", "", {"holder": "holder"})
        inbox_rows.forget(connection, ALICE)
        assert connection.execute(everything).one().owner_id is None

    await rolled_back(database, work)


async def test_what_goes_out_for_another_is_neither_read_nor_changed(database: Database) -> None:
    everything = sa.select(channel_sends).order_by(channel_sends.c.send_id)

    def work(connection: sa.Connection) -> None:
        for number, owner in enumerate((ALICE, ALICE, BOB)):
            new = [NewSend(f"{owner}-{number}", "group", "text", "secret")]
            outbox_rows.add(connection, owner, "phone", new, BEFORE + timedelta(minutes=number))
        taken = outbox_rows.claim(connection, "phone", limit=9, now=NOW, until=LATER)
        hers, theirs = f"{ALICE}-0", f"{BOB}-2"
        assert {item.send_id for item in taken} == {hers, theirs}
        connection.execute(sa.delete(channel_sends).where(channel_sends.c.owner_id == BOB))
        before = connection.execute(everything).all()
        assert not outbox_rows.change(connection, BOB, hers, {"state": "sent"})
        assert outbox_rows.states(connection, BOB, "phone", [hers]) == []
        outbox_rows.forget(connection, BOB)
        assert connection.execute(everything).all() == before
        assert outbox_rows.change(connection, ALICE, hers, {"state": "pending"})
        assert len(outbox_rows.states(connection, ALICE, "phone", [hers])) == 1
        outbox_rows.forget(connection, ALICE)
        assert connection.execute(everything).all() == []

    await rolled_back(database, work)


async def test_what_one_has_chosen_is_theirs_alone(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        preferences.set_language(connection, ALICE, "ru")
        assert preferences.language(connection, BOB) is None
        preferences.set_language(connection, BOB, "en")
        preferences.set_language(connection, BOB, "en")
        assert preferences.language(connection, ALICE) == "ru"
        preferences.set_consent(connection, ALICE, "ratings", True, NOW)
        preferences.set_consent(connection, ALICE, "ratings", True, LATER)
        assert not preferences.consents(connection, BOB)
        preferences.set_consent(connection, BOB, "ratings", True, NOW)
        preferences.set_consent(connection, BOB, "ratings", False, NOW)
        assert not preferences.consents(connection, BOB)
        assert preferences.consents(connection, ALICE)
        preferences.forget(connection, BOB)
        assert preferences.language(connection, ALICE) == "ru"
        assert preferences.consents(connection, ALICE)
        preferences.forget(connection, ALICE)
        assert preferences.language(connection, ALICE) is None
        assert not preferences.consents(connection, ALICE)

    await rolled_back(database, work)

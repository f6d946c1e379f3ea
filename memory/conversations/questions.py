"""Tool calls of a running turn that wait for their owner's decision, as other processes see them.

The process that runs the turn stores what it asks; any process stores what the owner decides, which
the first one gets with its next checkpoint. Functions of one connection; each statement names the
owner.
"""

import hmac
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from memory.conversations import turn_statements
from memory.records import StoredDecision, StoredQuestion
from memory.schema import RUNNING, agent_turns
from memory.validation import unpack_open_questions, without_nothing

_turns = agent_turns.c
_STORE: Final = (
    sa.update(agent_turns)
    .where(
        _turns.turn_id == sa.bindparam("turn_id_"),
        _turns.owner_id == sa.bindparam("owner_id_"),
        RUNNING,
    )
    .values(questions=sa.bindparam("new_questions", type_=_turns.questions.type))
)
# PostgreSQL: two decisions come one after the other. SQLite has one writer.
_OPEN: Final = (
    sa.select(_turns.turn_id, _turns.questions, _turns.decisions)
    .where(turn_statements.OWN_LEASED)
    .with_for_update()
)
_DECIDE: Final = (
    sa.update(agent_turns)
    .where(_turns.turn_id == sa.bindparam("turn_id_"), _turns.owner_id == sa.bindparam("owner_id_"))
    .values(decisions=sa.bindparam("new_decisions", type_=_turns.decisions.type))
)


def store(
    connection: sa.Connection, owner: str, turn_id: str, questions: Sequence[StoredQuestion]
) -> bool:
    """Store what waits in a turn, in place of what waited; return whether the turn runs."""
    packed = [without_nothing(question, ("account",)) for question in questions] or None
    parameters = {"turn_id_": turn_id, "owner_id_": owner, "new_questions": packed}
    return connection.execute(_STORE, parameters).rowcount > 0


def decide(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    decision: StoredDecision,
    at: datetime,
) -> bool:
    """Store a decision about a call that waits; return False where no such call does."""
    own = {"conversation_id_": conversation_id, "owner_id_": owner, "at": at}
    row = connection.execute(_OPEN, own).one_or_none()
    if row is None:
        return False
    waiting = unpack_open_questions(row.questions, row.decisions)
    wanted = decision.approval_id.encode()
    found = [q for q in waiting if hmac.compare_digest(q.approval_id.encode(), wanted)]
    if not found or found[0].until <= at.timestamp():
        return False
    decided = [*(row.decisions or ()), asdict(decision)]
    parameters = {"turn_id_": row.turn_id, "owner_id_": owner, "new_decisions": decided}
    connection.execute(_DECIDE, parameters)
    return True

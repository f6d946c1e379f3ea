"""Rated answers of owners who let the operator read them, over all owners and without their names.

An owner's consent is a row, and a part of each statement here: once it is deleted, nothing of the
owner is found.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.records import Feedback, FeedbackReason, MessageStatus
from memory.schema import UtcDateTime, agent_consents, agent_messages, agent_sessions
from memory.validation import row_limit, unpack_tools

_sessions = agent_sessions.c
_answer, _question = agent_messages.alias("answer"), agent_messages.alias("question")
_CONSENTED: Final = sa.join(
    _answer,
    agent_consents,
    sa.and_(
        agent_consents.c.owner_id == _answer.c.owner_id,
        agent_consents.c.kind == sa.literal_column("'ratings'"),
    ),
).join(
    agent_sessions,
    sa.and_(
        _sessions.session_id == _answer.c.session_id,
        _sessions.owner_id == _answer.c.owner_id,
        _sessions.deleted_at.is_(None),
    ),
)
_WITH_QUESTION: Final = sa.outerjoin(
    _CONSENTED,
    _question,
    sa.and_(
        _question.c.session_id == _answer.c.session_id,
        _question.c.owner_id == _answer.c.owner_id,
        _question.c.seq == _answer.c.parent_seq,
    ),
)
_RATED: Final = sa.and_(_answer.c.rated_at.is_not(None), _answer.c.feedback.is_not(None))


@dataclass(frozen=True, slots=True)
class RatedFilter:
    """Which rated answers are wanted; None stands for any.

    Attributes:
        feedback: How they are rated.
        reason: Why.
        before: The `position` of the last one of the page before.
    """

    feedback: Feedback | None = None
    reason: FeedbackReason | None = None
    before: tuple[datetime, int] | None = None


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """A rated answer and its question. It names neither its owner nor its conversation.

    Attributes:
        number: Tells it from others that were rated at the same moment.
        tools: The names of the tools that were called.
    """

    number: int
    rated_at: datetime
    feedback: Feedback
    reason: FeedbackReason | None
    comment: str | None
    agent_id: str
    question: str
    answer: str
    status: MessageStatus
    model: str | None
    tokens: int | None
    cost_micros: int | None
    latency_ms: int | None
    created_at: datetime
    tools: tuple[str, ...]

    @property
    def position(self) -> tuple[datetime, int]:
        """Its place in the list, for `RatedFilter.before`."""
        return self.rated_at, self.number


_COLUMNS: Final = (
    _answer.c.message_id,
    _answer.c.rated_at,
    _answer.c.feedback,
    _answer.c.feedback_reason,
    _answer.c.feedback_comment,
    _sessions.agent_id,
    sa.func.coalesce(_question.c.content, ""),
    _answer.c.content,
    _answer.c.status,
    _answer.c.model_used,
    _answer.c.tokens_used,
    _answer.c.cost_micros,
    _answer.c.latency_ms,
    _answer.c.created_at,
    _answer.c.tool_calls,
)


async def rated_answers(
    database: Database, wanted: RatedFilter, *, limit: int = 50
) -> list[RatedAnswer]:
    """Return rated answers whose owners agreed, newest rating first.

    `limit` is brought into 1 to 500. Raises DatabaseUnavailableError.
    """
    statement = _statement(wanted).limit(row_limit(limit))
    return await database.read(
        lambda connection: [_record(row) for row in connection.execute(statement)], owner=EVERYONE
    )


def _statement(wanted: RatedFilter) -> sa.Select[Any]:
    at, number = _answer.c.rated_at, _answer.c.message_id
    statement = sa.select(*_COLUMNS).select_from(_WITH_QUESTION).where(_RATED)
    if wanted.feedback is not None:
        statement = statement.where(_answer.c.feedback == wanted.feedback)
    if wanted.reason is not None:
        statement = statement.where(_answer.c.feedback_reason == wanted.reason)
    if wanted.before is not None:
        last_at, last_number = wanted.before
        place = sa.tuple_(
            sa.literal(last_at, type_=UtcDateTime), sa.literal(last_number, type_=sa.BigInteger)
        )
        statement = statement.where(sa.tuple_(at, number) < place)
    return statement.order_by(at.desc(), number.desc())


def _record(row: Any) -> RatedAnswer:
    *values, tool_calls = row
    tools = tuple(call.name for call in unpack_tools(tool_calls))
    return RatedAnswer(*(*values, tools))


@dataclass(frozen=True, slots=True)
class RatedConversation:
    """A conversation in which an owner who agreed has rated an answer."""

    owner: str
    conversation_id: str


async def rated_conversations(
    database: Database, *, after: str, limit: int
) -> list[RatedConversation]:
    """Return conversations with rated answers whose owners agreed, by their ids.

    Args:
        database: The database.
        after: The id of the last one before; empty for the first.
        limit: How many, brought into 1 to 500.

    Raises:
        DatabaseUnavailableError: The database cannot be read.
    """
    statement = (
        sa.select(_answer.c.owner_id, _answer.c.session_id)
        .distinct()
        .select_from(_CONSENTED)
        .where(_RATED, _answer.c.session_id > after)
        .order_by(_answer.c.session_id)
        .limit(row_limit(limit))
    )
    return await database.read(
        lambda connection: [RatedConversation(*row) for row in connection.execute(statement)],
        owner=EVERYONE,
    )

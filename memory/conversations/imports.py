"""Stores conversations that come from elsewhere, in transactions of bounded size.

`add_messages` serves whatever copies messages into a conversation. Functions of one connection;
each statement names the owner. A conversation is hidden, like a deleted one, until its last part
is stored: what a broken import leaves behind is deleted with the deleted conversations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.conversations import files, turn_statements
from memory.errors import ConversationNotFoundError
from memory.records import (
    AnswerDetails,
    Arrangement,
    ConversationOrigin,
    ConversationStatus,
    Feedback,
    FeedbackReason,
    MessageStatus,
    Role,
    ToolRecord,
)
from memory.schema import UtcDateTime, agent_messages, agent_sessions
from memory.validation import pack_details, pack_tools, title_of

MAX_MESSAGES = 500  # of one part

_sessions = agent_sessions.c
# `_GROW` refuses a conversation that is there already and is not this import's.
_CREATE: Final = {
    "sqlite": sqlite.insert(agent_sessions).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(agent_sessions).on_conflict_do_nothing(),
}
_GROW: Final = (
    sa.update(agent_sessions)
    .where(
        _sessions.session_id == sa.bindparam("conversation_id_", type_=sa.Text),
        _sessions.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
        _sessions.deleted_at.is_not(None),
        _sessions.last_seq == sa.bindparam("before_seq", type_=sa.Integer),
    )
    .values(
        message_count=_sessions.message_count + sa.bindparam("shown", type_=sa.Integer),
        last_seq=_sessions.last_seq + sa.bindparam("added", type_=sa.Integer),
        has_files=sa.or_(_sessions.has_files, sa.bindparam("with_files", type_=sa.Boolean)),
        # none for the last part
        deleted_at=sa.bindparam("hidden_at", type_=UtcDateTime),
    )
)
_KNOWN: Final = sa.select(
    sa.func.max(sa.case((_sessions.import_digest == sa.bindparam("digest"), 1), else_=0))
).where(
    _sessions.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
    _sessions.import_source == sa.bindparam("source_", type_=sa.Text),
    _sessions.import_source.is_not(None),
    _sessions.deleted_at.is_(None),
)


@dataclass(frozen=True, slots=True)
class ImportMark:
    """By what a conversation is recognised that is imported once more.

    Attributes:
        source: Names the conversation where it comes from: a digest of the kind of source and the id.
        digest: Stands for what the conversation held when it was imported.
    """

    source: str
    digest: str


# Whether an owner has a conversation: "same" as one with this mark, or one of the same source that
# held something else ("changed").
Known = Literal["same", "changed"]


@dataclass(frozen=True, slots=True)
class ImportedHead:
    """A conversation that is imported, without its messages.

    Attributes:
        conversation_id: A new id.
        title: Its title, which is cut to the length of a title.
        started_at: When it began.
        last_activity_at: When it was last used.
        status: Its status afterwards.
        origin: Where it comes from.
        mark: By what it is recognised; None for one that never is.
        arrangement: Where it stands in its owner's list.
    """

    conversation_id: str
    title: str
    started_at: datetime
    last_activity_at: datetime
    status: ConversationStatus
    origin: ConversationOrigin
    mark: ImportMark | None = None
    arrangement: Arrangement = field(default_factory=Arrangement)


@dataclass(frozen=True, slots=True)
class MessageToImport:
    """A message from elsewhere.

    Attributes:
        file_ids: The owner's files that belong to no message yet and become this one's.
        parent_seq: The message that it follows, 0 for a first message; None: the one before it.
        is_shown: Whether it is on the shown path.
        files_seq: The version of it whose files it has, where they are not its own.
    """

    role: Role
    content: str
    created_at: datetime
    status: MessageStatus = "complete"
    model_used: str | None = None
    thinking: str | None = None
    tool_calls: Sequence[ToolRecord] = ()
    finish_reason: str | None = None
    feedback: Feedback | None = None
    feedback_reason: FeedbackReason | None = None
    feedback_comment: str | None = None
    details: AnswerDetails = field(default_factory=AnswerDetails)
    file_ids: Sequence[str] = ()
    parent_seq: int | None = None
    is_shown: bool = True
    files_seq: int | None = None


@dataclass(frozen=True, slots=True)
class ImportPart:
    """Some messages of a conversation that follow each other.

    Attributes:
        head: The conversation.
        after_seq: The seq of the last message that is stored already; 0 before the first part.
        messages: The messages.
        is_last: Whether no further part follows, so that the conversation is shown.
    """

    head: ImportedHead
    after_seq: int
    messages: Sequence[MessageToImport]
    is_last: bool


def store(connection: sa.Connection, owner: str, part: ImportPart, now: datetime) -> int:
    """Store a part of a conversation; return the seq of its last message.

    Raises:
        ConversationNotFoundError: The parts before it are gone, or the conversation is complete.
        ValueError: A message follows one that is not before it, or the shown ones are no path.
    """
    if part.after_seq == 0:
        create = _CREATE[connection.dialect.name]
        connection.execute(create, _session_row(owner, part.head, now))
    grown = {
        "conversation_id_": part.head.conversation_id,
        "owner_id_": owner,
        "before_seq": part.after_seq,
        "added": len(part.messages),
        "shown": sum(message.is_shown for message in part.messages),
        "with_files": any(message.file_ids for message in part.messages),
        "hidden_at": None if part.is_last else now,
    }
    if connection.execute(_GROW, grown).rowcount == 0:
        raise ConversationNotFoundError
    _check_tree(connection, owner, part)
    add_messages(connection, owner, part.head.conversation_id, part.after_seq, part.messages)
    for seq, message in enumerate(part.messages, part.after_seq + 1):
        if message.file_ids:
            files.attach_known(
                connection,
                owner,
                message.file_ids,
                conversation_id=part.head.conversation_id,
                seq=seq,
            )
    return part.after_seq + len(part.messages)


def add_messages(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    after_seq: int,
    messages: Sequence[MessageToImport],
) -> None:
    """Store messages of a conversation that come behind the one at `after_seq`, without files."""
    rows = [
        _message_row(owner, conversation_id, seq, message)
        for seq, message in enumerate(messages, after_seq + 1)
    ]
    if rows:
        connection.execute(sa.insert(agent_messages), rows)


def import_state(connection: sa.Connection, owner: str, mark: ImportMark) -> Known | None:
    """Return what the owner has of a conversation that is about to be imported; None for nothing."""
    parameters = {"owner_id_": owner, "source_": mark.source, "digest": mark.digest}
    found = connection.execute(_KNOWN, parameters).scalar_one()
    return None if found is None else "same" if found else "changed"


def _check_tree(connection: sa.Connection, owner: str, part: ImportPart) -> None:
    """Raise ValueError unless the part keeps what `memory.conversations.tree` relies on."""
    own = {"owner_id_": owner, "conversation_id_": part.head.conversation_id}
    last = turn_statements.LAST_SHOWN.one_or_none(connection, own) if part.after_seq else None
    end = last[0] if last is not None else 0
    for seq, message in enumerate(part.messages, part.after_seq + 1):
        parent = _parent_seq(seq, message)
        has_earlier_files = message.files_seq is None or 0 < message.files_seq < seq
        if not (0 <= parent < seq and has_earlier_files):
            raise ValueError("a message follows one that is not before it")
        if message.is_shown and parent != end:
            raise ValueError("the shown messages are no path")
        end = seq if message.is_shown else end


def _parent_seq(seq: int, message: MessageToImport) -> int:
    return seq - 1 if message.parent_seq is None else message.parent_seq


def _session_row(owner: str, head: ImportedHead, now: datetime) -> dict[str, Any]:
    origin = head.origin
    return {
        "session_id": head.conversation_id,
        "owner_id": owner,
        "agent_id": origin.agent_id,
        "title": title_of(head.title),
        "channel": origin.channel,
        "website_domain": origin.website_domain,
        "ip_address": origin.ip_address,
        "context_data": origin.context,
        "tenant_id": origin.tenant_id,
        "external_id": origin.external_id,
        "message_count": 0,
        "last_seq": 0,
        "status": head.status,
        "started_at": head.started_at,
        "last_activity_at": head.last_activity_at,
        "ended_at": head.last_activity_at,
        "deleted_at": now,
        "is_pinned": bool(head.arrangement.is_pinned),
        "is_archived": bool(head.arrangement.is_archived),
        "folder": title_of(head.arrangement.folder or "") or None,
        "import_source": head.mark.source if head.mark is not None else None,
        "import_digest": head.mark.digest if head.mark is not None else None,
    }


def _message_row(
    owner: str, conversation_id: str, seq: int, message: MessageToImport
) -> dict[str, Any]:
    return {
        "session_id": conversation_id,
        "owner_id": owner,
        "seq": seq,
        "parent_seq": _parent_seq(seq, message),
        "role": message.role,
        "content": message.content,
        "tool_calls": pack_tools(message.tool_calls),
        "status": message.status,
        "model_used": message.model_used,
        "created_at": message.created_at,
        "turn_id": "",  # no turn of the conversation has written it
        "superseded": not message.is_shown,
        "files_seq": message.files_seq,
        "feedback": message.feedback,
        "feedback_reason": message.feedback_reason,
        "feedback_comment": message.feedback_comment,
        "thinking": message.thinking,
        "finish_reason": message.finish_reason,
        "details": pack_details(message.details),
    }

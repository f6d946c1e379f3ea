"""Forks: a new conversation with a copy of another's path up to a message.

Functions of one connection; each statement names the owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory import receipts
from memory.conversations import files, tree
from memory.errors import ConversationNotFoundError, ForkTooLongError, MessageNotShownError
from memory.schema import agent_messages, agent_sessions
from memory.validation import title_of

# of a fork: they are copied in one transaction
MAX_MESSAGES = 1_000
MAX_CHARS = 5_000_000
TITLE = "Fork: "

_sessions, _messages = agent_sessions.c, agent_messages.c
_SESSION: Final = sa.bindparam("conversation_id_", type_=sa.Text)
_OWNER: Final = sa.bindparam("owner_id_", type_=sa.Text)
_OWN_SESSION: Final = sa.and_(
    _sessions.session_id == _SESSION, _sessions.owner_id == _OWNER, _sessions.deleted_at.is_(None)
)
_OWN_MESSAGES: Final = sa.and_(_messages.session_id == _SESSION, _messages.owner_id == _OWNER)
_PATH: Final = sa.and_(
    _OWN_MESSAGES,
    _messages.superseded.is_(False),
    _messages.seq <= sa.bindparam("through_seq", type_=sa.Integer),
)
_NUMBER: Final = sa.cast(sa.func.row_number().over(order_by=_messages.seq), sa.Integer)
# Neither usage nor rating: the answers were paid for and rated once, in the other conversation.
_COPIED: Final = (
    "owner_id",
    "role",
    "content",
    "tool_calls",
    "status",
    "model_used",
    "audio_url",
    "created_at",
    "error_id",
    "thinking",
    "finish_reason",
    "details",
)
_ADD_MESSAGES: Final = sa.insert(agent_messages).from_select(
    ["session_id", "seq", "parent_seq", "superseded", "turn_id", *_COPIED],
    sa.select(
        sa.bindparam("new_id", type_=sa.Text),
        _NUMBER,
        _NUMBER - 1,
        sa.false(),
        sa.literal(""),  # no turn of the new conversation has written it
        *(_messages[name] for name in _COPIED),
    ).where(_PATH),
    include_defaults=False,
)
_NUMBERS: Final = (
    sa.select(_messages.seq, _NUMBER, _messages.details).where(_PATH).order_by(_messages.seq)
)
_NEXT: Final = (
    sa.select(_messages.seq, _messages.role)
    .where(
        _OWN_MESSAGES,
        _messages.superseded.is_(False),
        _messages.seq > sa.bindparam("seq_", type_=sa.Integer),
    )
    .order_by(_messages.seq)
    .limit(1)
)
_SIZE: Final = (
    sa.select(
        sa.func.count(),
        sa.func.sum(
            sa.func.length(_messages.content)
            + sa.func.coalesce(sa.func.length(_messages.thinking), 0)
            + sa.func.coalesce(sa.func.length(sa.cast(_messages.tool_calls, sa.Text)), 0)
        ),
    )
    .select_from(agent_messages)
    .where(_PATH)
)
_DELETE: Final = sa.delete(agent_sessions).where(_OWN_SESSION)
_SOURCE: Final = sa.select(
    _sessions.agent_id,
    _sessions.title,
    _sessions.website_domain,
    _sessions.ip_address,
    _sessions.channel,
    _sessions.tenant_id,
    _sessions.external_id,
    _sessions.summary,
    _sessions.summarised_seq,
).where(_OWN_SESSION)
_SET_DETAILS: Final = (
    sa.update(agent_messages)
    .where(
        _messages.session_id == sa.bindparam("new_id", type_=sa.Text),
        _messages.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
        _messages.seq == sa.bindparam("seq_", type_=sa.Integer),
    )
    .values(details=sa.bindparam("new_details", type_=agent_messages.c.details.type))
)


@dataclass(frozen=True, slots=True)
class ForkPlan:
    """What a fork at a message copies: the path through `through_seq`, and the ids of its files."""

    through_seq: int
    files: tuple[tuple[int, str], ...]


def plan(
    connection: sa.Connection, owner: str, conversation_id: str, seq: int, at: datetime
) -> ForkPlan:
    """Return what a fork at a message copies: a question goes with its answer.

    Raises as `fork`.
    """
    tree.require_idle(connection, owner, conversation_id, at, lock=False)
    return _plan(connection, owner, conversation_id, seq)


def fork(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    seq: int,
    *,
    new_id: str,
    context: Mapping[str, Any],
    copies: Mapping[str, str],
    at: datetime,
) -> None:
    """Make a conversation with a copy of another's path up to a message.

    Args:
        connection: The transaction.
        owner: The owner of both.
        conversation_id: The conversation that is copied.
        seq: The message; a question is copied with its answer.
        new_id: The id of the new conversation.
        context: What the new one stores beside its messages.
        copies: Ids of copies, which belong to no message yet, by the ids of the path's files.
        at: The time.

    Raises:
        ConversationNotFoundError: The owner has no such conversation, or it no such message.
        ConversationBusyError: An answer is being written in it.
        MessageNotShownError: The message is not on the path that is shown.
        ForkTooLongError: The path is longer, or has more files, than is copied.
        UnknownFileError: A copy is missing, or is not the owner's.
    """
    tree.require_idle(connection, owner, conversation_id, at, lock=True)
    planned = _plan(connection, owner, conversation_id, seq)
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    path = own | {"through_seq": planned.through_seq}
    numbers = {row[0]: (row[1], row[2]) for row in connection.execute(_NUMBERS, path)}
    _add_session(connection, own, numbers, new_id, context, at, has_files=bool(planned.files))
    connection.execute(_ADD_MESSAGES, path | {"new_id": new_id})
    _attach(connection, owner, planned, numbers, new_id, copies)


def remove(connection: sa.Connection, owner: str, new_id: str) -> bool:
    """Delete a fork whose caller was cancelled before it was returned; return whether there was one."""
    own = {"owner_id_": owner, "conversation_id_": new_id}
    return connection.execute(_DELETE, own).rowcount > 0


def _plan(connection: sa.Connection, owner: str, conversation_id: str, seq: int) -> ForkPlan:
    chosen = tree.message(connection, owner, conversation_id, seq)
    if chosen.superseded:
        raise MessageNotShownError
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    through_seq = seq
    if chosen.role == "user":
        following = connection.execute(_NEXT, own | {"seq_": seq}).one_or_none()
        if following is not None and following.role == "assistant":
            through_seq = following.seq
    path = own | {"through_seq": through_seq}
    count, chars = connection.execute(_SIZE, path).one()
    if count > MAX_MESSAGES or chars > MAX_CHARS:
        raise ForkTooLongError
    attached = files.of_path(connection, owner, conversation_id, through_seq)
    if len(attached) >= files.MAX_FILES_OF_CONVERSATION:
        raise ForkTooLongError
    return ForkPlan(through_seq, tuple(attached))


def _add_session(
    connection: sa.Connection,
    own: Mapping[str, Any],
    numbers: Mapping[int, tuple[int, Any]],
    new_id: str,
    context: Mapping[str, Any],
    at: datetime,
    *,
    has_files: bool,
) -> None:
    source = connection.execute(_SOURCE, own).one_or_none()
    if source is None:
        raise ConversationNotFoundError
    # A summary of more than what is copied would bring what comes after it.
    number, _ = numbers.get(source.summarised_seq or 0, (None, None))
    row = source._asdict() | {
        "session_id": new_id,
        "owner_id": own["owner_id_"],
        "title": title_of(TITLE + source.title.removeprefix(TITLE)),
        "summary": source.summary if number is not None else None,
        "summarised_seq": number,
        "context_data": dict(context) or None,
        "message_count": len(numbers),
        "last_seq": len(numbers),
        "status": "active",
        "started_at": at,
        "last_activity_at": at,
        "has_files": has_files,
    }
    connection.execute(sa.insert(agent_sessions), row)


def _attach(
    connection: sa.Connection,
    owner: str,
    planned: ForkPlan,
    numbers: Mapping[int, tuple[int, Any]],
    new_id: str,
    copies: Mapping[str, str],
) -> None:
    """Give the copied messages the copies of their files, and receipts that follow each other."""
    ids: dict[int, dict[str, str]] = {}
    for seq, file_id in planned.files:
        # A file without a copy is refused by `attach`.
        ids.setdefault(seq, {})[file_id] = copies.get(file_id, "")
    for seq, new_ids in ids.items():
        number, _ = numbers[seq]
        files.attach(connection, owner, [*new_ids.values()], conversation_id=new_id, seq=number)
    own = {"new_id": new_id, "owner_id_": owner}
    details = receipts.copies(
        _with_copies(details, ids.get(seq, {})) for seq, (_, details) in numbers.items()
    )
    changed = [
        own | {"seq_": number, "new_details": new}
        for (number, old), new in zip(numbers.values(), details, strict=True)
        if new != old
    ]
    if changed:
        connection.execute(_SET_DETAILS, changed)


def _with_copies(details: Any, new_ids: Mapping[str, str]) -> Any:
    """Return a message's details with the ids of the copies of its pictures."""
    if not details or not details.get("pictures"):
        return details
    pictures = [
        picture | {"file_id": new_ids[picture["file_id"]]}
        for picture in details["pictures"]
        if picture["file_id"] in new_ids
    ]
    return details | {"pictures": pictures}

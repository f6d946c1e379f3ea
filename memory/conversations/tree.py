"""The tree of messages: versions of a message, and the path that is shown.

Each message names the one that it follows. Those that follow the same message are versions of each
other, also where a question and an answer do: no message is out of reach. `superseded` marks what is off the path, so that whatever reads the path needs no walk:
in the order of their seqs, the messages that are not superseded are the path. Functions of one
connection; each statement names the owner. See ``docs/adr/0038-a-tree-of-messages.md``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import files, turn_statements
from memory.errors import ConversationBusyError, ConversationNotFoundError
from memory.records import MessageLink, StoredMessage
from memory.schema import (
    OFF_THE_PATH,
    RUNNING,
    UtcDateTime,
    agent_messages,
    agent_sessions,
    agent_turns,
)
from memory.validation import title_of

MAX_LISTED = 20_000  # versions that are handed out for one page of messages, the newest ones

_sessions, _messages, _turns = agent_sessions.c, agent_messages.c, agent_turns.c
_SESSION: Final = sa.bindparam("conversation_id_", type_=sa.Text)
_OWNER: Final = sa.bindparam("owner_id_", type_=sa.Text)
_OWN_SESSION: Final = sa.and_(
    _sessions.session_id == _SESSION,
    _sessions.owner_id == _OWNER,
    _sessions.deleted_at.is_(None),
)
_OWN_MESSAGES: Final = sa.and_(_messages.session_id == _SESSION, _messages.owner_id == _OWNER)

_SUMMARISED: Final = sa.select(_sessions.session_id, _sessions.summarised_seq).where(_OWN_SESSION)
# PostgreSQL: no turn begins and no other version is selected meanwhile. SQLite has one writer.
_LOCK: Final = (
    sa.select(_sessions.session_id, _sessions.summarised_seq).where(_OWN_SESSION).with_for_update()
)
_RUNNING: Final = sa.select(sa.literal(1)).where(
    _turns.session_id == _SESSION,
    _turns.owner_id.concat("") == _OWNER,  # as in `turn_statements`
    RUNNING,
    _turns.lease_expires_at > sa.bindparam("at", type_=UtcDateTime),
)
_SIBLINGS: Final = (
    sa.select(_messages.parent_seq, _messages.seq)
    .where(
        _OWN_MESSAGES,
        OFF_THE_PATH,
        _messages.parent_seq.in_(sa.bindparam("parents", expanding=True, type_=sa.Integer)),
        sa.exists().where(_OWN_SESSION),
    )
    .order_by(_messages.seq.desc())
    .limit(MAX_LISTED)
)


_PATH: Final = (
    sa.select(_messages.seq, _messages.role, _messages.parent_seq)
    .where(_OWN_MESSAGES, _messages.superseded.is_(False), sa.exists().where(_OWN_SESSION))
    .order_by(_messages.seq.desc())
    .limit(sa.bindparam("rows"))
)


def _below() -> sa.CTE:
    """Return the message at `seq_`, which is off the path, and all that follow it."""
    seqs = sa.select(_messages.seq).where(_OWN_MESSAGES, OFF_THE_PATH)
    first = seqs.where(_messages.seq == sa.bindparam("seq_", type_=sa.Integer))
    below = first.cte("below", recursive=True)
    return below.union_all(seqs.where(_messages.parent_seq == below.c.seq))


def _above() -> sa.CTE:
    """Return the message at `seq_`, and those before it as far as they are off the path."""
    links = sa.select(_messages.seq, _messages.parent_seq).where(_OWN_MESSAGES, OFF_THE_PATH)
    first = links.where(_messages.seq == sa.bindparam("seq_", type_=sa.Integer))
    above = first.cte("above", recursive=True)
    return above.union_all(links.where(_messages.seq == above.c.parent_seq))


_NEWEST_BELOW: Final = sa.select(sa.func.max(_below().c.seq))
_BRANCHES_AT: Final = sa.select(sa.func.min(_above().c.parent_seq))
_SHOW: Final = (
    sa.update(agent_messages)
    .where(_OWN_MESSAGES, _messages.seq.in_(sa.select(_above().c.seq)))
    .values(superseded=False)
    .returning(_messages.seq)  # SQLite's driver counts no rows of an update with a WITH before it
)


def require_idle(
    connection: sa.Connection, owner: str, conversation_id: str, at: datetime, *, lock: bool
) -> int:
    """Return the seq that the conversation's summary covers, 0 for none.

    With `lock` nothing else changes the conversation until the transaction ends. Raises
    ConversationNotFoundError, and ConversationBusyError where an answer is being written.
    """
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    row = connection.execute(_LOCK if lock else _SUMMARISED, own).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    if connection.execute(_RUNNING, own | {"at": at}).first() is not None:
        raise ConversationBusyError
    return row.summarised_seq or 0


def message(connection: sa.Connection, owner: str, conversation_id: str, seq: int) -> Any:
    """Return the links of a message of the owner's. Raises ConversationNotFoundError."""
    parameters = {"owner_id_": owner, "conversation_id_": conversation_id, "seq_": seq}
    row = connection.execute(turn_statements.MESSAGE, parameters).one_or_none()
    if row is None:
        raise ConversationNotFoundError
    return row


def select_version(
    connection: sa.Connection, owner: str, conversation_id: str, seq: int, at: datetime
) -> None:
    """Let the shown path lead through a message, and on to the newest message that follows it.

    Nothing changes where the path does so already. Raises ConversationNotFoundError,
    ConversationBusyError.
    """
    summarised_seq = require_idle(connection, owner, conversation_id, at, lock=True)
    if not message(connection, owner, conversation_id, seq).superseded:
        return
    own: dict[str, Any] = {"owner_id_": owner, "conversation_id_": conversation_id}
    newest = connection.execute(_NEWEST_BELOW, own | {"seq_": seq}).scalar_one()
    last = own | {"seq_": newest}
    from_seq = connection.execute(_BRANCHES_AT, last).scalar_one() + 1
    cut = own | {"from_seq": from_seq}
    hidden = connection.execute(turn_statements.SUPERSEDE, cut).rowcount
    added = len(connection.execute(_SHOW, last).all()) - hidden
    if added or summarised_seq >= from_seq:
        connection.execute(turn_statements.CUT, cut | {"added": added})
    if from_seq == 1:
        first = connection.execute(turn_statements.FIRST_SHOWN, own).one()
        if first.role == "user":
            title = title_of(first.content)
            if not title:
                attached = files.of_conversation(connection, owner, conversation_id, [first.seq])
                title = title_of(", ".join(file.name for file in attached))
            retitled = own | {"new_title": title}
            connection.execute(turn_statements.RETITLE, retitled)


def path(
    connection: sa.Connection, owner: str, conversation_id: str, limit: int
) -> list[MessageLink]:
    """Return the newest messages of the shown path, newest first. Raises ConversationNotFoundError."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id, "rows": limit}
    links = [MessageLink(*row) for row in connection.execute(_PATH, own)]
    if not links:
        raise ConversationNotFoundError
    return links


def versions(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    shown: Sequence[StoredMessage | MessageLink],
) -> dict[int, tuple[int, ...]]:
    """Return the seqs of all versions of those messages of the shown path that have several.

    Of more than `MAX_LISTED`, which only an import can bring, the oldest are left out.
    """
    parents = sorted({message.parent_seq for message in shown})
    if not parents:
        return {}
    own = {"owner_id_": owner, "conversation_id_": conversation_id, "parents": parents}
    siblings: dict[int, list[int]] = {}
    for parent_seq, seq in connection.execute(_SIBLINGS, own):
        siblings.setdefault(parent_seq, []).append(seq)
    return {
        item.seq: tuple(sorted({item.seq, *siblings[item.parent_seq]}))
        for item in shown
        if item.parent_seq in siblings
    }

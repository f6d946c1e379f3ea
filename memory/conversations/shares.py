"""Stores shares: a link of an owner, and the snapshot that its readers see.

Functions of one connection. Each statement names the owner, or the link's principal (`reader`),
to which the snapshot belongs; those of maintenance name neither.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import files, reading, share_files, tree
from memory.errors import (
    ConversationMovedError,
    ShareNotFoundError,
    ShareTooLargeError,
    TooManySharesError,
)
from memory.records import SourceRecord, StoredFile, StoredMessage
from memory.schema import (
    UtcDateTime,
    agent_share_messages,
    agent_share_snapshots,
    agent_shares,
)
from memory.share_records import NewShare, Share, SharedFile, SharedMessage, Snapshot

MAX_SHARES = 100  # of one owner
MAX_MESSAGES = 1_000  # of one snapshot
MAX_CHARS = 2_000_000  # of one snapshot's messages
PAGE = 50  # messages that are copied at once

_shares, _snapshots = agent_shares.c, agent_share_snapshots.c
_messages = agent_share_messages.c
_OWNER = _shares.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_NOW = sa.bindparam("now", type_=UtcDateTime)
_OPEN = sa.and_(
    _snapshots.suspended.is_(False),
    sa.or_(_snapshots.expires_at.is_(None), _snapshots.expires_at > _NOW),
)
_COUNT: Final = sa.select(sa.func.count()).select_from(agent_shares).where(_OWNER)
_LIST: Final = (
    sa.select(
        _shares.share_id,
        _shares.session_id,
        _snapshots.title,
        _snapshots.with_files,
        _snapshots.message_count,
        _snapshots.created_at,
        _snapshots.expires_at,
    )
    .join_from(agent_shares, agent_share_snapshots, _snapshots.reader_id == _shares.reader_id)
    .where(_OWNER, _OPEN)
    .order_by(_snapshots.created_at.desc(), _shares.share_id)
    .limit(MAX_SHARES)
)
_LIST_OF_CONVERSATION: Final = _LIST.where(
    _shares.session_id == sa.bindparam("conversation_id_", type_=sa.Text)
)
_REVOKE: Final = sa.delete(agent_shares).where(
    _OWNER, _shares.share_id == sa.bindparam("share_id_", type_=sa.Text)
)
_FORGET: Final = sa.delete(agent_shares).where(_OWNER)
_SUSPEND: Final = (
    sa.update(agent_share_snapshots)
    .where(
        _snapshots.reader_id.in_(
            sa.select(_shares.reader_id).where(
                _OWNER, _shares.session_id == sa.bindparam("conversation_id_", type_=sa.Text)
            )
        )
    )
    .values(suspended=sa.bindparam("is_suspended", type_=sa.Boolean))
)
_SNAPSHOT: Final = sa.select(
    _snapshots.agent_id,
    _snapshots.title,
    _snapshots.message_count,
    _snapshots.files_left_out,
    _snapshots.created_at,
    _snapshots.expires_at,
).where(_snapshots.reader_id == sa.bindparam("reader_id_", type_=sa.Text), _OPEN)
_MESSAGES: Final = (
    sa.select(
        _messages.seq,
        _messages.role,
        _messages.content,
        _messages.status,
        _messages.model_used,
        _messages.finish_reason,
        _messages.sources,
        _messages.created_at,
    )
    .where(
        _messages.reader_id == sa.bindparam("reader_id_", type_=sa.Text),
        _messages.seq >= sa.bindparam("from_seq", type_=sa.Integer),
    )
    .order_by(_messages.seq)
    .limit(sa.bindparam("rows"))
)


def create(
    connection: sa.Connection,
    owner: str,
    new: NewShare,
    bound_of: files.FileBound | None,
    now: datetime,
) -> Share:
    """Store a snapshot of a conversation as it is shown now, and its link.

    `bound_of` says whether its files would exceed a quota; without it there is none.

    Raises:
        ConversationNotFoundError: The owner has no such conversation.
        ConversationBusyError: An answer is being written in it.
        ConversationMovedError: It has a file of which no copy was made.
        TooManySharesError, ShareTooLargeError, QuotaExceededError: A bound is exceeded.
    """
    tree.require_idle(connection, owner, new.conversation_id, now, lock=True)
    conversation = reading.conversation(connection, owner, new.conversation_id)
    _check_count(connection, owner)
    shown = list(_shown(connection, owner, new.conversation_id))
    seqs = {message.seq: seq for seq, message in enumerate(shown, start=1)}
    attached = _attached(connection, owner, new.conversation_id, seqs)
    share = Share(
        new.share_id,
        new.conversation_id,
        conversation.title,
        new.file_copies is not None,
        len(shown),
        now,
        new.expires_at,
    )
    _add(connection, owner, new, share, conversation.agent_id, len(attached))
    rows = [_row(new.reader_id, seqs[message.seq], message) for message in shown]
    connection.execute(sa.insert(agent_share_messages), rows)
    if new.file_copies is not None:
        if any(file.file_id not in new.file_copies for file in attached):
            raise ConversationMovedError
        if attached and bound_of is not None:
            size = sum(file.kept_bytes for file in attached)
            files.require_room(connection, owner, size, None, bound_of)
        share_files.add(connection, new.reader_id, attached, new.file_copies, seqs)
    return share


def shares(
    connection: sa.Connection, owner: str, conversation_id: str | None, now: datetime
) -> list[Share]:
    """Return an owner's open shares, or those of one conversation, newest first."""
    parameters: dict[str, Any] = {"owner_id_": owner, "now": now}
    if conversation_id is None:
        return [Share(*row) for row in connection.execute(_LIST, parameters)]
    parameters["conversation_id_"] = conversation_id
    return [Share(*row) for row in connection.execute(_LIST_OF_CONVERSATION, parameters)]


def revoke(connection: sa.Connection, owner: str, share_id: str) -> list[str]:
    """Delete a share with its snapshot; return the ids of its copies of bytes.

    Raises:
        ShareNotFoundError: The owner has no such share.
    """
    copies = share_files.ids(connection, owner, share_id)
    parameters = {"owner_id_": owner, "share_id_": share_id}
    if connection.execute(_REVOKE, parameters).rowcount == 0:
        raise ShareNotFoundError
    return copies


def forget(connection: sa.Connection, owner: str) -> list[str]:
    """Delete all shares of an owner; return the ids of their copies of bytes."""
    copies = share_files.ids(connection, owner)
    connection.execute(_FORGET, {"owner_id_": owner})
    return copies


def suspend(
    connection: sa.Connection, owner: str, conversation_id: str, *, is_suspended: bool
) -> None:
    """Close the shares of a deleted conversation, or open those of a restored one again."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    connection.execute(_SUSPEND, own | {"is_suspended": is_suspended})


def snapshot(connection: sa.Connection, reader: str, now: datetime) -> Snapshot:
    """Return what a link shows, without the messages. Raises ShareNotFoundError."""
    row = connection.execute(_SNAPSHOT, {"reader_id_": reader, "now": now}).one_or_none()
    if row is None:
        raise ShareNotFoundError
    return Snapshot(*row)


def messages(
    connection: sa.Connection, reader: str, from_seq: int, limit: int
) -> list[SharedMessage]:
    """Return messages of a snapshot from `from_seq` on; `snapshot` says whether it is open."""
    parameters = {"reader_id_": reader, "from_seq": from_seq, "rows": limit}
    return [_message(row) for row in connection.execute(_MESSAGES, parameters)]


def purge(connection: sa.Connection, now: datetime) -> int:
    """Delete the shares of all owners that have expired; return how many."""
    expired = sa.select(_snapshots.reader_id).where(_snapshots.expires_at <= now)
    statement = sa.delete(agent_shares).where(_shares.reader_id.in_(expired))
    return connection.execute(statement).rowcount


def _check_count(connection: sa.Connection, owner: str) -> None:
    if connection.dialect.name == "postgresql":
        # Two shares at once would each see the room that only one of them may take.
        key = sa.func.hashtextextended(f"cmw.shares\n{owner}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    if connection.execute(_COUNT, {"owner_id_": owner}).scalar_one() >= MAX_SHARES:
        raise TooManySharesError


def _shown(connection: sa.Connection, owner: str, conversation_id: str) -> Iterator[StoredMessage]:
    """Yield the shown messages of a conversation, oldest first. Raises ShareTooLargeError."""
    after, count, chars = 0, 0, 0
    while page := reading.messages_after(
        connection, owner, conversation_id, PAGE, after, all_versions=False
    ):
        after, count = page[-1].seq, count + len(page)
        chars += sum(len(message.content) for message in page)
        if count > MAX_MESSAGES or chars > MAX_CHARS:
            raise ShareTooLargeError
        yield from page


def _attached(
    connection: sa.Connection, owner: str, conversation_id: str, seqs: Mapping[int, int]
) -> list[StoredFile]:
    """Return the files of the shown messages. Raises ShareTooLargeError."""
    stored = files.of_conversation(connection, owner, conversation_id, None)
    attached = [file for file in stored if file.seq in seqs]
    if len(attached) > share_files.MAX_SHARED_FILES:
        raise ShareTooLargeError
    return attached


def _add(
    connection: sa.Connection,
    owner: str,
    new: NewShare,
    share: Share,
    agent_id: str,
    file_count: int,
) -> None:
    row = {"share_id": new.share_id, "reader_id": new.reader_id, "owner_id": owner}
    connection.execute(sa.insert(agent_shares), row | {"session_id": new.conversation_id})
    connection.execute(
        sa.insert(agent_share_snapshots),
        {
            "reader_id": new.reader_id,
            "agent_id": agent_id,
            "title": share.title,
            "with_files": share.with_files,
            "files_left_out": 0 if share.with_files else file_count,
            "message_count": share.message_count,
            "suspended": False,
            "created_at": share.created_at,
            "expires_at": share.expires_at,
        },
    )


def _row(reader: str, seq: int, message: StoredMessage) -> dict[str, Any]:
    sources = [asdict(source) for source in message.details.sources]
    return {
        "reader_id": reader,
        "seq": seq,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "model_used": message.model_used,
        "finish_reason": message.finish_reason,
        "sources": sources or None,
        "created_at": message.created_at,
    }


def _message(row: Sequence[Any]) -> SharedMessage:
    seq, role, content, status, model_used, finish_reason, sources, created_at = row
    cited = tuple(SourceRecord(**source) for source in sources or ())
    return SharedMessage(seq, role, content, status, model_used, finish_reason, cited, created_at)


def files_of(
    connection: sa.Connection, reader: str, page: Sequence[SharedMessage]
) -> list[SharedFile]:
    """Return the files of a page of messages, without their texts."""
    if not page:
        return []
    return share_files.of_messages(connection, reader, page[0].seq, page[-1].seq)

"""Copies a snapshot into a new conversation of somebody who continues it.

Functions of one connection, whose transaction reaches the rows of the link's principal and of the
new owner.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from memory.conversations import files, imports, share_files, shares
from memory.conversations.imports import MessageToImport
from memory.records import AnswerDetails, PictureRecord
from memory.schema import agent_sessions
from memory.share_records import SharedCopy, SharedFile, SharedMessage, Snapshot

_DROP: Final = sa.delete(agent_sessions).where(
    agent_sessions.c.session_id == sa.bindparam("conversation_id_", type_=sa.Text),
    agent_sessions.c.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
)


def copy(
    connection: sa.Connection, owner: str, reader: str, new: SharedCopy, now: datetime
) -> None:
    """Make a conversation of `owner` out of the snapshot of the link's principal `reader`.

    Raises:
        ShareNotFoundError: The snapshot is not there, or its link has ended.
        UnknownFileError: One of the files is not the owner's, or is attached already.
    """
    snapshot = shares.snapshot(connection, reader, now)
    shared = [
        file for file in share_files.list_all(connection, reader) if file.number in new.file_ids
    ]
    _add_conversation(connection, owner, new, snapshot, now)
    copied = 0
    while page := shares.messages(connection, reader, copied + 1, shares.PAGE):
        messages = [_message(new, message, shared) for message in page]
        imports.add_messages(connection, owner, new.conversation_id, copied, messages)
        copied += len(page)
    for seq, ids in _by_message(shared, new.file_ids).items():
        files.attach(connection, owner, ids, conversation_id=new.conversation_id, seq=seq)


def drop(connection: sa.Connection, owner: str, new: SharedCopy) -> None:
    """Delete a copy whose caller was cancelled before it was returned."""
    parameters = {"owner_id_": owner, "conversation_id_": new.conversation_id}
    connection.execute(_DROP, parameters)


def _add_conversation(
    connection: sa.Connection, owner: str, new: SharedCopy, snapshot: Snapshot, now: datetime
) -> None:
    connection.execute(
        sa.insert(agent_sessions),
        {
            "session_id": new.conversation_id,
            "owner_id": owner,
            "agent_id": new.agent_id,
            "title": snapshot.title,
            "channel": "web",
            "message_count": snapshot.message_count,
            "last_seq": snapshot.message_count,
            "status": "active",
            "started_at": now,
            "last_activity_at": now,
            "has_files": bool(new.file_ids),
        },
    )


def _message(
    new: SharedCopy, message: SharedMessage, shared: Sequence[SharedFile]
) -> MessageToImport:
    pictures = tuple(
        PictureRecord(new.file_ids[item.number], item.file.name)
        for item in shared
        if item.file.seq == message.seq and message.role == "assistant"
    )
    return MessageToImport(
        message.role,
        message.content,
        message.created_at,
        status=message.status,
        model_used=message.model_used,
        finish_reason=message.finish_reason,
        details=AnswerDetails(sources=message.sources, pictures=pictures),
    )


def _by_message(shared: Sequence[SharedFile], file_ids: Mapping[int, str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for item in shared:
        found.setdefault(item.file.seq or 0, []).append(file_ids[item.number])
    return found

"""Records of uploaded files; their bytes are stored elsewhere.

Functions of one connection; each statement names the owner, except for those of maintenance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.conversations import share_files
from memory.errors import QuotaExceededError, UnknownFileError
from memory.records import StoredFile
from memory.schema import (
    UNATTACHED,
    agent_files,
    agent_messages,
    agent_sessions,
    columns_of,
    row_of,
)

MAX_FILES = 10  # of one message
_UPLOADS_LOCK = 0x636D77  # of PostgreSQL, any number of this program's own
MAX_FILES_OF_CONVERSATION = 200  # handed out at once, the newest

_files, _sessions, _messages = agent_files.c, agent_sessions.c, agent_messages.c
_OWNED = _files.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_ONE = sa.and_(_files.file_id == sa.bindparam("file_id_", type_=sa.Text), _OWNED)
_SHOWN = sa.exists().where(
    _sessions.session_id == _files.session_id,
    _sessions.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
    _sessions.deleted_at.is_(None),
)
_COLUMNS = tuple(columns_of(agent_files, StoredFile))

_ALL_USED: Final = sa.select(sa.func.coalesce(sa.func.sum(_files.kept_bytes), 0))
_USED: Final = _ALL_USED.where(_OWNED)
_NETWORK_USED: Final = _ALL_USED.where(_files.network == sa.bindparam("network_", type_=sa.Text))
_FILE: Final = sa.select(*_COLUMNS).where(_ONE, sa.or_(UNATTACHED, _SHOWN))
# An edited message has the files of the version before it.
_OF_THE_MESSAGE: Final = sa.and_(
    _messages.session_id == _files.session_id,
    sa.func.coalesce(_messages.files_seq, _messages.seq) == _files.seq,
)
_OF_ALL_MESSAGES: Final = (
    sa.select(*(_messages.seq if column.name == "seq" else column for column in _COLUMNS))
    .join_from(agent_messages, agent_files, _OF_THE_MESSAGE)
    .where(
        _messages.session_id == sa.bindparam("conversation_id_", type_=sa.Text),
        _messages.owner_id == sa.bindparam("owner_id_", type_=sa.Text),
        _OWNED,
        _SHOWN,
    )
    .order_by(_messages.seq.desc(), _files.created_at.desc(), _files.file_id)
    .limit(MAX_FILES_OF_CONVERSATION)
)
_OF_MESSAGES: Final = _OF_ALL_MESSAGES.where(
    _messages.seq.in_(sa.bindparam("seqs", expanding=True, type_=sa.Integer))
)
_OF_OWNER: Final = (
    sa.select(*_COLUMNS)
    .where(
        _OWNED,
        sa.or_(UNATTACHED, _SHOWN),
        _files.file_id > sa.bindparam("after_id", type_=sa.Text),
    )
    .order_by(_files.file_id)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
_OF_PATH: Final = _OF_ALL_MESSAGES.where(_messages.superseded.is_(False))
_IDS_OF_PATH: Final = _OF_PATH.with_only_columns(_messages.seq, _files.file_id)
_IDS_OF_PATH_THROUGH: Final = _IDS_OF_PATH.where(
    _messages.seq <= sa.bindparam("through_seq", type_=sa.Integer)
)
_NAMES: Final = (
    sa.select(_files.name)
    .where(
        _OWNED, UNATTACHED, _files.file_id.in_(sa.bindparam("ids", expanding=True, type_=sa.Text))
    )
    .order_by(_files.created_at, _files.file_id)
)
_REMOVE: Final = sa.delete(agent_files).where(_ONE, UNATTACHED)
_FORGET: Final = sa.delete(agent_files).where(_OWNED).returning(_files.file_id)
_ATTACH: Final = (
    sa.update(agent_files)
    .where(
        _OWNED, UNATTACHED, _files.file_id.in_(sa.bindparam("ids", expanding=True, type_=sa.Text))
    )
    .values(
        session_id=sa.bindparam("to_conversation_id", type_=sa.Text),
        seq=sa.bindparam("to_seq", type_=sa.Integer),
    )
)
_TAKE_OVER: Final = (
    sa.update(agent_files)
    .where(_OWNED, UNATTACHED)
    .values(owner_id=sa.bindparam("new_owner", type_=sa.Text))
)


@dataclass(frozen=True, slots=True)
class UsedBytes:
    """Bytes of files: of the owner, of their network where it has a quota, and of all.

    The copies in snapshots count for those who shared them.
    """

    owner: int
    network: int | None
    total: int


# returns the name of the quota that so many more bytes would exceed; None where there is none
FileBound = Callable[[UsedBytes, int], str | None]


def add(
    connection: sa.Connection, owner: str, new: StoredFile, network: str | None, bound_of: FileBound
) -> None:
    """Keep a file that belongs to no message yet. Raises QuotaExceededError."""
    require_room(connection, owner, new.kept_bytes, network, bound_of)
    row = {**row_of(new), "owner_id": owner, "network": network}
    connection.execute(sa.insert(agent_files), row)


def require_room(
    connection: sa.Connection, owner: str, size: int, network: str | None, bound_of: FileBound
) -> None:
    """Check that so many more bytes exceed no quota, until the transaction ends.

    Raises:
        QuotaExceededError: They exceed one.
    """
    if connection.dialect.name == "postgresql":
        # Two uploads at once would each see the room that only one of them may take.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPLOADS_LOCK)))
    used = used_bytes(connection, owner, network)
    if (bound := bound_of(used, size)) is not None:
        raise QuotaExceededError(used.owner, bound)


def used_bytes(connection: sa.Connection, owner: str, network: str | None) -> UsedBytes:
    """Return how many bytes the files of an owner, of a network and of all take."""
    own = int(connection.execute(_USED, {"owner_id_": owner}).scalar_one())
    of_network = None
    if network is not None:
        of_network = int(connection.execute(_NETWORK_USED, {"network_": network}).scalar_one())
    shared, all_shared = share_files.used_bytes(connection, owner)
    total = int(connection.execute(_ALL_USED).scalar_one())
    return UsedBytes(own + shared, of_network, total + all_shared)


def file(connection: sa.Connection, owner: str, file_id: str) -> StoredFile:
    """Return a file. Raises UnknownFileError, also where its conversation was deleted."""
    row = connection.execute(_FILE, {"owner_id_": owner, "file_id_": file_id}).one_or_none()
    if row is None:
        raise UnknownFileError
    return StoredFile(*row)


def of_conversation(
    connection: sa.Connection, owner: str, conversation_id: str, seqs: Sequence[int] | None
) -> list[StoredFile]:
    """Return the files of these messages, or of the shown path, in the order of their messages.

    The `seq` of each is that of the message on the path or in `seqs`, also where the message is an
    edited one, which has the files of the version before it.
    """
    own: dict[str, Any] = {"owner_id_": owner, "conversation_id_": conversation_id}
    if seqs is None:
        rows = connection.execute(_OF_PATH, own)
    else:
        rows = connection.execute(_OF_MESSAGES, own | {"seqs": list(seqs)})
    return [StoredFile(*row) for row in rows][::-1]


def of_owner(connection: sa.Connection, owner: str, limit: int, after_id: str) -> list[StoredFile]:
    """Return the files of an owner behind `after_id`, by their ids; deleted conversations' are out."""
    parameters = {"owner_id_": owner, "after_id": after_id, "rows": limit}
    return [StoredFile(*row) for row in connection.execute(_OF_OWNER, parameters)]


def of_path(
    connection: sa.Connection, owner: str, conversation_id: str, through_seq: int
) -> list[tuple[int, str]]:
    """Return seq and file id of each file of the shown path through a message."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id, "through_seq": through_seq}
    return [(row[0], row[1]) for row in connection.execute(_IDS_OF_PATH_THROUGH, own)][::-1]


def remove(connection: sa.Connection, owner: str, file_id: str) -> None:
    """Delete the record of a file that belongs to no message. Raises UnknownFileError."""
    if connection.execute(_REMOVE, {"owner_id_": owner, "file_id_": file_id}).rowcount == 0:
        raise UnknownFileError


def names(connection: sa.Connection, owner: str, ids: Sequence[str]) -> str:
    """Return the names of those of these files that are the owner's and unattached, oldest first."""
    rows = connection.execute(_NAMES, {"owner_id_": owner, "ids": list(ids)})
    return ", ".join(rows.scalars())


def attach(
    connection: sa.Connection, owner: str, ids: Sequence[str], *, conversation_id: str, seq: int
) -> None:
    """Attach an owner's unattached files to a message. Raises UnknownFileError for any other."""
    if attach_known(connection, owner, ids, conversation_id=conversation_id, seq=seq) != len(ids):
        raise UnknownFileError


def attach_known(
    connection: sa.Connection, owner: str, ids: Sequence[str], *, conversation_id: str, seq: int
) -> int:
    """Attach those of these files to a message that are the owner's and unattached; return how many."""
    parameters = {
        "owner_id_": owner,
        "ids": list(ids),
        "to_conversation_id": conversation_id,
        "to_seq": seq,
    }
    return connection.execute(_ATTACH, parameters).rowcount


def forget(connection: sa.Connection, owner: str) -> list[str]:
    """Delete the records of all files of an owner; return their ids."""
    return list(connection.execute(_FORGET, {"owner_id_": owner}).scalars())


def take_over(connection: sa.Connection, owner: str, from_owner: str) -> int:
    """Transfer the unattached files of `from_owner` to `owner`; return how many.

    Attached files follow their conversations.
    """
    parameters = {"owner_id_": from_owner, "new_owner": owner}
    return connection.execute(_TAKE_OVER, parameters).rowcount


def purge(connection: sa.Connection, before: datetime) -> int:
    """Delete files of all owners that were uploaded before then and never sent; return how many."""
    statement = sa.delete(agent_files).where(UNATTACHED, _files.created_at < before)
    return connection.execute(statement).rowcount


def existing(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are those of stored files or of snapshots' copies, whoever owns them."""
    statement = sa.select(_files.file_id).where(_files.file_id.in_(list(ids)))
    return set(connection.execute(statement).scalars()) | share_files.existing(connection, ids)

"""Records of the files of snapshots; their bytes are copies, stored elsewhere.

Functions of one connection; each statement names the owner or the link's principal, except for
those of maintenance.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from memory.errors import ShareNotFoundError
from memory.records import StoredFile
from memory.schema import agent_share_files, agent_shares
from memory.share_records import SharedFile

MAX_SHARED_FILES = 100  # of one snapshot

_files, _shares = agent_share_files.c, agent_shares.c
_READER = _files.reader_id == sa.bindparam("reader_id_", type_=sa.Text)
_ALL_USED: Final = sa.select(sa.func.coalesce(sa.func.sum(_files.kept_bytes), 0))
_OF_OWNER: Final = sa.select(_shares.reader_id).where(
    _shares.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
)
_USED: Final = _ALL_USED.where(_files.reader_id.in_(_OF_OWNER))
_IDS: Final = sa.select(_files.file_id).where(_files.reader_id.in_(_OF_OWNER))
_IDS_OF_SHARE: Final = sa.select(_files.file_id).where(
    _files.reader_id.in_(
        _OF_OWNER.where(_shares.share_id == sa.bindparam("share_id_", type_=sa.Text))
    )
)
_DESCRIPTION: Final = (
    _files.number,
    _files.seq,
    _files.file_id,
    _files.name,
    _files.media_type,
    _files.kind,
    _files.size_bytes,
    _files.kept_bytes,
    _files.created_at,
    _files.notes,
)
_OF_MESSAGES: Final = (
    sa.select(*_DESCRIPTION)
    .where(_READER, _files.seq.between(sa.bindparam("first_seq"), sa.bindparam("last_seq")))
    .order_by(_files.number)
)
_ONE: Final = sa.select(*_DESCRIPTION).where(_READER, _files.number == sa.bindparam("number_"))
_WHOLE: Final = sa.select(*_DESCRIPTION, _files.text).where(_READER).order_by(_files.number)


def add(
    connection: sa.Connection,
    reader: str,
    files: Sequence[StoredFile],
    copies: Mapping[str, str],
    seqs: Mapping[int, int],
) -> None:
    """Store the records of a new snapshot's files.

    Args:
        connection: The transaction.
        reader: Id of the link's principal.
        files: The conversation's files.
        copies: Ids of the copies of their bytes, by their ids.
        seqs: Seqs of the snapshot's messages, by the conversation's.
    """
    rows = [
        {
            "reader_id": reader,
            "number": number,
            "seq": seqs[file.seq or 0],
            "file_id": copies[file.file_id],
            "name": file.name,
            "media_type": file.media_type,
            "kind": file.kind,
            "size_bytes": file.size_bytes,
            "kept_bytes": file.kept_bytes,
            "text": file.text,
            "created_at": file.created_at,
            "notes": file.notes,
        }
        for number, file in enumerate(files, start=1)
    ]
    if rows:
        connection.execute(sa.insert(agent_share_files), rows)


def of_messages(
    connection: sa.Connection, reader: str, first_seq: int, last_seq: int
) -> list[SharedFile]:
    """Return the files of some messages of a snapshot, without their texts."""
    parameters = {"reader_id_": reader, "first_seq": first_seq, "last_seq": last_seq}
    return [_file(row) for row in connection.execute(_OF_MESSAGES, parameters)]


def find(connection: sa.Connection, reader: str, number: int) -> SharedFile:
    """Return a file of a snapshot, without its text. Raises ShareNotFoundError."""
    row = connection.execute(_ONE, {"reader_id_": reader, "number_": number}).one_or_none()
    if row is None:
        raise ShareNotFoundError
    return _file(row)


def list_all(connection: sa.Connection, reader: str) -> list[SharedFile]:
    """Return all files of a snapshot, with their texts."""
    return [_file(row, row.text) for row in connection.execute(_WHOLE, {"reader_id_": reader})]


def used_bytes(connection: sa.Connection, owner: str) -> tuple[int, int]:
    """Return how many bytes the files of an owner's snapshots take, and those of all snapshots."""
    own = int(connection.execute(_USED, {"owner_id_": owner}).scalar_one())
    return own, int(connection.execute(_ALL_USED).scalar_one())


def ids(connection: sa.Connection, owner: str, share_id: str | None = None) -> list[str]:
    """Return the ids of the copied bytes of an owner's shares, or of one of them."""
    if share_id is None:
        return list(connection.execute(_IDS, {"owner_id_": owner}).scalars())
    parameters = {"owner_id_": owner, "share_id_": share_id}
    return list(connection.execute(_IDS_OF_SHARE, parameters).scalars())


def existing(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are those of files of snapshots, whoever shared them."""
    statement = sa.select(_files.file_id).where(_files.file_id.in_(list(ids)))
    return set(connection.execute(statement).scalars())


def _file(row: Any, text: str | None = None) -> SharedFile:
    number, seq, file_id, name, media_type, kind, size, kept_bytes, created_at, notes = row[:10]
    file = StoredFile(
        file_id, None, seq, name, media_type, kind, size, kept_bytes, text, created_at, notes
    )
    return SharedFile(number, file)

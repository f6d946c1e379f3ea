"""Keeps one owner's conversations in order: titles of a model, pins, folders, archive.

Functions of one connection; each statement names the owner.
"""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from memory.errors import ConversationNotFoundError
from memory.records import Arrangement, Conversation, Section
from memory.schema import ARCHIVED, ARRANGED, UtcDateTime, agent_sessions, columns_of

_sessions = agent_sessions.c
_OWN = sa.and_(
    _sessions.session_id == sa.bindparam("conversation_id_"),
    _sessions.owner_id == sa.bindparam("owner_id_"),
    _sessions.deleted_at.is_(None),
)
# `started_at` tells it from a conversation of the same id that was deleted.
_STORE_TITLE: Final = (
    sa.update(agent_sessions)
    .where(
        _OWN,
        _sessions.title_origin == "message",
        _sessions.started_at == sa.bindparam("conversation_created_at", type_=UtcDateTime),
    )
    .values(title=sa.bindparam("new_title"), title_origin="model")
)
_NEW_FOLDER = sa.bindparam("new_folder", type_=sa.Text)
_ARRANGE: Final = (
    sa.update(agent_sessions)
    .where(_OWN)
    .values(
        is_pinned=sa.func.coalesce(
            sa.bindparam("new_pinned", type_=sa.Boolean), _sessions.is_pinned
        ),
        is_archived=sa.func.coalesce(
            sa.bindparam("new_archived", type_=sa.Boolean), _sessions.is_archived
        ),
        folder=sa.func.nullif(sa.func.coalesce(_NEW_FOLDER, _sessions.folder), ""),
    )
)
_LISTED: Final = (
    sa.select(*columns_of(agent_sessions, Conversation))
    .where(_sessions.owner_id == sa.bindparam("owner_id_"), _sessions.deleted_at.is_(None))
    .order_by(_sessions.last_activity_at.desc(), _sessions.session_id.desc())
    .limit(sa.bindparam("rows"))
)
_BEFORE: Final = sa.tuple_(_sessions.last_activity_at, _sessions.session_id) < sa.tuple_(
    sa.bindparam("before_at", type_=UtcDateTime), sa.bindparam("before_id", type_=sa.Text)
)
_RECENT: Final = _LISTED.where(~ARCHIVED, ~_sessions.is_pinned, _sessions.folder.is_(None))
_ARRANGED: Final = _LISTED.where(~ARCHIVED, ARRANGED)
_ARCHIVED: Final = _LISTED.where(ARCHIVED)
_OLDER_RECENT: Final = _RECENT.where(_BEFORE)
_OLDER_ARRANGED: Final = _ARRANGED.where(_BEFORE)
_OLDER_ARCHIVED: Final = _ARCHIVED.where(_BEFORE)


def store_title(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    title: str,
    conversation_created_at: datetime,
) -> bool:
    """Replace a title that is still the first message; return whether it was."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    new = {"new_title": title, "conversation_created_at": conversation_created_at}
    return connection.execute(_STORE_TITLE, own | new).rowcount > 0


def arrange(
    connection: sa.Connection, owner: str, conversation_id: str, change: Arrangement
) -> None:
    """Change where a conversation stands in the list. Raises ConversationNotFoundError."""
    own = {"owner_id_": owner, "conversation_id_": conversation_id}
    new = {
        "new_pinned": change.is_pinned,
        "new_archived": change.is_archived,
        "new_folder": change.folder,
    }
    if connection.execute(_ARRANGE, own | new).rowcount == 0:
        raise ConversationNotFoundError


def listed(
    connection: sa.Connection,
    owner: str,
    section: Section,
    limit: int,
    before: tuple[datetime, str] | None,
) -> list[Conversation]:
    """Return a section of the owner's conversations, newest activity first."""
    parameters: dict[str, Any] = {"owner_id_": owner, "rows": limit}
    newest, older = _statements(section)
    if before is None:
        rows = connection.execute(newest, parameters)
    else:
        parameters |= {"before_at": before[0], "before_id": before[1]}
        rows = connection.execute(older, parameters)
    return [Conversation(*row) for row in rows]


def _statements(section: Section) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the statements of a section: of its first page, and of a further one."""
    match section:
        case "recent":
            return _RECENT, _OLDER_RECENT
        case "arranged":
            return _ARRANGED, _OLDER_ARRANGED
        case "archived":
            return _ARCHIVED, _OLDER_ARCHIVED

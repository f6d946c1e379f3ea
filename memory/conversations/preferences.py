"""What one owner has chosen for themselves. Functions of one connection, each with the owner."""

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from memory.records import ConsentKind
from memory.schema import agent_consents, agent_preferences

_OWNER = agent_preferences.c.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_LANGUAGE: Final = sa.select(agent_preferences.c.language).where(_OWNER)
_FORGET: Final = sa.delete(agent_preferences).where(_OWNER)
_GIVER = agent_consents.c.owner_id == sa.bindparam("owner_id_", type_=sa.Text)
_CONSENTS: Final = sa.select(agent_consents.c.kind).where(_GIVER)
_WITHDRAW: Final = sa.delete(agent_consents).where(
    _GIVER, agent_consents.c.kind == sa.bindparam("kind_", type_=sa.Text)
)
_WITHDRAW_ALL: Final = sa.delete(agent_consents).where(_GIVER)


def language(connection: sa.Connection, owner: str) -> str | None:
    """Return the tag of the language that an owner has chosen, if they have."""
    tag: str | None = connection.execute(_LANGUAGE, {"owner_id_": owner}).scalar_one_or_none()
    return tag


def set_language(connection: sa.Connection, owner: str, tag: str) -> None:
    """Store the language that an owner has chosen."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(agent_preferences).values(owner_id=owner, language=tag)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["owner_id"], set_={"language": tag})
    )


def consents(connection: sa.Connection, owner: str) -> frozenset[ConsentKind]:
    """Return what an owner lets the operator do."""
    return frozenset(connection.execute(_CONSENTS, {"owner_id_": owner}).scalars())


def set_consent(
    connection: sa.Connection, owner: str, kind: ConsentKind, is_given: bool, at: datetime
) -> None:
    """Store that an owner gives a consent, or takes it back."""
    if not is_given:
        connection.execute(_WITHDRAW, {"owner_id_": owner, "kind_": kind})
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    given = dialect.insert(agent_consents).values(owner_id=owner, kind=kind, given_at=at)
    connection.execute(given.on_conflict_do_nothing(index_elements=["owner_id", "kind"]))


def forget(connection: sa.Connection, owner: str) -> None:
    """Delete what an owner has chosen."""
    connection.execute(_FORGET, {"owner_id_": owner})
    connection.execute(_WITHDRAW_ALL, {"owner_id_": owner})

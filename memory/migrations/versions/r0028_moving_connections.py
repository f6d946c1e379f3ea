"""Connections that move to an account: their user at Composio, and which of them is used."""

from hashlib import sha256

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLE = "agent_connections"

_OWNERS = sa.text("SELECT DISTINCT owner_id FROM agent_connections")
_USER = sa.text("UPDATE agent_connections SET user_id = :user WHERE owner_id = :owner")


def upgrade(operations: Operations) -> None:
    """Add the columns. Until now a connection's user was derived from its owner."""
    user = sa.Column("user_id", sa.Text, nullable=False, server_default=sa.text("''"))
    operations.add_column(TABLE, user)
    operations.add_column(TABLE, sa.Column("chosen_at", sa.DateTime(timezone=True)))
    bind = operations.get_bind()
    for owner in bind.execute(_OWNERS).scalars().all():
        bind.execute(_USER, {"user": _user_of(owner), "owner": owner})
    operations.execute(
        "UPDATE agent_connections SET chosen_at = created_at WHERE state = 'connected'"
    )
    if bind.dialect.name == "postgresql":
        # A replica of the version before, which names no user, stores no connection.
        operations.alter_column(TABLE, "user_id", server_default=None)


def _user_of(owner: str) -> str:
    return "cmw-" + sha256(f"cmw.composio\0{owner}".encode()).hexdigest()[:48]

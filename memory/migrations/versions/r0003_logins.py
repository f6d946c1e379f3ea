"""Logins of accounts, each live until it is ended."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the table; nothing else changes."""
    operations.create_table(
        "agent_logins",
        sa.Column("login_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("login_id"),
    )

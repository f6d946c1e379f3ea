"""Connections of accounts: which of them their owner has finished, and what is on its way."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Make the table. Accounts that were connected before have no row, and are refused."""
    operations.create_table(
        "agent_connections",
        sa.Column("connection_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("toolkit", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text),
        sa.Column("browser", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("connection_id"),
        sa.CheckConstraint(
            "state IN ('offered', 'begun', 'returned', 'connected')", name="state_known"
        ),
    )
    operations.create_index(
        "agent_connections_by_owner", "agent_connections", ["owner_id", "toolkit"]
    )
    operations.create_index("agent_connections_expiring", "agent_connections", ["expires_at"])

"""Through whom a conversation's owner came, and the id under which it is known there."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; what there is came through nobody."""
    operations.add_column("agent_sessions", sa.Column("tenant_id", sa.Text))
    operations.add_column("agent_sessions", sa.Column("external_id", sa.Text))
    condition = sa.text("tenant_id IS NOT NULL")
    operations.create_index(
        "agent_sessions_by_tenant",
        "agent_sessions",
        ["tenant_id", "agent_id", "last_activity_at"],
        sqlite_where=condition,
        postgresql_where=condition,
    )

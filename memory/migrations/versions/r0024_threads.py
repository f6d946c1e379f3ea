"""Threads that agents keep of conversations in memories of their own."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TABLE = "agent_threads"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the table and, on PostgreSQL, its policy."""
    operations.create_table(
        TABLE,
        sa.Column("thread_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("thread_id"),
    )
    operations.create_index("agent_threads_by_owner", TABLE, ["owner_id"])
    if operations.get_bind().dialect.name == "postgresql":
        operations.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        operations.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        operations.execute(f"CREATE POLICY of_owner ON {TABLE} USING ({_OWN})")

"""Owners' MCP servers: the sealed secrets of a sign-in, and servers of their own."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

TABLE = "agent_mcp_servers"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the table and, on PostgreSQL, its policy."""
    operations.create_table(
        TABLE,
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("sealed", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "server"),
    )
    operations.create_index("agent_mcp_servers_unused", TABLE, ["updated_at"])
    if operations.get_bind().dialect.name == "postgresql":
        operations.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        operations.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        operations.execute(f"CREATE POLICY of_owner ON {TABLE} USING ({_OWN})")

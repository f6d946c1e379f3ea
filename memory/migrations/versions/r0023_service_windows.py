"""Service windows of recipients, sends that wait for one, and the language that an owner chose."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

WINDOWS, PREFERENCES = "channel_windows", "agent_preferences"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the tables, their policies on PostgreSQL, and the column of sends that wait."""
    time = sa.DateTime(timezone=True)
    operations.create_table(
        WINDOWS,
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("closes_at", time, nullable=False),
        sa.Column("called_at", time),
        sa.PrimaryKeyConstraint("channel", "recipient"),
    )
    operations.create_index("channel_windows_by_owner", WINDOWS, ["owner_id"])
    operations.add_column("channel_sends", sa.Column("held_at", time))
    operations.create_index("channel_sends_by_lease", "channel_sends", ["channel", "lease_until"])
    operations.create_table(
        PREFERENCES,
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("owner_id"),
    )
    if operations.get_bind().dialect.name == "postgresql":
        for table in (WINDOWS, PREFERENCES):
            operations.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            operations.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            operations.execute(f"CREATE POLICY of_owner ON {table} USING ({_OWN})")

"""What owners let the operator do with what they write; an index of ratings by time."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TABLE = "agent_consents"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the table, its policy on PostgreSQL, and the index."""
    operations.create_table(
        TABLE,
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "kind"),
        sa.CheckConstraint("kind IN ('ratings', 'traces')", name="kind_known"),
    )
    rated = sa.text("rated_at IS NOT NULL")
    operations.create_index(
        "agent_messages_rated",
        "agent_messages",
        ["rated_at", "message_id"],
        sqlite_where=rated,
        postgresql_where=rated,
    )
    if operations.get_bind().dialect.name == "postgresql":
        operations.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        operations.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        operations.execute(f"CREATE POLICY of_owner ON {TABLE} USING ({_OWN})")

"""Saved prompts: texts that their owner puts into the message box again."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TABLE = "agent_prompts"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the table and, on PostgreSQL, its policy."""
    operations.create_table(
        TABLE,
        sa.Column("prompt_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("prompt_id"),
    )
    operations.create_index("agent_prompts_by_owner", TABLE, ["owner_id"])
    if operations.get_bind().dialect.name == "postgresql":
        operations.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        operations.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        operations.execute(f"CREATE POLICY of_owner ON {TABLE} USING ({_OWN})")

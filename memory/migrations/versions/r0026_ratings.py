"""Why answers were rated as they were, in a fixed word and the user's own, and when."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; an older rating counts as given when the answer was written."""
    # With the column: SQLite adds no constraint to a table that is there.
    operations.execute(
        """ALTER TABLE agent_messages ADD COLUMN feedback_reason TEXT
        CONSTRAINT feedback_reason_known CHECK (feedback_reason IN
        ('not_right', 'not_complete', 'did_not_follow', 'unsafe', 'other'))"""
    )
    operations.add_column("agent_messages", sa.Column("feedback_comment", sa.Text))
    operations.add_column("agent_messages", sa.Column("rated_at", sa.DateTime(timezone=True)))
    operations.execute("UPDATE agent_messages SET rated_at = created_at WHERE feedback IS NOT NULL")

"""What an answer has beside its text: thoughts, finish reason, sources, pictures, further tokens."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; older answers have none of it."""
    operations.add_column("agent_messages", sa.Column("thinking", sa.Text))
    operations.add_column("agent_messages", sa.Column("finish_reason", sa.Text))
    operations.add_column("agent_messages", sa.Column("details", sa.JSON(none_as_null=True)))

"""What was cut, left out or guessed of a file that was read."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; of older files nothing is known."""
    for table in ("agent_files", "agent_share_files"):
        operations.add_column(table, sa.Column("notes", sa.Text))

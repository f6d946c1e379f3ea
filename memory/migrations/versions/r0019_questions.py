"""Tool calls that wait for their owner's decision, and decisions that come at another process."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; of the calls that wait now other processes know nothing."""
    operations.add_column("agent_turns", sa.Column("questions", sa.JSON))
    operations.add_column("agent_turns", sa.Column("decisions", sa.JSON))

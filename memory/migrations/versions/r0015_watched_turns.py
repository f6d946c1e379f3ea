"""Signals to the process that runs a turn: its answer is being read elsewhere; it is to stop."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; nobody watches the turns that run."""
    operations.add_column("agent_turns", sa.Column("watched_until", sa.DateTime(timezone=True)))
    operations.add_column("agent_turns", sa.Column("stop_requested_at", sa.DateTime(timezone=True)))

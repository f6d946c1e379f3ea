"""Recurring tasks, each of one owner."""

from alembic.operations import Operations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Make the tables."""

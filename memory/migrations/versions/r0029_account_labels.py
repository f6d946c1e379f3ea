"""Several accounts of a toolkit: what the provider calls each."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the column; older connections are told apart by their number."""
    operations.add_column("agent_connections", sa.Column("label", sa.Text))

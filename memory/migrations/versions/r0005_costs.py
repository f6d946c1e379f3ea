"""What an answer cost: tokens in each direction, and money."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; what was answered before stays without figures."""
    operations.add_column("agent_messages", sa.Column("input_tokens", sa.Integer))
    operations.add_column("agent_messages", sa.Column("output_tokens", sa.Integer))
    operations.add_column("agent_messages", sa.Column("cost_micros", sa.BigInteger))

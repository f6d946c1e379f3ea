"""What budgets count: estimated tokens, networks of files and recurring tasks, last visits."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the columns; the visitors of existing tasks count as here now."""
    operations.add_column(
        "agent_messages",
        sa.Column("tokens_estimated", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    operations.add_column("agent_files", sa.Column("network", sa.Text))
    operations.create_index("agent_files_by_network", "agent_files", ["network", "kept_bytes"])
    operations.add_column("agent_schedules", sa.Column("network", sa.Text))
    operations.add_column("agent_schedules", sa.Column("visited_at", sa.DateTime(timezone=True)))
    operations.add_column("agent_schedules", sa.Column("claimed_at", sa.DateTime(timezone=True)))
    operations.execute(
        "UPDATE agent_schedules SET visited_at = CURRENT_TIMESTAMP WHERE owner_id LIKE 'v%'"
    )
    operations.create_index("agent_schedules_by_network", "agent_schedules", ["network"])
    operations.create_index("agent_schedules_by_visit", "agent_schedules", ["visited_at"])

"""Recurring tasks, each of one owner."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OUTCOMES = "'running', 'complete', 'failed', 'interrupted', 'limited', 'postponed'"


def upgrade(operations: Operations) -> None:
    """Make the table."""
    operations.create_table(
        "agent_schedules",
        sa.Column("schedule_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True)),
        sa.Column("last_outcome", sa.Text),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("schedule_id"),
        sa.ForeignKeyConstraint(
            ["session_id", "owner_id"],
            ["agent_sessions.session_id", "agent_sessions.owner_id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
        ),
        sa.CheckConstraint(f"last_outcome IN ({OUTCOMES})", name="last_outcome_known"),
    )
    operations.create_index(
        "agent_schedules_by_owner", "agent_schedules", ["owner_id", "created_at"]
    )
    operations.create_index("agent_schedules_by_session", "agent_schedules", ["session_id"])
    operations.create_index("agent_schedules_due", "agent_schedules", ["next_run_at"])

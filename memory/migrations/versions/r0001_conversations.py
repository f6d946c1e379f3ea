"""Conversations, their messages and their turns."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Make the three tables.

    Everything is spelled out here, so that later changes of the models leave this step as it was.
    """
    _sessions(operations)
    _messages(operations)
    _turns(operations)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _of_a_conversation() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["session_id", "owner_id"],
        ["agent_sessions.session_id", "agent_sessions.owner_id"],
        ondelete="CASCADE",
    )


def _sessions(operations: Operations) -> None:
    operations.create_table(
        "agent_sessions",
        _text("session_id"),
        _text("owner_id"),
        _text("agent_id"),
        _text("title"),
        _text("website_domain", nullable=True),
        _text("ip_address", nullable=True),
        _text("channel"),
        sa.Column("context_data", sa.JSON),
        _text("summary", nullable=True),
        _number("message_count"),
        _number("last_seq"),
        _text("status"),
        _time("started_at"),
        _time("last_activity_at"),
        _time("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("session_id"),
        sa.UniqueConstraint("session_id", "owner_id"),
        sa.CheckConstraint("status IN ('active', 'inactive', 'ended')", name="status_known"),
    )
    operations.create_index(
        "agent_sessions_by_owner", "agent_sessions", ["owner_id", "last_activity_at", "session_id"]
    )


def _messages(operations: Operations) -> None:
    operations.create_table(
        "agent_messages",
        _text("session_id"),
        _number("seq"),
        _text("owner_id"),
        _text("role"),
        _text("content"),
        sa.Column("tool_calls", sa.JSON),
        _text("status"),
        _number("tokens_used", nullable=True),
        _number("latency_ms", nullable=True),
        _text("model_used", nullable=True),
        _text("audio_url", nullable=True),
        _time("created_at"),
        _text("turn_id"),
        sa.Column("superseded", sa.Boolean, nullable=False),
        _text("error_id", nullable=True),
        sa.PrimaryKeyConstraint("session_id", "seq"),
        _of_a_conversation(),
        sa.CheckConstraint("role IN ('user', 'assistant')", name="role_known"),
        sa.CheckConstraint("status IN ('complete', 'interrupted', 'failed')", name="status_known"),
    )


def _turns(operations: Operations) -> None:
    operations.create_table(
        "agent_turns",
        _text("turn_id"),
        _text("session_id"),
        _text("owner_id"),
        _text("idempotency_key"),
        _text("state"),
        _text("holder"),
        _time("lease_expires_at"),
        _number("user_seq"),
        _number("answer_seq"),
        _time("started_at"),
        _time("finished_at", nullable=True),
        _text("error_id", nullable=True),
        sa.PrimaryKeyConstraint("turn_id"),
        sa.UniqueConstraint("owner_id", "session_id", "idempotency_key"),
        _of_a_conversation(),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'interrupted', 'failed')", name="state_known"
        ),
    )
    running = sa.text("state = 'running'")
    operations.create_index(
        "agent_turns_one_running",
        "agent_turns",
        ["session_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )

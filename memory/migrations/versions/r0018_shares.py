"""Shares: links to snapshots of conversations, each snapshot in rows of its own."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

SNAPSHOTS = ("agent_share_snapshots", "agent_share_messages", "agent_share_files")

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""
# A link's principal reaches its own snapshot. Which owner reaches it besides, the policy of
# `agent_shares` decides.
_READ = """reader_id = current_setting('cmw.owner', true)
    OR reader_id IN (SELECT reader_id FROM agent_shares)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the tables and, on PostgreSQL, their policies."""
    _create_shares(operations)
    _create_snapshots(operations)
    _create_messages(operations)
    _create_files(operations)
    if operations.get_bind().dialect.name == "postgresql":
        _secure(operations, "agent_shares", _OWN)
        for table in SNAPSHOTS:
            _secure(operations, table, _READ)


def _create_shares(operations: Operations) -> None:
    operations.create_table(
        "agent_shares",
        sa.Column("share_id", sa.Text, nullable=False),
        sa.Column("reader_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("share_id"),
        sa.UniqueConstraint("reader_id"),
        sa.ForeignKeyConstraint(
            ["session_id", "owner_id"],
            ["agent_sessions.session_id", "agent_sessions.owner_id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
        ),
    )
    operations.create_index("agent_shares_by_owner", "agent_shares", ["owner_id", "session_id"])
    operations.create_index("agent_shares_by_session", "agent_shares", ["session_id"])


def _create_snapshots(operations: Operations) -> None:
    operations.create_table(
        "agent_share_snapshots",
        sa.Column("reader_id", sa.Text, nullable=False),
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("with_files", sa.Boolean, nullable=False),
        sa.Column("files_left_out", sa.Integer, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("suspended", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("reader_id"),
        sa.ForeignKeyConstraint(["reader_id"], ["agent_shares.reader_id"], ondelete="CASCADE"),
    )
    operations.create_index(
        "agent_share_snapshots_expiring", "agent_share_snapshots", ["expires_at"]
    )


def _create_messages(operations: Operations) -> None:
    operations.create_table(
        "agent_share_messages",
        sa.Column("reader_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("model_used", sa.Text),
        sa.Column("finish_reason", sa.Text),
        sa.Column("sources", sa.JSON(none_as_null=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reader_id", "seq"),
        _of_a_snapshot(),
        sa.CheckConstraint("role IN ('user', 'assistant')", name="role_known"),
        sa.CheckConstraint("status IN ('complete', 'interrupted', 'failed')", name="status_known"),
    )


def _create_files(operations: Operations) -> None:
    operations.create_table(
        "agent_share_files",
        sa.Column("reader_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("file_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("kept_bytes", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reader_id", "number"),
        sa.UniqueConstraint("file_id"),
        _of_a_snapshot(),
        sa.CheckConstraint("kind IN ('image', 'document', 'audio')", name="kind_known"),
    )


def _of_a_snapshot() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["reader_id"], ["agent_share_snapshots.reader_id"], ondelete="CASCADE"
    )


def _secure(operations: Operations, table: str, condition: str) -> None:
    operations.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    operations.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    operations.execute(f"CREATE POLICY of_owner ON {table} USING ({condition})")

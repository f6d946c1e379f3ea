"""Files of users: what a message brings beside its text."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the table, and to conversations whether they have files; nothing else changes."""
    operations.add_column(
        "agent_sessions",
        sa.Column("has_files", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    operations.create_table(
        "agent_files",
        sa.Column("file_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("seq", sa.Integer),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("kept_bytes", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("file_id"),
        sa.ForeignKeyConstraint(
            ["session_id", "owner_id"],
            ["agent_sessions.session_id", "agent_sessions.owner_id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('image', 'document', 'audio')", name="kind_known"),
    )
    operations.create_index("agent_files_by_owner", "agent_files", ["owner_id"])
    operations.create_index("agent_files_by_message", "agent_files", ["session_id", "seq"])
    unattached = sa.text("session_id IS NULL")
    operations.create_index(
        "agent_files_unattached",
        "agent_files",
        ["created_at"],
        sqlite_where=unattached,
        postgresql_where=unattached,
    )

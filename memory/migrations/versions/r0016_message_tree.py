"""The tree of messages: which message each one follows, and whose files an edited one has."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Until now only the last exchange could be replaced. What is shown before a question has therefore
# always led to it, and an answer belongs to the question before it.
_PARENTS = """UPDATE agent_messages SET parent_seq = coalesce((
    SELECT earlier.seq FROM agent_messages AS earlier
    WHERE earlier.session_id = agent_messages.session_id AND earlier.seq < agent_messages.seq
    AND CASE WHEN agent_messages.role = 'user' THEN NOT earlier.superseded
    ELSE earlier.role = 'user' END
    ORDER BY earlier.seq DESC LIMIT 1), 0)"""


def upgrade(operations: Operations) -> None:
    """Add the columns and link the stored messages; what was replaced becomes a version."""
    operations.add_column(
        "agent_messages",
        sa.Column("parent_seq", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    operations.add_column("agent_messages", sa.Column("files_seq", sa.Integer))
    operations.execute(_PARENTS)
    is_true = "IS 1" if operations.get_bind().dialect.name == "sqlite" else "IS true"
    superseded = sa.text(f"superseded {is_true}")
    operations.create_index(
        "agent_messages_off_the_path",
        "agent_messages",
        ["session_id", "parent_seq", "seq"],
        sqlite_where=superseded,
        postgresql_where=superseded,
    )

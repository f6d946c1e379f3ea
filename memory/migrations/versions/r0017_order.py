"""Order in the list of conversations: where titles come from, pins, folders, archive."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE = "agent_sessions"
BY_OWNER = ["owner_id", "last_activity_at", "session_id"]


def upgrade(operations: Operations) -> None:
    """Add the columns; older titles have no origin, and nothing is pinned, filed or archived."""
    operations.add_column(TABLE, sa.Column("title_origin", sa.Text))
    for name in ("is_pinned", "is_archived"):
        column = sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        operations.add_column(TABLE, column)
    operations.add_column(TABLE, sa.Column("folder", sa.Text))
    is_sqlite = operations.get_bind().dialect.name == "sqlite"
    true = "1" if is_sqlite else "true"
    for name, condition in (
        ("agent_sessions_arranged", f"is_pinned IS {true} OR folder IS NOT NULL"),
        ("agent_sessions_archived", f"is_archived IS {true}"),
    ):
        where = sa.text(condition)
        operations.create_index(name, TABLE, BY_OWNER, sqlite_where=where, postgresql_where=where)

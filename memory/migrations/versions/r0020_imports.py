"""Imported conversations: by what one is recognised that is imported once more."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLE = "agent_sessions"


def upgrade(operations: Operations) -> None:
    """Add the columns; what was imported before has no mark, and is never recognised."""
    for name in ("import_source", "import_digest"):
        operations.add_column(TABLE, sa.Column(name, sa.Text))
    where = sa.text("import_source IS NOT NULL")
    operations.create_index(
        "agent_sessions_imported",
        TABLE,
        ["owner_id", "import_source"],
        sqlite_where=where,
        postgresql_where=where,
    )

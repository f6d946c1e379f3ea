"""What the provider calls the user of a login, and the user's groups."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Add the column; logins that began before have no names until the next sign-in."""
    operations.add_column("agent_logins", sa.Column("names", sa.JSON(none_as_null=True)))
    operations.create_index("agent_logins_by_owner", "agent_logins", ["owner_id"])

"""What came by WhatsApp, once each, and what goes out there."""

from alembic.operations import Operations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Make the tables."""

"""What came by a channel such as WhatsApp, once each, and what goes out there."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(operations: Operations) -> None:
    """Make the tables."""
    _messages(operations)
    _sends(operations)


def _messages(operations: Operations) -> None:
    operations.create_table(
        "channel_messages",
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("payload", sa.JSON),
        sa.Column("media", sa.LargeBinary),
        sa.Column("is_dated", sa.Boolean, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("channel", "message_id"),
        sa.CheckConstraint(
            "state IN ('received', 'running', 'done', 'failed', 'lost')", name="state_known"
        ),
    )
    operations.create_index(
        "channel_messages_by_owner", "channel_messages", ["owner_id", "received_at"]
    )
    operations.create_index(
        "channel_messages_by_state", "channel_messages", ["channel", "state", "received_at"]
    )


def _sends(operations: Operations) -> None:
    operations.create_table(
        "channel_sends",
        sa.Column("send_id", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text),
        sa.Column("recipient", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("error_kind", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("send_id"),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'sent', 'failed', 'uncertain')", name="state_known"
        ),
    )
    operations.create_index("channel_sends_by_owner", "channel_sends", ["owner_id"])
    operations.create_index(
        "channel_sends_by_recipient", "channel_sends", ["recipient", "created_at"]
    )
    operations.create_index(
        "channel_sends_by_state", "channel_sends", ["channel", "state", "next_at"]
    )

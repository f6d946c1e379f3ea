"""Row-level security on PostgreSQL: a transaction reaches the rows of the owner that it names."""

from alembic.operations import Operations

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

OWNED = (
    "agent_sessions",
    "agent_messages",
    "agent_turns",
    "agent_files",
    "agent_schedules",
    "agent_connections",
)
# What has ended there keeps no owner, and nothing of anybody.
OWNED_OR_FREE = ("channel_messages", "channel_sends")
LOGINS = "agent_logins"

_OWN = """owner_id = current_setting('cmw.owner', true)
    OR owner_id = current_setting('cmw.taker', true)
    OR current_setting('cmw.maintenance', true) = 'on'"""


def upgrade(operations: Operations) -> None:
    """Add the policies, which hold for the tables' own role too, and an index that they can use."""
    if operations.get_bind().dialect.name != "postgresql":
        return
    for table in (*OWNED, LOGINS):
        _secure(operations, table, _OWN)
    for table in OWNED_OR_FREE:
        _secure(operations, table, f"owner_id IS NULL OR {_OWN}")
    # Who came through a party of the REST interface is listed by that party.
    operations.execute(
        """CREATE POLICY of_tenant ON agent_sessions FOR SELECT
        USING (tenant_id = current_setting('cmw.owner', true))"""
    )
    # PostgreSQL does not use the search index before the policy, since the operator might reveal rows
    # that the policy hides: a search therefore reads the owner's own messages.
    operations.execute(
        "CREATE INDEX agent_messages_search_by_owner ON agent_messages (owner_id, message_id)"
    )
    operations.execute("DROP INDEX agent_messages_search")


def _secure(operations: Operations, table: str, condition: str) -> None:
    operations.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    operations.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    operations.execute(f"CREATE POLICY of_owner ON {table} USING ({condition})")

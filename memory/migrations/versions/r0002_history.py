"""What history needs: search, feedback, deletion with undo, summaries, a change of owner."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FOREIGN_KEY = """FOREIGN KEY (session_id, owner_id)
    REFERENCES agent_sessions (session_id, owner_id) ON DELETE CASCADE ON UPDATE CASCADE"""

# SQLite cannot change a foreign key, and may give rows without an INTEGER PRIMARY KEY other
# numbers at VACUUM, which the search index would not notice: so both tables are made anew.
_SQLITE = (
    f"""CREATE TABLE new_messages (
    message_id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL, seq INTEGER NOT NULL, owner_id TEXT NOT NULL,
    role TEXT NOT NULL, content TEXT NOT NULL, tool_calls JSON, status TEXT NOT NULL,
    tokens_used INTEGER, latency_ms INTEGER, model_used TEXT, audio_url TEXT,
    created_at DATETIME NOT NULL, turn_id TEXT NOT NULL, superseded BOOLEAN NOT NULL,
    error_id TEXT, feedback TEXT,
    UNIQUE (session_id, seq), {_FOREIGN_KEY},
    CONSTRAINT role_known CHECK (role IN ('user', 'assistant')),
    CONSTRAINT status_known CHECK (status IN ('complete', 'interrupted', 'failed')),
    CONSTRAINT feedback_known CHECK (feedback IN ('like', 'dislike')))""",
    """INSERT INTO new_messages (session_id, seq, owner_id, role, content, tool_calls, status,
    tokens_used, latency_ms, model_used, audio_url, created_at, turn_id, superseded, error_id)
    SELECT session_id, seq, owner_id, role, content, tool_calls, status,
    tokens_used, latency_ms, model_used, audio_url, created_at, turn_id, superseded, error_id
    FROM agent_messages ORDER BY session_id, seq""",
    "DROP TABLE agent_messages",
    "ALTER TABLE new_messages RENAME TO agent_messages",
    f"""CREATE TABLE new_turns (
    turn_id TEXT NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL, owner_id TEXT NOT NULL, idempotency_key TEXT NOT NULL,
    state TEXT NOT NULL, holder TEXT NOT NULL, lease_expires_at DATETIME NOT NULL,
    user_seq INTEGER NOT NULL, answer_seq INTEGER NOT NULL, started_at DATETIME NOT NULL,
    finished_at DATETIME, error_id TEXT,
    UNIQUE (owner_id, session_id, idempotency_key), {_FOREIGN_KEY},
    CONSTRAINT state_known CHECK (state IN ('running', 'complete', 'interrupted', 'failed')))""",
    """INSERT INTO new_turns SELECT turn_id, session_id, owner_id, idempotency_key, state, holder,
    lease_expires_at, user_seq, answer_seq, started_at, finished_at, error_id FROM agent_turns""",
    "DROP TABLE agent_turns",
    "ALTER TABLE new_turns RENAME TO agent_turns",
    """CREATE UNIQUE INDEX agent_turns_one_running ON agent_turns (session_id)
    WHERE state = 'running'""",
    # The owner is a column of the index too: one owner's search does not walk what others wrote.
    """CREATE VIRTUAL TABLE agent_search USING fts5(owner_id, content,
    content='agent_messages', content_rowid='message_id', tokenize='unicode61')""",
    "INSERT INTO agent_search (agent_search) VALUES ('rebuild')",
    """CREATE TRIGGER agent_search_insert AFTER INSERT ON agent_messages BEGIN
    INSERT INTO agent_search (rowid, owner_id, content)
    VALUES (new.message_id, new.owner_id, new.content); END""",
    """CREATE TRIGGER agent_search_delete AFTER DELETE ON agent_messages BEGIN
    INSERT INTO agent_search (agent_search, rowid, owner_id, content)
    VALUES ('delete', old.message_id, old.owner_id, old.content); END""",
    """CREATE TRIGGER agent_search_update AFTER UPDATE OF owner_id, content ON agent_messages
    WHEN old.content <> new.content OR old.owner_id <> new.owner_id BEGIN
    INSERT INTO agent_search (agent_search, rowid, owner_id, content)
    VALUES ('delete', old.message_id, old.owner_id, old.content);
    INSERT INTO agent_search (rowid, owner_id, content)
    VALUES (new.message_id, new.owner_id, new.content); END""",
)

# A text of more than a megabyte of different words would not fit into a tsvector.
_POSTGRESQL = (
    """ALTER TABLE agent_messages ADD COLUMN search tsvector GENERATED ALWAYS AS (
    to_tsvector('simple', left(content, 100000)) || array_to_tsvector(ARRAY['owner:' || owner_id])
    ) STORED""",
    "CREATE INDEX agent_messages_search ON agent_messages USING gin (search)",
    "ALTER TABLE agent_messages ADD COLUMN feedback TEXT",
    """ALTER TABLE agent_messages ADD CONSTRAINT feedback_known
    CHECK (feedback IN ('like', 'dislike'))""",
    "ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_owner_id_fkey",
    f"ALTER TABLE agent_messages ADD {_FOREIGN_KEY}",
    "ALTER TABLE agent_turns DROP CONSTRAINT agent_turns_session_id_owner_id_fkey",
    f"ALTER TABLE agent_turns ADD {_FOREIGN_KEY}",
)


def upgrade(operations: Operations) -> None:
    """Add the columns and the search index; nothing that is stored is lost."""
    operations.add_column("agent_sessions", sa.Column("summarised_seq", sa.Integer))
    operations.add_column("agent_sessions", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    operations.create_index("agent_sessions_by_activity", "agent_sessions", ["last_activity_at"])
    sqlite = operations.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if sqlite else _POSTGRESQL:
        operations.execute(statement)

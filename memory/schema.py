"""The tables of the database. Every row of a user has its owner.

A composite foreign key keeps a message or turn from naming another owner than its conversation.
"""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A time with its zone in Python, in UTC in the database, so that SQLite's texts sort."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def _of_a_conversation() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["session_id", "owner_id"],
        ["agent_sessions.session_id", "agent_sessions.owner_id"],
        ondelete="CASCADE",
        # what a visitor wrote becomes the account's when they sign in
        onupdate="CASCADE",
    )


def _of_a_snapshot() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["reader_id"], ["agent_share_snapshots.reader_id"], ondelete="CASCADE"
    )


agent_sessions = sa.Table(
    "agent_sessions",
    metadata,
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("website_domain", sa.Text),
    sa.Column("ip_address", sa.Text),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("context_data", sa.JSON(none_as_null=True)),
    sa.Column("summary", sa.Text),
    # the summary covers the messages up to this seq
    sa.Column("summarised_seq", sa.Integer),
    # until then one process is at the next part
    sa.Column("summarising_until", UtcDateTime),
    sa.Column("message_count", sa.Integer, nullable=False),
    # the highest seq ever given out; message_count cannot serve, since it counts the shown path
    # alone
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("last_activity_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    # hidden from its owner from then on; the cleanup deletes the row later
    sa.Column("deleted_at", UtcDateTime),
    # whether a turn has files to look for at all
    sa.Column("has_files", sa.Boolean, nullable=False, server_default=sa.false()),
    # through whom the owner came (a key of the REST interface), who may list it, and the id
    # under which it is known there
    sa.Column("tenant_id", sa.Text),
    sa.Column("external_id", sa.Text),
    # 'message', 'model' or 'user'; none where it is not known: that title is never replaced
    sa.Column("title_origin", sa.Text),
    sa.Column("is_pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("is_archived", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("folder", sa.Text),
    # digests by which one that was imported is recognised: of its id at its source, of what it held
    sa.Column("import_source", sa.Text),
    sa.Column("import_digest", sa.Text),
    sa.UniqueConstraint("session_id", "owner_id"),
    _one_of("status", "active", "inactive", "ended"),
    sa.Index("agent_sessions_by_owner", "owner_id", "last_activity_at", "session_id"),
    sa.Index("agent_sessions_by_activity", "last_activity_at"),
)

DELETED = agent_sessions.c.deleted_at.is_not(None)
deleted_sessions = sa.Index(
    "agent_sessions_deleted",
    agent_sessions.c.deleted_at,
    sqlite_where=DELETED,
    postgresql_where=DELETED,
)

# The lists of what is pinned, in a folder or archived read no other conversation.
ARRANGED = sa.or_(agent_sessions.c.is_pinned.is_(True), agent_sessions.c.folder.is_not(None))
ARCHIVED = agent_sessions.c.is_archived.is_(True)
arranged_sessions, archived_sessions = (
    sa.Index(
        name,
        agent_sessions.c.owner_id,
        agent_sessions.c.last_activity_at,
        agent_sessions.c.session_id,
        sqlite_where=condition,
        postgresql_where=condition,
    )
    for name, condition in (
        ("agent_sessions_arranged", ARRANGED),
        ("agent_sessions_archived", ARCHIVED),
    )
)

IMPORTED = agent_sessions.c.import_source.is_not(None)
imported_sessions = sa.Index(
    "agent_sessions_imported",
    agent_sessions.c.owner_id,
    agent_sessions.c.import_source,
    sqlite_where=IMPORTED,
    postgresql_where=IMPORTED,
)

OF_A_TENANT = agent_sessions.c.tenant_id.is_not(None)
sessions_by_tenant = sa.Index(
    "agent_sessions_by_tenant",
    agent_sessions.c.tenant_id,
    agent_sessions.c.agent_id,
    agent_sessions.c.last_activity_at,
    sqlite_where=OF_A_TENANT,
    postgresql_where=OF_A_TENANT,
)

agent_messages = sa.Table(
    "agent_messages",
    metadata,
    # what the search index knows a message by
    sa.Column(
        "message_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        sa.Identity(),
        primary_key=True,
    ),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("tool_calls", sa.JSON(none_as_null=True)),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("tokens_used", sa.Integer),
    sa.Column("latency_ms", sa.Integer),
    sa.Column("model_used", sa.Text),
    sa.Column("audio_url", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # empty where no turn has written it: in a fork, a continued share, an import
    sa.Column("turn_id", sa.Text, nullable=False),
    # whether it is off the path that is shown: another version of it, or of a message before it, is
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("error_id", sa.Text),
    sa.Column("feedback", sa.Text),
    sa.Column(
        "feedback_reason",
        sa.Text,
        _one_of(
            "feedback_reason", "not_right", "not_complete", "did_not_follow", "unsafe", "other"
        ),
    ),
    sa.Column("feedback_comment", sa.Text),
    # when its owner rated it; none for a rating that was imported
    sa.Column("rated_at", UtcDateTime),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    # millionths of a dollar; none where the model has no price
    sa.Column("cost_micros", sa.BigInteger),
    # whether the model's server had not reported all of these tokens
    sa.Column("tokens_estimated", sa.Boolean, nullable=False, server_default=sa.false()),
    # the model's thoughts: in no context window, summary or search
    sa.Column("thinking", sa.Text),
    # how the model's server said that the answer ended
    sa.Column("finish_reason", sa.Text),
    # of `memory.records.AnswerDetails`
    sa.Column("details", sa.JSON(none_as_null=True)),
    # the message that it follows; 0 for a first message
    sa.Column("parent_seq", sa.Integer, nullable=False, server_default=sa.text("0")),
    # the version of it whose files it has, where they are not its own
    sa.Column("files_seq", sa.Integer),
    sa.UniqueConstraint("session_id", "seq"),
    _of_a_conversation(),
    _one_of("feedback", "like", "dislike"),
    _one_of("role", "user", "assistant"),
    _one_of("status", "complete", "interrupted", "failed"),
)

# Of a conversation without versions it has no entry, and so costs its turns nothing.
OFF_THE_PATH = agent_messages.c.superseded.is_(True)
messages_off_the_path = sa.Index(
    "agent_messages_off_the_path",
    agent_messages.c.session_id,
    agent_messages.c.parent_seq,
    agent_messages.c.seq,
    sqlite_where=OFF_THE_PATH,
    postgresql_where=OFF_THE_PATH,
)

RATED = agent_messages.c.rated_at.is_not(None)
rated_messages = sa.Index(
    "agent_messages_rated",
    agent_messages.c.rated_at,
    agent_messages.c.message_id,
    sqlite_where=RATED,
    postgresql_where=RATED,
)

agent_turns = sa.Table(
    "agent_turns",
    metadata,
    sa.Column("turn_id", sa.Text, primary_key=True),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("lease_expires_at", UtcDateTime, nullable=False),
    sa.Column("user_seq", sa.Integer, nullable=False),
    sa.Column("answer_seq", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("error_id", sa.Text),
    # signals of other processes to the one that runs the turn
    sa.Column("watched_until", UtcDateTime),
    sa.Column("stop_requested_at", UtcDateTime),
    # tool calls that wait for their owner's decision, and decisions that came at another process
    sa.Column("questions", sa.JSON(none_as_null=True)),
    sa.Column("decisions", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("owner_id", "session_id", "idempotency_key"),
    _of_a_conversation(),
    _one_of("state", "running", "complete", "interrupted", "failed"),
)

# Written as a literal wherever it is asked for: SQLite uses a partial index only when the
# statement itself, and not a parameter, names the condition.
RUNNING = agent_turns.c.state == sa.literal_column("'running'")

one_running_turn = sa.Index(
    "agent_turns_one_running",
    agent_turns.c.session_id,
    unique=True,
    sqlite_where=RUNNING,
    postgresql_where=RUNNING,
)

agent_files = sa.Table(
    "agent_files",
    metadata,
    sa.Column("file_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    # the user's message that brought it; none yet for what was only uploaded
    sa.Column("session_id", sa.Text),
    sa.Column("seq", sa.Integer),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    # with what was made of it: this is what counts against a quota
    sa.Column("kept_bytes", sa.BigInteger, nullable=False),
    # extracted or transcribed; none for an image
    sa.Column("text", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # a digest of the network that an anonymous owner sent it from
    sa.Column("network", sa.Text),
    # codes of what was cut, left out or guessed of it
    sa.Column("notes", sa.Text),
    _of_a_conversation(),
    _one_of("kind", "image", "document", "audio"),
    sa.Index("agent_files_by_owner", "owner_id"),
    sa.Index("agent_files_by_message", "session_id", "seq"),
    sa.Index("agent_files_by_network", "network", "kept_bytes"),
)

agent_schedules = sa.Table(
    "agent_schedules",
    metadata,
    sa.Column("schedule_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    # what the task says and what is answered stands in this conversation
    sa.Column("session_id", sa.Text, nullable=False),
    # to whom the answer is sent besides, where the channel sends any
    sa.Column("recipient", sa.Text),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("next_run_at", UtcDateTime, nullable=False),
    # who runs it now, and until when that is believed
    sa.Column("holder", sa.Text),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_run_at", UtcDateTime),
    sa.Column("last_outcome", sa.Text),
    sa.Column("runs", sa.Integer, nullable=False),
    # in a row; a run counts as one until it has ended well
    sa.Column("failures", sa.Integer, nullable=False),
    # a digest of the network that an anonymous owner made it from
    sa.Column("network", sa.Text),
    # when its owner was last here, to the hour; none where the task goes on without them
    sa.Column("visited_at", UtcDateTime),
    # when a run of it was last begun: who waited longest is next
    sa.Column("claimed_at", UtcDateTime),
    _of_a_conversation(),
    _one_of("last_outcome", "running", "complete", "failed", "interrupted", "limited", "postponed"),
    sa.Index("agent_schedules_by_owner", "owner_id", "created_at"),
    sa.Index("agent_schedules_by_session", "session_id"),
    sa.Index("agent_schedules_due", "next_run_at"),
    sa.Index("agent_schedules_by_network", "network"),
    sa.Index("agent_schedules_by_visit", "visited_at"),
)

agent_prompts = sa.Table(
    "agent_prompts",
    metadata,
    sa.Column("prompt_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("agent_prompts_by_owner", "owner_id"),
)

# A thread that an agent keeps of a conversation; without a foreign key, to outlive it.
agent_threads = sa.Table(
    "agent_threads",
    metadata,
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("agent_threads_by_owner", "owner_id"),
)

# One account of one owner, from the offer of a link to the connection that may be used.
agent_connections = sa.Table(
    "agent_connections",
    metadata,
    sa.Column("connection_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("toolkit", sa.Text, nullable=False),
    # where it was asked for, if not on the page: shown to whoever follows the link
    sa.Column("place", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    # Composio's ids of the user for whom the link was made, and of the account
    sa.Column("user_id", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("account_id", sa.Text),
    # digests: of what the beginning browser holds, and of the code that confirms
    sa.Column("browser", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # none once it is connected
    sa.Column("expires_at", UtcDateTime),
    # what the provider calls the account
    sa.Column("label", sa.Text),
    # of the connections of a toolkit the one that was chosen last is used
    sa.Column("chosen_at", UtcDateTime),
    _one_of("state", "offered", "begun", "returned", "connected"),
    sa.Index("agent_connections_by_owner", "owner_id", "toolkit"),
    sa.Index("agent_connections_expiring", "expires_at"),
)

# What is kept of an owner's use of an MCP server.
agent_mcp_servers = sa.Table(
    "agent_mcp_servers",
    metadata,
    sa.Column("owner_id", sa.Text, primary_key=True),
    sa.Column("server", sa.Text, primary_key=True),
    # of a server of the owner's own
    sa.Column("url", sa.Text),
    # the tokens of the owner's sign-in at the server, sealed with CMW_SECRET_KEY
    sa.Column("sealed", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("agent_mcp_servers_unused", "updated_at"),
)

UNATTACHED = agent_files.c.session_id.is_(None)
unattached_files = sa.Index(
    "agent_files_unattached",
    agent_files.c.created_at,
    sqlite_where=UNATTACHED,
    postgresql_where=UNATTACHED,
)

# A message received through a channel: the row's key makes sure that it is answered once. Its payload
# and media are deleted when it has been answered.
channel_messages = sa.Table(
    "channel_messages",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("message_id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("payload", sa.JSON(none_as_null=True)),
    sa.Column("media", sa.LargeBinary),
    # a message without a time of its own is recognised as repeated by this row alone
    sa.Column("is_dated", sa.Boolean, nullable=False),
    # who deals with it now, and until when that is believed
    sa.Column("holder", sa.Text),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    _one_of("state", "received", "running", "done", "failed", "lost"),
    sa.Index("channel_messages_by_owner", "owner_id", "received_at"),
    sa.Index("channel_messages_by_state", "channel", "state", "received_at"),
)

channel_sends = sa.Table(
    "channel_sends",
    metadata,
    sa.Column("send_id", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("owner_id", sa.Text),
    sa.Column("recipient", sa.Text),
    # by which way it goes
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    # of one that was sent: until when its text is kept, since the other side may still refuse it
    sa.Column("lease_until", UtcDateTime),
    sa.Column("error_kind", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # its place among those made at once
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    # since when a pending one waits for its recipient's service window
    sa.Column("held_at", UtcDateTime),
    _one_of("state", "pending", "sending", "sent", "failed", "uncertain"),
    sa.Index("channel_sends_by_owner", "owner_id"),
    sa.Index("channel_sends_by_recipient", "recipient", "created_at"),
    sa.Index("channel_sends_by_state", "channel", "state", "next_at"),
    sa.Index("channel_sends_by_lease", "channel", "lease_until"),
)

# Until when a recipient may be sent any text, and when they were last asked to write.
channel_windows = sa.Table(
    "channel_windows",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("recipient", sa.Text, primary_key=True),
    # who has written from there last, or for whom a text to there was refused
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("closes_at", UtcDateTime, nullable=False),
    sa.Column("called_at", UtcDateTime),
    sa.Index("channel_windows_by_owner", "owner_id"),
)

agent_preferences = sa.Table(
    "agent_preferences",
    metadata,
    sa.Column("owner_id", sa.Text, primary_key=True),
    sa.Column("language", sa.Text, nullable=False),
)

# What an owner lets the operator do with what they write; see `memory.records.ConsentKind`.
agent_consents = sa.Table(
    "agent_consents",
    metadata,
    sa.Column("owner_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("given_at", UtcDateTime, nullable=False),
    _one_of("kind", "ratings", "traces"),
)

# A link to a snapshot of a conversation. The tables below hold the snapshot; they name no owner,
# and belong to the principal of the link, `reader_id`.
agent_shares = sa.Table(
    "agent_shares",
    metadata,
    # stands in the link, unguessable
    sa.Column("share_id", sa.Text, primary_key=True),
    sa.Column("reader_id", sa.Text, nullable=False, unique=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    _of_a_conversation(),
    sa.Index("agent_shares_by_owner", "owner_id", "session_id"),
    sa.Index("agent_shares_by_session", "session_id"),
)

agent_share_snapshots = sa.Table(
    "agent_share_snapshots",
    metadata,
    sa.Column(
        "reader_id",
        sa.Text,
        sa.ForeignKey("agent_shares.reader_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("with_files", sa.Boolean, nullable=False),
    # files of the conversation that its owner did not share
    sa.Column("files_left_out", sa.Integer, nullable=False),
    sa.Column("message_count", sa.Integer, nullable=False),
    # the conversation is deleted, and may be restored
    sa.Column("suspended", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Index("agent_share_snapshots_expiring", "expires_at"),
)

agent_share_messages = sa.Table(
    "agent_share_messages",
    metadata,
    sa.Column("reader_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("model_used", sa.Text),
    sa.Column("finish_reason", sa.Text),
    # of `memory.records.SourceRecord`
    sa.Column("sources", sa.JSON(none_as_null=True)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    _of_a_snapshot(),
    _one_of("role", "user", "assistant"),
    _one_of("status", "complete", "interrupted", "failed"),
)

agent_share_files = sa.Table(
    "agent_share_files",
    metadata,
    sa.Column("reader_id", sa.Text, primary_key=True),
    # stands in the file's address
    sa.Column("number", sa.Integer, primary_key=True),
    # of the snapshot's message that brought it
    sa.Column("seq", sa.Integer, nullable=False),
    # the snapshot's own copy of the bytes
    sa.Column("file_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("kept_bytes", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("notes", sa.Text),
    _of_a_snapshot(),
    _one_of("kind", "image", "document", "audio"),
)


def columns_of(table: sa.Table, record: type[Any]) -> Iterator[sa.ColumnElement[Any]]:
    """Yield the columns that hold the fields of a record, each under its field's name.

    The id of a conversation is the column `session_id`; all others are named like their fields.
    """
    for field in fields(record):
        if field.name == "conversation_id":
            yield table.c.session_id.label(field.name)
        else:
            yield table.c[field.name]


def row_of(record: Any) -> dict[str, Any]:
    """Return the values of a record by the names of their columns; see `columns_of`."""
    row = {field.name: getattr(record, field.name) for field in fields(record)}
    if "conversation_id" in row:
        row["session_id"] = row.pop("conversation_id")
    return row

"""Stores conversations of many owners, kept apart, in SQLite or PostgreSQL.

    database = open_database("sqlite:///data/chat.db")
    await migrate(database)
    memory = ConversationMemoryManager(database)
    ticket = await memory.begin_turn(
        owner, NewTurn(new_conversation_id(), "Hello", key, origin=ConversationOrigin())
    )

Each function takes the owner whose rows it reaches, except: statistics (`memory.reports`), checks and
clean-up (`memory.maintenance`, and the `purge` of queues and logins), claims of the queues, which
name the owner of each row (`memory.queues`), and `ConnectionStore.link_owner`, by an unguessable id.
"""

from memory.engine.database import Database, migrate, open_database, ping
from memory.errors import (
    ConversationBusyError,
    ConversationNotFoundError,
    DatabaseFullError,
    DatabaseTooNewError,
    DatabaseUnavailableError,
    InvalidTextError,
    StoreError,
)
from memory.logins import Logins
from memory.maintenance.recovery import interrupt_abandoned
from memory.manager import ConversationMemoryManager
from memory.records import (
    AnswerDetails,
    Conversation,
    ConversationOrigin,
    NewTurn,
    StoredMessage,
    ToolRecord,
    TurnTicket,
    new_conversation_id,
    utcnow,
)

__all__ = [
    "AnswerDetails",
    "Conversation",
    "ConversationBusyError",
    "ConversationMemoryManager",
    "ConversationNotFoundError",
    "ConversationOrigin",
    "Database",
    "DatabaseFullError",
    "DatabaseTooNewError",
    "DatabaseUnavailableError",
    "InvalidTextError",
    "Logins",
    "NewTurn",
    "StoreError",
    "StoredMessage",
    "ToolRecord",
    "TurnTicket",
    "interrupt_abandoned",
    "migrate",
    "new_conversation_id",
    "open_database",
    "ping",
    "utcnow",
]

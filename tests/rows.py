"""Reads the app's SQLite file with plain SQL, without any code of the app."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows(folder: Path, statement: str, *parameters: str) -> list[Row]:
    """Return the rows of a statement on the database in the data folder `folder`."""
    with closing(sqlite3.connect(folder / "chat.db", timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, parameters)]


def messages(folder: Path, word: str = "") -> list[Row]:
    """Return the messages, in order, of the conversations with `word` in a user's message."""
    return rows(
        folder,
        "SELECT * FROM agent_messages WHERE session_id IN (SELECT session_id FROM agent_messages"
        " WHERE role = 'user' AND content LIKE ?) ORDER BY session_id, seq",
        f"%{word}%",
    )


def turns(folder: Path, word: str = "") -> list[Row]:
    """Return the turns, oldest first, of the conversations with `word` in a user's message."""
    return rows(
        folder,
        "SELECT * FROM agent_turns WHERE session_id IN (SELECT session_id FROM agent_messages"
        " WHERE role = 'user' AND content LIKE ?) ORDER BY started_at, answer_seq",
        f"%{word}%",
    )


def count(folder: Path) -> tuple[int, int, int]:
    """Return the numbers of conversations, messages and turns."""
    counts = [
        rows(folder, f"SELECT count(*) AS n FROM {table}")[0]["n"]  # noqa: S608 (fixed names)
        for table in ("agent_sessions", "agent_messages", "agent_turns")
    ]
    return counts[0], counts[1], counts[2]


def sound(folder: Path) -> bool:
    """Return whether SQLite's checks of integrity and of foreign keys find no fault."""
    result = rows(folder, "PRAGMA integrity_check")
    return result == [{"integrity_check": "ok"}] and rows(folder, "PRAGMA foreign_key_check") == []

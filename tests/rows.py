"""The database as another process sees it: plain SQL on the file, past all code of the app."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows(folder: Path, statement: str, *parameters: str) -> list[Row]:
    """Return the rows of a statement on the database of the data directory `folder`."""
    with closing(sqlite3.connect(folder / "chat.db", timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, parameters)]


def messages(folder: Path, word: str = "") -> list[Row]:
    """Return the messages, in order, of the conversations in which a user wrote `word`."""
    return rows(
        folder,
        "SELECT * FROM agent_messages WHERE session_id IN (SELECT session_id FROM agent_messages"
        " WHERE role = 'user' AND content LIKE ?) ORDER BY session_id, seq",
        f"%{word}%",
    )


def turns(folder: Path, word: str = "") -> list[Row]:
    """Return the turns of the conversations in which a user wrote `word`, oldest first."""
    return rows(
        folder,
        "SELECT * FROM agent_turns WHERE session_id IN (SELECT session_id FROM agent_messages"
        " WHERE role = 'user' AND content LIKE ?) ORDER BY started_at, answer_seq",
        f"%{word}%",
    )


def count(folder: Path) -> tuple[int, int, int]:
    """Return how many conversations, messages and turns there are."""
    found = [
        rows(folder, f"SELECT count(*) AS n FROM {table}")[0]["n"]  # noqa: S608 (fixed names)
        for table in ("agent_sessions", "agent_messages", "agent_turns")
    ]
    return found[0], found[1], found[2]


def sound(folder: Path) -> bool:
    """Whether SQLite finds the file sound and every row with its owner."""
    checked = rows(folder, "PRAGMA integrity_check")
    return checked == [{"integrity_check": "ok"}] and rows(folder, "PRAGMA foreign_key_check") == []

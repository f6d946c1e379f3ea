"""Removes from a SQLite file what deleted rows leave behind: words in the index, text in the log.

SQLite itself overwrites deleted rows with zeros (`PRAGMA secure_delete`). Its search index only
marks what was deleted until its segments are merged, and the write-ahead log keeps each page as it
was until the log is emptied. FTS5's own option ``secure-delete`` is not used: an index that has
met it cannot be read by SQLite before 3.42, not even to be rebuilt.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa

PAGES = 500  # of the index that one step writes: some milliseconds
_MERGE = "INSERT INTO agent_search (agent_search, rank) VALUES ('merge', ?)"
_PATIENCE_MS = 250  # for readers; meanwhile nobody can write


def merge_index(connection: sa.Connection, *, is_first: bool) -> bool:
    """Do one step of merging all segments of the search index into one; whether it is done.

    The first step of several says so: it names the segments to merge.
    """
    driver: Any = connection.connection.driver_connection
    before = driver.total_changes
    driver.execute(_MERGE, (-PAGES if is_first else PAGES,))
    # A step that found nothing to do has changed one row, the one that was inserted.
    return bool(driver.total_changes - before < 2)


def empty_log(connection: sa.Connection) -> bool:
    """Write the log's pages into the file and truncate it; False while somebody reads it."""
    driver: Any = connection.connection.driver_connection
    (usual,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout={_PATIENCE_MS:d}")
    try:
        is_busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # locked by another process's checkpoint
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout={usual:d}")
    return not is_busy

"""A connection to PostgreSQL whose transactions begin with a scope, without a round trip more.

Importing this module needs `asyncpg`.
"""

from typing import Any

import asyncpg


class ScopedConnection(asyncpg.Connection):  # type: ignore[misc]
    """Sends what sets the scope in the same message as BEGIN.

    `scope_sql` is that statement; whoever begins a transaction sets it before.
    """

    scope_sql = ""

    async def execute(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109 (asyncpg's own)
    ) -> str:
        """Run a query; see `asyncpg.Connection.execute`."""
        if self.scope_sql and query.startswith("BEGIN") and not args:
            # For this transaction alone: the next one must name its own.
            query, self.scope_sql = f"{query} {self.scope_sql}", ""
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

"""Runs the app with an endpoint double, for the isolation tests, with views of its rows."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.server.build import Parts
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Script
from tests.harness import WAIT, Event, Served, Tab, served, settings_for
from tests.service import live_sessions, wait_until

Row = dict[str, Any]
TABLES = ("agent_sessions", "agent_messages", "agent_turns")


@dataclass(slots=True)
class AppWithModel:
    """A served app, its endpoint double and the path of its database."""

    app: Served
    endpoint: OpenAIDouble
    database: Path

    @property
    def url(self) -> str:
        """The app's URL."""
        return self.app.url

    def rows(self, *, but: Iterable[str] = ()) -> dict[str, list[Row]]:
        """Return the rows of conversations, messages and turns, except those of the owners in `but`."""
        excluded = set(but)
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            rows_by_table = {
                table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608
                for table in TABLES
            }
        return {
            table: [row for row in rows if row["owner_id"] not in excluded]
            for table, rows in rows_by_table.items()
        }

    def texts(self, conversation_id: str) -> list[tuple[str, str, str]]:
        """Return (role, content, status) of a conversation's messages, oldest first."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(
                "SELECT role, content, status FROM agent_messages WHERE session_id = ? "
                "AND NOT superseded ORDER BY seq",
                (conversation_id,),
            ).fetchall()

    def sessions(self) -> dict[SessionKey, LiveSession]:
        """Return the live sessions of all principals."""
        return live_sessions(self.app.application.runtime)

    def only_session(self) -> LiveSession:
        """Return the only live session."""
        (session,) = self.sessions().values()
        return session

    def owners(self) -> set[Principal]:
        """Return the principals that have a live session."""
        return {session.principal for session in self.sessions().values()}


@contextlib.asynccontextmanager
async def app_with_model(
    folder: Path,
    model: str = "echo",
    *,
    parts: Parts | None = None,
    scripts: Mapping[str, Script] | None = None,
    **changes: Any,
) -> AsyncIterator[AppWithModel]:
    """Serve the app with `model` of the OpenAI double, data in `folder`, for the block."""
    async with OpenAIDouble(scripts=scripts) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model=model, **changes)
        async with served(settings, parts) as app:
            yield AppWithModel(app, endpoint, folder / "chat.db")


@contextlib.asynccontextmanager
async def unstored(here: AppWithModel, key: str) -> AsyncIterator[None]:
    """Let the answer that waits at its gate end, and keep it from being stored during the block."""
    chat = here.app.application.runtime.chat
    with contextlib.closing(sqlite3.connect(here.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert here.endpoint.release(key) == 1
        await wait_until(lambda: any(runner.is_over for runner in chat._runners.values()))
        yield
        other.execute("ROLLBACK")


class Following:
    """Reads one event's stream in a task, as the page does; an async context manager.

    Leaving the block early closes the stream, as closing the page does.
    """

    def __init__(self, tab: Tab, event_id: str) -> None:
        self.event = Event(event_id)
        self._tab = tab
        self._received = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def seen(self, text: str) -> None:
        """Wait until the tab has received `text`."""
        async with asyncio.timeout(WAIT), self._received:
            await self._received.wait_for(lambda: text.encode() in self._tab.received)

    async def done(self) -> Event:
        """Wait until the server has closed the stream; return the event with its updates."""
        assert self._task is not None
        async with asyncio.timeout(WAIT):
            await asyncio.shield(self._task)
        return self.event

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._tab.follow(self.event)) as updates:  # type: ignore[type-var]
            async for _ in updates:
                async with self._received:
                    self._received.notify_all()

"""Notices: short texts among the processes that share a PostgreSQL database, by NOTIFY and LISTEN.

A notice only says that something may be worth reading: it is lost where a process has no connection,
and the process is told so once it has one again. Importing this module needs `asyncpg`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import asyncpg

CHANNEL: Final = "cmw_notices"
MAX_WAITING = 1_000  # notices that wait to be sent; with one more they are all lost
IDLE_SECONDS = 30.0  # without a notice, until the connection is tried
CALL_SECONDS = 10.0  # for one statement
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before another connection is tried
_LOST: Final = ""  # what is sent where notices were lost
_SEND: Final = "SELECT pg_notify($1, text) FROM unnest($2::text[]) AS text"
_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Notices:
    """Sends notices to the other processes and receives theirs, over a connection of its own.

    Args:
        connect: Returns a further connection, an `asyncpg.Connection`.
        received: Gets the text of another process's notice.
        lost: Is called where notices of others may have been lost.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        received: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._received = received
        self._lost = lost
        self._waiting: list[str] = []
        self._arrived = asyncio.Event()
        self._own_pid = 0
        self.is_listening = asyncio.Event()

    def send(self, text: str) -> None:
        """Send a text of at most 7,900 bytes to the other processes, soon."""
        self._waiting.append(text)
        if len(self._waiting) > MAX_WAITING:
            self._waiting = [_LOST]
        self._arrived.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send and receive for the block."""
        task = asyncio.create_task(self._run(), name="notices")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        pause, is_first = FIRST_PAUSE, True
        while True:
            with contextlib.suppress(*_FAILURES):
                async with asyncio.timeout(CALL_SECONDS):
                    connection = await self._connect()
                try:
                    await self._listen(connection)
                    if not is_first:
                        self._lost()
                    pause, is_first = FIRST_PAUSE, False
                    await self._serve(connection)
                finally:
                    self.is_listening.clear()
                    connection.terminate()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _listen(self, connection: Any) -> None:
        connection.add_termination_listener(lambda _: self._arrived.set())
        self._own_pid = connection.get_server_pid()
        async with asyncio.timeout(CALL_SECONDS):
            await connection.add_listener(CHANNEL, self._hear)
        self.is_listening.set()

    def _hear(self, _: Any, pid: int, _channel: str, text: Any) -> None:
        if pid == self._own_pid:
            return
        if text == _LOST:
            self._lost()
        else:
            self._received(str(text))

    async def _serve(self, connection: Any) -> None:
        """Send what waits until the connection ends."""
        while True:
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            try:
                if batch:
                    await connection.execute(_SEND, CHANNEL, batch, timeout=CALL_SECONDS)
                else:
                    await connection.execute("SELECT 1", timeout=CALL_SECONDS)
            except BaseException:
                self._waiting = [*batch, *self._waiting][:MAX_WAITING]
                raise
            if not self._waiting:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._arrived.wait()

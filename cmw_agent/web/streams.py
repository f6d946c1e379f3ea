"""Notices at once that the reader of a streamed answer has gone.

Gradio looks for a lost client only between two messages, so a turn that waits for a
silent model would go on for nobody. The watch owns the connection's `receive` while
the app streams.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive, Send


class DisconnectWatch:
    """Calls `gone` once if the client leaves before the response is whole.

    Args:
        receive: The connection's own `receive`, which nobody else may call.
        gone: Awaited on disconnect, at most once.
    """

    def __init__(self, receive: Receive, gone: Callable[[], Awaitable[None]]) -> None:
        self._receive = receive
        self._gone = gone
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=8)
        self._complete = False
        self._left = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="disconnect-watch")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is None:
            return
        if not self._left:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if not self._complete and not self._left:
            # The app gave up before its response was whole: nobody reads on either.
            await self._leave()

    async def receive(self) -> Message:
        """Stand in for the connection's `receive` towards the app."""
        return await self._messages.get()

    def sending(self, send: Send) -> Send:
        """Return `send`, watched for the end of the response."""

        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._complete = True

        return watched

    async def _leave(self) -> None:
        self._left = True
        await self._gone()

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                # The end of a whole response reads as a disconnect as well.
                if not self._complete:
                    await self._leave()
                await self._messages.put(message)
                return
            await self._messages.put(message)

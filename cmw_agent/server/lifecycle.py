"""Serves the app until a signal, and drains it: see docs/adr/0017-draining.md.

uvicorn's own graceful shutdown waits for open connections, which a page's heartbeat and event
stream never close, and then cuts all of them, with their answers. Here a signal first refuses new
turns, waits for running ones, then ends the streams, then uvicorn.
"""

import asyncio
import signal
import socket
from types import FrameType

import uvicorn

from cmw_agent.core.errors import ServiceUnavailableError
from cmw_agent.core.logs import get_logger
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.event_server import EventServer

log = get_logger(__name__)

FETCH_SECONDS = 3.0  # in which pages may fetch the end of their answers


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it ends.

    SIGTERM lets running turns continue for `CMW_DRAIN_SECONDS`; SIGINT, and any second signal,
    stops them at once. The exit code after a signal is 0.

    Args:
        config: uvicorn's configuration.
        runtime: Runs the turns.
        events: Holds the pages' event streams.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime, events: EventServer) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._events = events
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None
        self._hurrying: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal ends it; return when everything is closed."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal; Python calls this between any two steps of the main thread."""
        if not self.started or self._loop is None:
            self.should_exit = True
        elif self.should_exit:
            self.force_exit = sig == signal.SIGINT
        else:
            self._loop.call_soon_threadsafe(self._end, sig)

    def _end(self, sig: int) -> None:
        patient = sig != signal.SIGINT and self._ending is None
        if self._ending is None:
            seconds = self._runtime.settings.drain_seconds if patient else 0.0
            self._ending = asyncio.create_task(self._drain(seconds), name="drain")
        elif self._hurrying is None:
            self._hurrying = asyncio.create_task(self._stop_turns(0), name="hurry")

    async def _drain(self, seconds: float) -> None:
        try:
            log.info("draining", seconds=seconds)
            await self._stop_turns(seconds)
            await self._events.leave(FETCH_SECONDS)
        finally:
            self.should_exit = True

    async def _stop_turns(self, seconds: float) -> None:
        try:
            runtime = self._runtime
            await asyncio.gather(runtime.chat.drain(seconds), runtime.imports.drain(seconds))
        except ServiceUnavailableError:
            log.info("nothing to drain")

"""Answers of one JSON document that begin before they are known; see ADR 54.

Proxies end a request that is silent for a minute or two. White space before a JSON document is
part of it, and keeps them waiting.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

SIGNAL: Final = "cmw.json_is_certain"  # the scope's key of the event that `expect_json` sets
SPACE: Final = b" "
HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"x-accel-buffering", b"no"),  # a proxy such as nginx hands each byte on at once
]

Work = Coroutine[Any, Any, Response]


def expect_json(request: Request) -> None:
    """Say that whatever answers this request from now on is one JSON document."""
    signal = request.scope.get(SIGNAL)
    if isinstance(signal, asyncio.Event):
        signal.set()


async def answer_in_time(
    request: Request, work: Work, seconds: float, render: Callable[[Exception], Response]
) -> Response:
    """Return the response of `work`, or one that begins with white space where that takes longer.

    Args:
        request: The request; `work` calls `expect_json` with it where white space is allowed.
        work: Makes the response.
        seconds: How long a client may wait for a byte; 0 waits for the response.
        render: Returns the response for what `work` raises after the first byte.
    """
    if not seconds:
        return await work
    signal = request.scope[SIGNAL] = asyncio.Event()
    task = asyncio.create_task(work, name="late-answer")
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            certain = asyncio.create_task(signal.wait(), name="late-answer-signal")
            try:
                await asyncio.wait([task, certain], return_when=asyncio.FIRST_COMPLETED)
            finally:
                certain.cancel()
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    return task.result() if task.done() else LateAnswer(task, seconds, render)


class LateAnswer(Response):
    """Sends white space until the response of a task is there, and then that one's body.

    Args:
        task: Makes the response; it is cancelled with this one.
        seconds: Between two spaces.
        render: Returns the response for what the task raises.
    """

    def __init__(
        self,
        task: asyncio.Task[Response],
        seconds: float,
        render: Callable[[Exception], Response],
    ) -> None:
        super().__init__()
        self.raw_headers = list(HEADERS)  # no length: it is not known yet
        self._task = task
        self._seconds = seconds
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            while not self._task.done():
                await send({"type": "http.response.body", "body": SPACE, "more_body": True})
                await asyncio.wait([self._task], timeout=self._seconds)
            await send({"type": "http.response.body", "body": self._body()})
        finally:
            await _cancel(self._task)

    def _body(self) -> bytes:
        try:
            return bytes(self._task.result().body)
        except Exception as error:  # noqa: BLE001 (the status is sent: only the body can tell)
            user_error = UserError()
            log.error(  # noqa: TRY400 (its text is not for the log)
                "channel failed", error_id=user_error.error_id, cause=describe_exception(error)
            )
            return bytes(self._render(user_error).body)


async def _cancel(task: asyncio.Task[Response]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait([task])

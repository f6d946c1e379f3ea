"""Serves the page's events by Gradio's own wire protocol, without Gradio's queue.

The page's script joins an event (``POST queue/join``), reads what comes of it from its
session's event stream (``GET queue/data``, server-sent events), and holds a heartbeat
(``GET heartbeat/<hash>``) open while it lives. Gradio's server spends more CPU on each of
these than everything behind them; see ``docs/adr/0006-events-without-gradios-queue.md``.

The protocol is the one that gradio_client 2 and the page call ``sse_v3`` (`protocol`).
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.random_ids import RandomIdPool
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.budgets import Budgets
from cmw_agent.observability.observers import request_id_of
from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)
from cmw_agent.web.gradio_transport.heartbeats import (
    STREAM_HEADERS,
    Heartbeats,
    connection_of,
    disconnected,
    repeated,
)
from cmw_agent.web.gradio_transport.mailboxes import (
    UNREAD_SECONDS,
    EventBuffer,
    EventBuffers,
    NotReadError,
)
from cmw_agent.web.gradio_transport.protocol import (
    UNCHANGED,
    Notice,
    closing,
    completed,
    edits,
    failed,
    generating,
    heartbeat,
    starting,
    toast,
)
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from cmw_agent.web.security.route_allowlist import API

import gradio as gr  # isort: skip

log = get_logger(__name__)

HEARTBEAT_SECONDS = 15.0
EVENTS_AT_ONCE = 16  # of one session
ENDED = wording("You have signed in or out since; please reload the page.")
SUPERSEDED = wording("The page has connected again since it sent this.")
RESTARTS = wording("The app restarts; please try again in a moment.")


@dataclass(frozen=True, slots=True)
class PageEvent:
    """An event of the page and the handler that answers it.

    Attributes:
        name: The event's `api_name`.
        handler: Takes the inputs and the request; returns the outputs (a tuple where there are
            several) or generates them.
        inputs: How many inputs it takes.
        outputs: How many outputs it has.
        starts_turn: Whether it begins a turn, so that limits count it.
    """

    name: str
    handler: Callable[..., Any]
    inputs: int
    outputs: int
    starts_turn: bool = False


@dataclass(frozen=True, slots=True)
class EventCall:
    """An event that was sent, with the arguments for its handler.

    Attributes:
        function: The event.
        arguments: What its handler is called with.
        from_page: Whether a page sent it. A page applies a generator's updates by itself and is not
            sent their sum at the end; a program takes its result from there.
    """

    function: PageEvent
    arguments: list[Any]
    from_page: bool


class EventServer:
    """The ASGI app behind the guard for every route that carries a session.

    Args:
        functions: The page's events by Gradio's index.
        refusal: Why a principal can begin no turn from an address now, or None when it can.
        admit: Counts a message of a principal, and of the address it is from, before its turn;
            raises a `UserError` where there were enough for now.
        page_closed: Awaited when the heartbeat of a page has gone.
        budgets: Bounds how many sessions have something to read, and how many heartbeats there are.
        changes: What changes in the conversations of a page's owner, which the heartbeat tells the page.
        heartbeat_seconds: How often a stream shows that it lives.
        unread_seconds: How long an event waits for somebody to read it.
    """

    def __init__(
        self,
        functions: Mapping[int, PageEvent],
        *,
        refusal: Callable[[Principal, str | None], UserError | None],
        admit: Callable[[Principal, str | None], Awaitable[None]],
        page_closed: Callable[[SessionKey, Principal], Awaitable[None]],
        budgets: Budgets,
        changes: ConversationChanges,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        unread_seconds: float = UNREAD_SECONDS,
    ) -> None:
        self._functions = functions
        self._refusal = refusal
        self._admit = admit
        self._page_closed = page_closed
        self._beat = heartbeat_seconds
        self._heartbeats = Heartbeats(self._closed, changes, heartbeat_seconds)
        self._budgets = budgets
        self._buffers = EventBuffers(budgets, unread_seconds)
        self._ids = RandomIdPool()

    def __len__(self) -> int:
        return len(self._buffers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(API)
        if path == "/queue/data":
            await self._data(scope, receive, send)
        elif path == "/queue/join":
            await (await self._join(scope, receive))(scope, receive, send)
        elif path == "/cancel":
            await (await self._cancel(scope, receive))(scope, receive, send)
        else:
            await self._heartbeat(scope, receive, send)

    async def close(self) -> None:
        """End every running event."""
        tasks = [task for _, buffer in self._buffers for task in buffer.running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=UNREAD_SECONDS)

    async def leave(self, seconds: float) -> None:
        """End every stream and heartbeat, once pages have fetched what came within `seconds`.

        The pages are still there, and go on elsewhere: none of them counts as closed.
        """
        tasks = [task for _, buffer in self._buffers for task in buffer.running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for _, buffer in self._buffers:
            lost = b"".join(
                failed(event, UserError(RESTARTS), buffer.language) for event in buffer.open_events
            )
            ended = closing()
            buffer.farewell = buffer.take() + lost + ended
            buffer.arrived.set()
        self._heartbeats.leave()

    def end_of(self, principal: Principal) -> None:
        """End every stream and event of a principal, of an account those of its one login."""
        for key, buffer in self._buffers:
            if _is_same(buffer.principal, principal):
                lost = b"".join(
                    failed(event, UserError(ENDED), buffer.language) for event in buffer.open_events
                )
                buffer.farewell = lost + closing()
                buffer.arrived.set()
                buffer.abandon()
                self._buffers.drop(key, buffer)
        self._heartbeats.end_of(lambda holder: _is_same(holder, principal))

    # -- joining and cancelling ---------------------------------------------------

    async def _join(self, scope: Scope, receive: Receive) -> JSONResponse:
        request = Request(scope, receive)
        body = orjson.loads(await request.body())
        index, data = body.get("fn_index"), body.get("data")
        function = self._functions.get(index) if type(index) is int else None
        language = request_language(scope)
        if function is None:
            return _answer(
                404, language.gettext("This event is not known; please reload the page.")
            )
        if not isinstance(data, list) or len(data) != function.inputs:
            return _answer(422, language.gettext("The event's inputs are not those that it takes."))
        principal, address, key = scope[PRINCIPAL], _address(scope), body["session_hash"]
        try:
            if function.starts_turn:
                if (refusal := self._refusal(principal, address)) is not None:
                    raise refusal
                await self._admit(principal, address)
            buffer = self._buffers.open(key, principal, address)
        except UserError as error:
            return _refused(error, scope)
        buffer.language = language
        if not self._is_current(scope, key, buffer):
            return _answer(409, language.translate(SUPERSEDED))
        if len(buffer.running) >= EVENTS_AT_ONCE:
            detail = language.gettext("This page asks too much at once.")
            return _answer(429, detail, {"retry-after": "1"})
        gr_request = gr.Request(request=request, session_hash=key)
        arguments = [*data, gr_request]
        call = EventCall(function, arguments, from_page=type(body.get("trigger_id")) is int)
        return JSONResponse({"event_id": self._start(key, buffer, call)})

    def _is_current(self, scope: Scope, key: str, buffer: EventBuffer) -> bool:
        """Return whether a request is of its page's latest connection; the first of one renews."""
        connection = connection_of(scope)
        if connection < max(self._heartbeats.connection(key), buffer.connection):
            return False
        if connection > buffer.connection:
            buffer.renew(connection)
        return True

    def _start(self, key: str, buffer: EventBuffer, call: EventCall) -> str:
        event = self._ids.hex(16)
        buffer.open_events.add(event)
        task = asyncio.create_task(self._run(buffer, event, call), name="event")
        buffer.running[event] = task

        def ended(_: asyncio.Task[None]) -> None:
            buffer.running.pop(event, None)
            buffer.open_events.discard(event)
            if not buffer.running and buffer.reader is None:
                self._buffers.drop(key, buffer)

        task.add_done_callback(ended)
        return event

    async def _cancel(self, scope: Scope, receive: Receive) -> JSONResponse:
        body = orjson.loads(await Request(scope, receive).body())
        buffer, event = self._buffers.get(body["session_hash"]), body.get("event_id")
        task = buffer.running.get(event) if buffer is not None and isinstance(event, str) else None
        if task is None:
            return _answer(404, NOT_FOUND)
        task.cancel()
        return JSONResponse({"success": True})

    # -- running an event ---------------------------------------------------------

    async def _run(self, buffer: EventBuffer, event: str, call: EventCall) -> None:
        with contextlib.suppress(TimeoutError):  # nobody reads: there is nobody to tell
            try:
                # Nobody waits for this one: it goes out with the first value.
                buffer.messages.append(starting(event))
                last = await self._values(buffer, event, call)
                ending = completed(event, {"data": list(last)})
            except asyncio.CancelledError:
                if buffer.reader is None:
                    raise
                _uncancel()
                ending = completed(event, {})
            except UserError as error:
                log.info(
                    "event refused",
                    error_id=error.error_id,
                    kind=type(error).__name__,
                    principal=buffer.principal.log_name,
                )
                ending = failed(event, error, buffer.language)
            except NotReadError:
                log.info("event not read", principal=buffer.principal.log_name)
                ending = failed(event, UserError(), buffer.language)
            except Exception as error:  # noqa: BLE001 (its id is shown, its place is logged)
                user_error = UserError()
                log.error(  # noqa: TRY400 (its places are named, its text is not)
                    "event failed",
                    error_id=user_error.error_id,
                    principal=buffer.principal.log_name,
                    cause=describe_exception(error),
                )
                ending = failed(event, user_error, buffer.language)
            buffer.end(event, ending)
            await self._fetched(buffer)

    async def _values(self, buffer: EventBuffer, event: str, call: EventCall) -> tuple[Any, ...]:
        """Send what the handler yields, and return the outputs to end with."""
        function = call.function
        result: Any = function.handler(*call.arguments)
        if not inspect.isasyncgen(result):
            return _outputs(function, await result)
        last: tuple[Any, ...] = ()
        async with contextlib.aclosing(result):
            async for value in result:
                if isinstance(value, Notice):
                    await buffer.put(toast(event, value))
                    continue
                outputs = _outputs(function, value)
                if not last:
                    await buffer.put(generating(event, list(outputs)))
                else:
                    changes = [edits(old, new) for old, new in zip(last, outputs, strict=True)]
                    if any(changes):
                        await buffer.put(generating(event, changes))
                last = outputs
        return (UNCHANGED,) * len(last) if call.from_page else last

    async def _fetched(self, buffer: EventBuffer) -> None:
        async with asyncio.timeout(buffer.unread_seconds):
            while buffer.messages:
                buffer.fetched.clear()
                await buffer.fetched.wait()

    # -- streams ------------------------------------------------------------------

    async def _data(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Request(scope).query_params["session_hash"]
        # A page may ask for a stream just after the last event has ended on its old one;
        # the new one then waits for the next event.
        try:
            buffer = self._buffers.open(key, scope[PRINCIPAL], _address(scope))
        except UserError as error:
            await _refused(error, scope)(scope, receive, send)
            return
        if not self._is_current(scope, key, buffer):
            await _answer(409, request_language(scope).translate(SUPERSEDED))(scope, receive, send)
            return
        reader = buffer.reader = object()
        gone = asyncio.create_task(disconnected(receive), name="stream-watch")
        gone.add_done_callback(lambda _: buffer.arrived.set())
        whole = False
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            with repeated(self._beat, buffer.arrived.set):
                whole = await self._deliver(buffer, reader, gone, send)
        finally:
            gone.cancel()
            if buffer.reader is reader:
                buffer.reader = None
                if not whole:
                    buffer.abandon()
                if not buffer.running:
                    self._buffers.drop(key, buffer)

    async def _deliver(
        self, buffer: EventBuffer, reader: object, gone: "asyncio.Task[None]", send: Send
    ) -> bool:
        """Hand messages on until all events are done (True) or the reader has gone (False).

        An arrival without a message is a time to show that the stream lives.
        """
        while True:
            await buffer.arrived.wait()
            if gone.done():
                return False
            if buffer.farewell is not None:
                body = buffer.farewell
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return False
            if buffer.reader is not reader:  # the page has opened a newer stream
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return True
            messages = buffer.take()
            body = messages or heartbeat()
            done = bool(messages) and not buffer.open_events
            if done:
                body += closing()
            await send({"type": "http.response.body", "body": body, "more_body": not done})
            if done:
                return True

    async def _heartbeat(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope[PRINCIPAL]
        try:
            hold = self._budgets.take("heartbeats", principal.id, _address(scope))
        except UserError as error:
            await _refused(error, scope)(scope, receive, send)
            return
        with hold:
            await self._heartbeats.hold(scope, receive, send, principal, hold)

    async def _closed(self, key: SessionKey, principal: Principal) -> None:
        if (buffer := self._buffers.get(key.value)) is not None:
            buffer.abandon()
        await self._page_closed(key, principal)


def _is_same(one: Principal, other: Principal) -> bool:
    return one == other and one.login == other.login


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _outputs(function: PageEvent, value: Any) -> tuple[Any, ...]:
    if function.outputs == 1:
        return (value,)
    return tuple(value) if value is not None else ()


def _refused(error: UserError, scope: Scope) -> JSONResponse:
    level = logging.WARNING if error.status >= 500 else logging.INFO
    request, principal = request_id_of(scope), scope[PRINCIPAL].log_name
    log.log(
        level,
        "refused",
        error_id=error.error_id,
        status=error.status,
        request=request,
        principal=principal,
    )
    return _answer(
        error.status,
        error.text(request_language(scope)),
        {"retry-after": str(error.retry_after or 2)},
    )

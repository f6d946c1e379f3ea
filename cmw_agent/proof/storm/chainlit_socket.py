"""One connection to a Chainlit app: socket.io by long polling, which goes through the person's HTTP.

A browser upgrades the same connection to a WebSocket; both carry the same packets (Engine.IO 4).
"""

import asyncio
import contextlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.joined_texts import JoinedTexts
from cmw_agent.proof.storm.wire import MAX_BODY, Reply, Wire, check_status

PATH = "/ws/socket.io/"
POLLING = f"{PATH}?EIO=4&transport=polling"
SEPARATOR = "\x1e"  # between the packets of one body
PING, PONG, CLOSE, NOOP = "2", "3", "1", "6"
CONNECT, DISCONNECT, EVENT, REFUSED, BINARY_EVENT = "40", "41", "42", "44", "45"
MAX_UNREAD = 1_000  # events; then the app is not polled until some were taken

Event = tuple[str, Any]


class ConnectionRefusedByAppError(TargetError):
    """The app lets nobody in under this session id with this login."""


class ChainlitSocket:
    """Polls from `open` to `close`, so that the app sees a page that is there.

    Args:
        wire: Whose connection it is.
        way: What the person does by it, as the report says it.
    """

    def __init__(self, wire: Wire, way: str) -> None:
        self._wire = wire
        self._way = way
        self._url = POLLING
        self._events: asyncio.Queue[Event | TargetError] = asyncio.Queue(MAX_UNREAD)
        self._tokens = JoinedTexts(MAX_BODY)
        self._reader: asyncio.Task[None] | None = None

    async def open(self, session: str, thread: str = "") -> None:
        """Connect under a session id, with a thread to resume if any.

        Raises:
            ConnectionRefusedByAppError: The app refuses it.
            TargetError: The app does not speak socket.io, or does not answer.
        """
        sid = _sid(await self._wire.ask("GET", POLLING, self._way))
        self._url = f"{POLLING}&sid={sid}"
        proof = {
            "clientType": "webapp",
            "sessionId": session,
            "threadId": thread,
            "userEnv": "{}",
            "chatProfile": "",
        }
        await self._post(CONNECT + json.dumps(proof))
        self._reader = asyncio.create_task(self._poll())
        *_, (name, value) = await self.until(CONNECT, REFUSED)
        if name == REFUSED:
            reason = value.get("message") if isinstance(value, dict) else None
            raise ConnectionRefusedByAppError(f"the app refused the connection ({reason})")
        await self.emit("connection_successful")
        await self.until("clear_call_fn")  # the last event that each connection begins with

    async def send(self, text: str) -> None:
        """Send a message of the user."""
        message = {
            "id": str(uuid.uuid4()),
            "name": "User",
            "type": "user_message",
            "output": text,
            "createdAt": datetime.now(UTC).isoformat(),
        }
        await self.emit("client_message", {"message": message, "fileReferences": []})

    async def emit(self, event: str, *values: Any) -> None:
        """Send an event."""
        await self._post(EVENT + json.dumps([event, *values]))

    async def until(self, *names: str) -> list[Event]:
        """Return the events up to the first of these names.

        Raises:
            TargetError: It does not come in time, or the connection ends before.
        """
        patience, events = self._wire.terms.patience, list[Event]()
        try:
            async with asyncio.timeout(self._wire.budget.within(patience)):
                while not events or events[-1][0] not in names:
                    event = await self._events.get()
                    if isinstance(event, TargetError):
                        self._events.put_nowait(event)  # for who asks again
                        raise event
                    events.append(event)
        except TimeoutError:
            raise TargetError(f"the target did not end its answer within {patience:g} s") from None
        return events

    async def listen(self, seconds: float) -> None:
        """Read events for so many seconds; there may be none."""
        with contextlib.suppress(TargetError, TimeoutError):
            async with asyncio.timeout(self._wire.budget.within(seconds)):
                await self.until()

    async def close(self) -> None:
        """Go away, as a page that is closed."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            with contextlib.suppress(TargetError):
                await self._wire.try_("POST", self._url, self._way, content=CLOSE)

    async def _post(self, packet: str) -> None:
        headers = {"content-type": "text/plain;charset=UTF-8"}
        await self._wire.ask("POST", self._url, self._way, content=packet, headers=headers)

    async def _poll(self) -> None:
        try:
            while True:
                reply = await self._wire.try_("GET", self._url, self._way, lasts=True)
                check_status(reply.status, PATH)
                for packet in reply.body.decode(errors="replace").split(SEPARATOR):
                    await self._take(packet)
        except TargetError as error:
            await self._events.put(error)
        finally:
            self._search_tokens()

    async def _take(self, packet: str) -> None:
        if packet.startswith(PING):
            await self._post(PONG + packet[1:])
        elif packet == CLOSE or packet.startswith(DISCONNECT):
            raise TargetError("the app closed the connection")
        elif packet.startswith((CONNECT, REFUSED)):
            await self._events.put((packet[:2], _value(packet[2:] or "{}")))
        elif packet.startswith((EVENT, BINARY_EVENT)):
            # A number of the server's may stand before the list: an acknowledgement that it waits for.
            event = _value(packet[2:].lstrip("0123456789-"))
            if not isinstance(event, list) or not event:
                raise TargetError("the app does not speak socket.io")
            name, value = str(event[0]), event[1] if len(event) > 1 else None
            self._join(name, value)
            await self._events.put((name, value))

    def _join(self, name: str, value: Any) -> None:
        """Join the tokens of a message, which cut words anywhere."""
        if name == "task_end":
            self._search_tokens()
            self._tokens = JoinedTexts(MAX_BODY)
        elif isinstance(value, dict) and name in ("stream_start", "stream_token"):
            text = str(value.get("output" if name == "stream_start" else "token"))
            self._tokens.event({str(value.get("id")): text})
            self._tokens.feed(text.encode(errors="replace"))
            if self._tokens.is_full:
                raise TargetError(f"an answer had more than {MAX_BODY:,} bytes")

    def _search_tokens(self) -> None:
        person, request = self._wire.person, f"GET {PATH}"
        self._wire.evidence.record(person, self._way, request, self._tokens.all())


def _sid(reply: Reply) -> str:
    value = _value(reply.body.decode(errors="replace").partition(SEPARATOR)[0][1:])
    if not isinstance(value, dict) or not isinstance(value.get("sid"), str):
        raise TargetError("the app does not speak socket.io")
    return str(value["sid"])


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise TargetError("the app does not speak socket.io") from None

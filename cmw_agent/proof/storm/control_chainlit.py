"""Chainlit's wire at the control server: socket.io by long polling, files, and a login."""

import asyncio
import contextlib
import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from cmw_agent.proof.storm.chainlit_socket import (
    CLOSE,
    CONNECT,
    EVENT,
    NOOP,
    PATH,
    PING,
    PONG,
    REFUSED,
    SEPARATOR,
)
from cmw_agent.proof.storm.control_chat import ControlChat, Fault
from cmw_agent.proof.storm.control_wire import (
    COOKIE,
    caller_of,
    content_of,
    parts_of,
    stored_response,
)

OPEN: tuple[Fault, ...] = ("sessions opened by their id", "answers read by their id")


@dataclass(slots=True)
class _Connection:
    caller: str = ""
    session: str = ""
    is_alive: bool = False  # it has answered a ping, as pages do
    packets: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def emit(self, event: str, value: Any = None) -> None:
        self.packets.put_nowait(EVENT + json.dumps([event, value if value is not None else {}]))


class ControlChainlit:
    """The routes of a Chainlit app with a login around one chat.

    Args:
        chat: Keeps its users apart, or has a planted fault.
    """

    def __init__(self, chat: ControlChat) -> None:
        self._chat = chat
        self._connections: dict[str, _Connection] = {}
        self._callers: dict[str, str] = {}  # whose a session is
        self._answers: dict[str, str] = {}  # the newest answer's id of a session

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/login", self._login),
            web.get("/project/settings", self._settings),
            web.post("/set-session-cookie", self._settings),
            web.post("/project/file", self._upload),
            web.get("/project/file/{name}", self._file),
            web.get(PATH, self._poll),
            web.post(PATH, self._push),
        ]

    async def _login(self, request: web.Request) -> web.Response:
        response = web.json_response({"success": True})
        response.set_cookie(COOKIE, str((await request.post())["username"]))
        return response

    async def _settings(self, _request: web.Request) -> web.Response:
        return web.json_response({})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = self._chat.store_file(caller_of(request), content_of(form["file"]))
        return web.json_response({"id": name})

    async def _file(self, request: web.Request) -> web.Response:
        return stored_response(self._chat.stored_file, request)

    async def _poll(self, request: web.Request) -> web.Response:
        sid = request.query.get("sid")
        if sid is None:
            sid = secrets.token_hex(8)
            self._connections[sid] = _Connection(caller_of(request))
            return web.Response(text="0" + json.dumps({"sid": sid, "upgrades": ["websocket"]}))
        waiting = self._connection(request).packets
        packets = [await waiting.get()]
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                packets.append(waiting.get_nowait())
        return web.Response(text=SEPARATOR.join(packets))

    async def _push(self, request: web.Request) -> web.Response:
        connection = self._connection(request)
        for packet in (await request.text()).split(SEPARATOR):
            if packet == PONG:
                connection.is_alive = True
            elif packet == CLOSE:
                del self._connections[request.query["sid"]]
                connection.packets.put_nowait(NOOP)  # ends the poll that waits
            elif packet.startswith(CONNECT):
                self._connect(connection, json.loads(packet[len(CONNECT) :]))
            elif packet.startswith(EVENT):
                await self._take(connection, *json.loads(packet[len(EVENT) :]))
        return web.Response(text="ok")

    def _connection(self, request: web.Request) -> _Connection:
        try:
            return self._connections[request.query["sid"]]
        except KeyError:
            raise web.HTTPBadRequest from None

    def _connect(self, connection: _Connection, proof: dict[str, Any]) -> None:
        session = str(proof["sessionId"])
        owner = self._callers.setdefault(session, connection.caller)
        if owner != connection.caller and self._chat.fault not in OPEN:
            connection.packets.put_nowait(REFUSED + '{"message": "authorization failed"}')
            return
        connection.session = session
        for packet in (PING, CONNECT + "{}"):
            connection.packets.put_nowait(packet)

    async def _take(self, connection: _Connection, event: str, value: Any = None) -> None:
        if event == "connection_successful":
            for each in ("task_end", "clear_ask", "clear_call_fn"):
                connection.emit(each)
            name = self._answers.get(connection.session, "")
            self._answer(connection, self._chat.stored_answer(connection.caller, name) or "")
        elif event == "client_message" and connection.is_alive:
            connection.emit("task_start")
            text = await self._chat.answer(
                connection.caller, connection.session, str(value["message"]["output"])
            )
            name = self._chat.store_answer(connection.caller, text)
            self._answers[connection.session] = name
            self._answer(connection, text)
            connection.emit("task_end")

    def _answer(self, connection: _Connection, text: str) -> None:
        """Emit an answer as Chainlit streams it."""
        name = str(uuid.uuid4())
        for part in parts_of(text)[:1]:
            connection.emit("stream_start", {"id": name, "output": part})
        for part in parts_of(text)[1:]:
            connection.emit("stream_token", {"id": name, "token": part})

"""The wire of this project's widget at the control server."""

import json
import secrets

from aiohttp import web

from cmw_agent.proof.storm.control_chat import ControlChat
from cmw_agent.proof.storm.control_wire import caller_of, parts_of, response_of

PATH = "/embed/control"


class ControlWidget:
    """The routes of a widget around one chat.

    Args:
        chat: Keeps its visitors apart, or has a planted fault.
    """

    def __init__(self, chat: ControlChat) -> None:
        self._chat = chat
        self._signatures: dict[str, str] = {}  # of the visitors
        self._answers: dict[str, str] = {}  # the ids of the answers, by the keys of the messages
        self._conversations: dict[str, str] = {}  # the newest answer of a visitor, as a file

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(PATH, self._page),
            web.post(f"{PATH}/visit", self._visit),
            web.get(f"{PATH}/messages", self._messages),
            web.post(f"{PATH}/message", self._message),
            web.get("/history/export", self._export),
        ]

    async def _page(self, _request: web.Request) -> web.Response:
        text = '<script src="../widget.js" data-frame="control|&quot;"></script>'
        return web.Response(text=text, content_type="text/html")

    async def _visit(self, request: web.Request) -> web.Response:
        visitor = self._verified(str((await request.json()).get("token", "")))
        if visitor is None:
            visitor = secrets.token_hex(8)
            self._signatures[visitor] = secrets.token_hex(8)
        token = f"{visitor}.time.{self._signatures[visitor]}"
        conversation = self._conversations.get(visitor, "")
        return web.json_response({"token": token, "session_id": conversation})

    async def _messages(self, request: web.Request) -> web.Response:
        visitor = self._visitor(request)
        text = self._chat.stored_file(visitor, self._conversations.get(visitor, ""))
        return web.json_response({"messages": [{"role": "assistant", "content": text}]})

    async def _message(self, request: web.Request) -> web.StreamResponse:
        visitor, body = self._visitor(request), await request.json()
        text = self._chat.stored_answer(visitor, self._answers.get(body["key"], ""))
        if text is None:  # the same key is the same message
            text = await self._chat.answer(visitor, visitor, str(body["message"]))
            self._answers[body["key"]] = self._chat.store_answer(visitor, text)
        # An exported conversation is a file with an address.
        conversation = self._conversations[visitor] = self._chat.store_file(visitor, text)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events = [
            ("started", {"session_id": conversation}),
            *(("delta", {"text": part}) for part in parts_of(text)),
            ("done", {"response": "", "metadata": {}}),
        ]
        for name, value in events:
            await response.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
        return response

    async def _export(self, request: web.Request) -> web.Response:
        return response_of(self._chat.stored_file(caller_of(request), request.query["id"]))

    def _visitor(self, request: web.Request) -> str:
        if request.headers.get("x-cmw-frame") != 'control|"' or "origin" not in request.headers:
            raise web.HTTPForbidden
        visitor = self._verified(request.headers.get("authorization", "").removeprefix("Bearer "))
        if visitor is None:
            raise web.HTTPUnauthorized
        return visitor

    def _verified(self, token: str) -> str | None:
        visitor, _, signature = token.partition(".time.")
        is_signed = self._signatures.get(visitor) == signature
        is_open = self._chat.fault == "sessions opened by their id"
        return visitor if visitor in self._signatures and (is_signed or is_open) else None

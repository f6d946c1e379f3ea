"""The control server: a small chat on this machine that speaks the wires which a storm speaks.

What finds nothing proves nothing. So each run storms this server too, once for each planted fault and
once without one, by the same code.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from cmw_agent.proof.storm.control_chainlit import ControlChainlit
from cmw_agent.proof.storm.control_chat import ControlChat, Fault
from cmw_agent.proof.storm.control_widget import ControlWidget
from cmw_agent.proof.storm.control_wire import (
    COOKIE,
    caller_of,
    content_of,
    parts_of,
    response_of,
    stored_response,
)

CONFIG = {
    "mode": "blocks",
    "api_prefix": "/gradio_api",
    "components": [
        {"id": 1, "type": "textbox", "props": {"value": ""}},
        {"id": 2, "type": "chatbot", "props": {"value": []}},
    ],
    "dependencies": [
        {
            "id": 0,
            "targets": [[1, "submit"]],
            "inputs": [1],
            "outputs": [2],
            "backend_fn": True,
            "queue": True,
            "api_name": "chat",
            "api_visibility": "public",
            "types": {"generator": True, "cancel": False},
            "trigger_after": None,
        }
    ],
}
DESCRIPTION: dict[str, Any] = {
    "message": {
        "path": "/rest/sessions/{session}",
        "headers": {"authorization": "Bearer {key}"},
        "body": {"message": "{message}"},
        "result": "id",
    },
    "upload": {
        "path": "/rest/files",
        "headers": {"authorization": "Bearer {key}"},
        "result": "id",
    },
    "borrow": [
        {
            "method": "GET",
            "path": path,
            "headers": {"authorization": "Bearer {key}"},
        }
        for path in ("/rest/answers/{session}", "/rest/files/{file}")
    ],
}
KEYS = ("control-key-1", "control-key-2")


class ControlServer:
    """The routes of the control server around one chat.

    Args:
        fault: The planted fault; None for none.
    """

    def __init__(self, fault: Fault | None) -> None:
        self._chat = ControlChat(fault)
        self._streams: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._answers: dict[str, str] = {}  # the newest answer's id of a REST session

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of 127.0.0.1 for the block; give the address."""
        app = web.Application(client_max_size=1 << 20)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/config", self._config),
                web.post("/gradio_api/queue/join", self._join),
                web.get("/gradio_api/queue/data", self._data),
                web.post("/gradio_api/upload", self._upload),
                web.get("/gradio_api/file={name}", self._file),
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._completion),
                web.get("/v1/chat/completions/{name}", self._stored),
                web.post("/v1/files", self._openai_upload),
                web.get("/v1/files/{name}/content", self._file),
                web.post("/rest/sessions/{session}", self._rest),
                web.get("/rest/answers/{session}", self._rest_answer),
                web.post("/rest/files", self._rest_upload),
                web.get("/rest/files/{name}", self._file),
                *ControlChainlit(self._chat).routes(),
                *ControlWidget(self._chat).routes(),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    # -- Gradio's wire ----------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        response = web.Response(text="<p>A chat.</p>", content_type="text/html")
        if COOKIE not in request.cookies:
            response.set_cookie(COOKIE, secrets.token_hex(8))
        return response

    async def _config(self, _request: web.Request) -> web.Response:
        return web.json_response(CONFIG)

    async def _join(self, request: web.Request) -> web.Response:
        body = await request.json()
        caller, session = caller_of(request), str(body["session_hash"])
        event_id = secrets.token_hex(8)
        text = await self._chat.answer(caller, session, str(body["data"][0]))
        stream = self._streams.setdefault(self._stream_name(caller, session), asyncio.Queue())
        stream.put_nowait({"event_id": event_id, "text": text})
        return web.json_response({"event_id": event_id})

    async def _data(self, request: web.Request) -> web.StreamResponse:
        name = self._stream_name(caller_of(request), request.query["session_hash"])
        if name not in self._streams:
            raise web.HTTPNotFound
        waiting = self._streams[name]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                for message in _messages(**waiting.get_nowait()):
                    await response.write(b"data: " + json.dumps(message).encode() + b"\n\n")
        await response.write(b'data: {"msg": "close_stream", "event_id": null}\n\n')
        return response

    def _stream_name(self, caller: str, session: str) -> str:
        return session if self._chat.fault == "answers read by their id" else f"{caller} {session}"

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = self._chat.store_file(caller_of(request), content_of(form["files"]))
        return web.json_response([name])

    async def _file(self, request: web.Request) -> web.Response:
        return stored_response(self._chat.stored_file, request)

    # -- OpenAI's wire -----------------------------------------------------------------------

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "control", "object": "model"}]})

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = await self._chat.answer(
            caller_of(request), str(body.get("user", "")), str(body["messages"][-1]["content"])
        )
        name = self._chat.store_answer(caller_of(request), text)
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            return web.json_response({"id": name, "choices": [{"message": message}]})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in parts_of(text):
            chunk = {"id": name, "choices": [{"delta": {"content": part}}]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _stored(self, request: web.Request) -> web.Response:
        return stored_response(self._chat.stored_answer, request)

    async def _openai_upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = self._chat.store_file(caller_of(request), content_of(form["file"]))
        return web.json_response({"id": name})

    # -- REST -------------------------------------------------------------------------------

    async def _rest(self, request: web.Request) -> web.Response:
        body, session = await request.json(), request.match_info["session"]
        text = await self._chat.answer(caller_of(request), session, str(body["message"]))
        self._answers[session] = self._chat.store_answer(caller_of(request), text)
        return web.json_response({"id": self._answers[session], "answer": text})

    async def _rest_answer(self, request: web.Request) -> web.Response:
        name = self._answers.get(request.match_info["session"], "")
        text = self._chat.stored_answer(caller_of(request), name)
        return response_of(text)

    async def _rest_upload(self, request: web.Request) -> web.Response:
        name = self._chat.store_file(caller_of(request), await request.text())
        return web.json_response({"id": name})


def _messages(event_id: str, text: str) -> list[dict[str, Any]]:
    """Return an answer as Gradio streams it: a value, edits of it, and its end."""
    first, *others = parts_of(text)
    message = {"role": "assistant", "content": first}
    streamed = [{"output": {"data": [[message]]}, "msg": "process_generating"}]
    for part in others:
        edits = [["append", [0, "content"], part]]
        streamed.append({"output": {"data": [edits]}, "msg": "process_generating"})
    done = {"output": {"data": [[{**message, "content": text}]]}, "msg": "process_completed"}
    return [{**each, "event_id": event_id, "success": True} for each in (*streamed, done)]

"""An MCP server by streamable HTTP, as of 2025-06-18, that remembers its sessions and can misbehave."""

import asyncio
import contextlib
import gzip
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

VERSION = "2025-06-18"


def tool(name: str, description: str = "A tool.", **more: Any) -> dict[str, Any]:
    """Return a tool that reads, as a server lists it."""
    return {
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
        **more,
    }


@dataclass(slots=True)
class McpSession:
    """A session of a client: what was called in it."""

    token: str
    said: list[str] = field(default_factory=list)


class McpDouble:
    """The server.

    Attributes:
        tools: What it lists.
        sessions: The sessions by their ids; a client names one in each request.
        faults: Names of what it does wrong.
        resources: The texts of its resources, by their URIs; None where it offers none.
        answers: What `tools/call` gives for other tools than `echo` and `said`.
        requests: The methods of all requests, in their order.
        cancelled: How many requests the client has cancelled.
        released: Lets a call of `reports` end.
    """

    def __init__(self) -> None:
        self.url = ""
        self.tools = [tool("echo"), tool("said")]
        self.sessions: dict[str, McpSession] = {}
        self.ended: list[str] = []
        self.faults: set[str] = set()
        self.resources: dict[str, str] | None = None
        self.answers: dict[str, Any] = {}
        self.requests: list[str] = []
        self.cancelled = 0
        self.hanging = asyncio.Event()
        self.released = asyncio.Event()
        self.redirect = ""
        self.logins: dict[str, str] | None = None  # by token, where users must sign in
        self.challenge = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        session_id = request.headers.get("mcp-session-id", "")
        if request.method == "DELETE":
            self.sessions.pop(session_id, None)
            self.ended.append(session_id)
            return web.Response()
        if request.method == "GET":
            return web.Response(status=405)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.logins is not None and token not in self.logins:
            return web.Response(status=401, headers={"www-authenticate": self.challenge})
        message = orjson.loads(await request.read())
        method = message["method"]
        self.requests.append(method)
        if method == "notifications/cancelled":
            self.cancelled += 1
        if "id" not in message:
            return web.Response(status=202)
        if "redirects" in self.faults:
            return web.Response(status=307, headers={"location": self.redirect})
        if method == "initialize":
            return self._begin(request, message)
        if session_id not in self.sessions:
            return web.Response(status=404)
        return await self._answer(request, self.sessions[session_id], message)

    def _begin(self, request: web.Request, message: dict[str, Any]) -> web.Response:
        session_id = secrets.token_hex(8)
        token = request.headers.get("authorization", "")
        self.sessions[session_id] = McpSession(token)
        capabilities: dict[str, Any] = {} if "no tools" in self.faults else {"tools": {}}
        if self.resources is not None:
            capabilities["resources"] = {}
        result = {
            "protocolVersion": VERSION,
            "capabilities": capabilities,
            "serverInfo": {"name": "double", "version": "1"},
        }
        response = _json(_result(message, result))
        response.headers["mcp-session-id"] = session_id
        return response

    async def _answer(
        self, request: web.Request, session: McpSession, message: dict[str, Any]
    ) -> web.StreamResponse:
        method, params = message["method"], message.get("params") or {}
        if method == "tools/list":
            return await self._list(request, message, params)
        if method == "tools/call":
            return await self._call(request, session, message, params)
        if method == "resources/list" and self.resources is not None:
            listed = [{"uri": uri, "name": uri.rpartition("/")[2]} for uri in self.resources]
            return _json(_result(message, {"resources": listed}))
        if method == "resources/read" and self.resources is not None:
            contents = {"uri": params["uri"], "text": self.resources[params["uri"]]}
            return _json(_result(message, {"contents": [contents]}))
        error = {"code": -32601, "message": "Method not found"}
        return _json({"jsonrpc": "2.0", "id": message["id"], "error": error})

    async def _list(
        self, request: web.Request, message: dict[str, Any], params: dict[str, Any]
    ) -> web.StreamResponse:
        if "hangs at listing" in self.faults:
            await self._hang()
        listed: dict[str, Any] = {"tools": self.tools}
        if "lists without end" in self.faults:
            number = int(params.get("cursor") or 0)
            listed = {"tools": [tool(f"echo{number}")], "nextCursor": str(number + 1)}
        return _json(_result(message, listed))

    async def _call(
        self,
        request: web.Request,
        session: McpSession,
        message: dict[str, Any],
        params: dict[str, Any],
    ) -> web.StreamResponse:
        name, arguments = params["name"], params.get("arguments") or {}
        if name == "echo":
            session.said.append(arguments.get("text", ""))
            return _json(_result(message, _text(f"echo {arguments.get('text', '')}")))
        if name == "whoami":
            assert self.logins is not None
            login = self.logins[session.token.removeprefix("Bearer ")]
            return _json(_result(message, _text(f"you are {login}")))
        if name == "said":
            return _json(_result(message, _text(" ".join(session.said) or "nothing")))
        answer = self.answers[name]
        if callable(answer):
            response: web.StreamResponse = await answer(self, request, message)
            return response
        return _json(_result(message, answer))

    async def _hang(self) -> None:
        self.hanging.set()
        await asyncio.sleep(3600)


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _result(message: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _json(content: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json")


async def hangs(double: McpDouble, request: web.Request, message: Any) -> web.StreamResponse:
    """Answer nothing."""
    await double._hang()
    raise AssertionError


async def is_malformed(double: McpDouble, request: web.Request, message: Any) -> web.Response:
    """Answer what is no JSON."""
    return web.Response(body=b'{"jsonrpc": "2.0", "id"', content_type="application/json")


async def is_a_page(double: McpDouble, request: web.Request, message: Any) -> web.Response:
    """Answer a page."""
    return web.Response(text="<h1>Sign in</h1>", content_type="text/html")


async def fails(double: McpDouble, request: web.Request, message: Any) -> web.Response:
    """Answer a server's error."""
    return web.Response(status=500, text="hush-hush")


async def accepts_only(double: McpDouble, request: web.Request, message: Any) -> web.Response:
    """Say that no answer will follow."""
    return web.Response(status=202)


async def breaks_off(double: McpDouble, request: web.Request, message: Any) -> web.StreamResponse:
    """Close the connection in the middle of an answer."""
    response = web.StreamResponse(
        headers={"content-type": "application/json", "content-length": "999"}
    )
    await response.prepare(request)
    await response.write(b'{"jsonrpc":')
    assert request.transport is not None
    request.transport.abort()
    return response


async def is_huge(double: McpDouble, request: web.Request, message: Any) -> web.StreamResponse:
    """Answer 50 MB of text, and count what the client has taken."""
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    start = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % message["id"]
    await response.write(start)
    for _ in range(50):
        await response.write(b"x" * 1_000_000)
        double.answers["megabytes"] = double.answers.get("megabytes", 0) + 1
    await response.write(b'"}]}}')
    return response


async def is_compressed(double: McpDouble, request: web.Request, message: Any) -> web.Response:
    """Answer a small body that holds a large one."""
    body = gzip.compress(orjson.dumps(_result(message, _text("x" * 50_000_000))))
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    return web.Response(body=body, headers=headers)


async def streams(
    request: web.Request, *events: dict[str, Any], repeat: int = 1
) -> web.StreamResponse:
    """Answer events."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(repeat):
        for event in events:
            await response.write(b"event: message\ndata: " + orjson.dumps(event) + b"\n\n")
    return response


async def reports(double: McpDouble, request: web.Request, message: Any) -> web.StreamResponse:
    """Report three times how far it has come, and answer once it is released."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    token = message["params"]["_meta"]["progressToken"]
    for number in (1, 2, 3):
        params = {"progressToken": token, "progress": number, "total": 10, "message": "counting"}
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        await response.write(b"event: message\ndata: " + orjson.dumps(note) + b"\n\n")
    await double.released.wait()
    answer = _result(message, _text("counted"))
    await response.write(b"event: message\ndata: " + orjson.dumps(answer) + b"\n\n")
    return response


async def chatters(double: McpDouble, request: web.Request, message: Any) -> web.StreamResponse:
    """Send notifications without end."""
    note = {"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": "x" * 100_000}}  # fmt: skip
    return await streams(request, note, repeat=100_000)


async def wants_a_page_opened(
    double: McpDouble, request: web.Request, message: Any
) -> web.StreamResponse:
    """Ask that the user open an address, and answer."""
    params = {
        "mode": "url",
        "message": "Open it",
        "url": "http://169.254.169.254/",
        "elicitationId": "1",
    }
    question = {"jsonrpc": "2.0", "id": 77, "method": "elicitation/create", "params": params}
    return await streams(request, question, _result(message, _text("asked")))


@contextlib.asynccontextmanager
async def mcp_double(*routes: web.RouteDef) -> AsyncIterator[McpDouble]:
    """Serve the double for the block, and further routes beside it."""
    double = McpDouble()
    app = web.Application()
    app.router.add_route("*", "/mcp", double.handle)
    app.router.add_routes(routes)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    try:
        yield double
    finally:
        await runner.cleanup()

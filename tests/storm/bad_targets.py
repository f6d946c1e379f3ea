"""Targets that cannot be judged, each as an application of its own on a free port."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from cmw_agent.proof.storm.control_server import CONFIG

CHAINLIT = "/auth/config"  # is asked for first of all
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve one handler for every request."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def hangs(request: web.Request) -> web.StreamResponse:
    """Shows its page and its config, and never answers a message."""
    if request.path == CHAINLIT:
        return web.Response(status=404)
    if request.path == "/config":
        return web.json_response(CONFIG)
    if request.path == "/":
        return web.Response(text="a chat")
    await asyncio.Event().wait()
    raise AssertionError


async def lies_about_its_config(request: web.Request) -> web.StreamResponse:
    return web.json_response({"components": 7, "dependencies": "all"})


async def is_no_json(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<h1>Welcome</h1>", content_type="text/html")


async def lies_about_its_stream(request: web.Request) -> web.StreamResponse:
    """Has a queue whose stream belongs to another event and then ends."""
    if request.path == "/config":
        return web.json_response(CONFIG)
    if request.path.endswith("join"):
        return web.json_response({"event_id": "one"})
    if request.path.endswith("data"):
        message = {"msg": "process_completed", "event_id": "another", "output": {"data": [1]}}
        return web.Response(
            text=f"data: {json.dumps(message)}\n\n", content_type="text/event-stream"
        )
    return web.Response(text="a chat")


async def promises_more_than_it_sends(request: web.Request) -> web.StreamResponse:
    if request.path == CHAINLIT:
        return web.Response(status=404)
    if request.path == "/config":
        return web.json_response(CONFIG)
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b"a chat")
    assert request.transport is not None
    request.transport.close()
    return response


async def never_ends(request: web.Request) -> web.StreamResponse:
    if request.path == CHAINLIT:
        return web.Response(status=404)
    if request.path == "/config":
        return web.json_response(CONFIG)
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b"x" * 1_000_000)
    return response


async def limits_the_rate(request: web.Request) -> web.StreamResponse:
    if request.path == "/config":
        return web.json_response(CONFIG)
    return web.Response(status=429, headers={"retry-after": "0"})


async def wants_a_login(request: web.Request) -> web.StreamResponse:
    return web.Response(status=401)


async def redirects_to_a_login(request: web.Request) -> web.StreamResponse:
    if request.path == "/signin":
        return web.Response(text="name and password, please")
    return web.Response(status=302, headers={"location": "/signin"})


async def redirects_elsewhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"location": "https://elsewhere.example/config"})


async def redirects_in_circles(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"location": "/config"})


async def repeats_nothing(request: web.Request) -> web.StreamResponse:
    """Answers each message, and with nothing of it."""
    if request.path == "/config":
        return web.json_response(CONFIG)
    if request.path.endswith("join"):
        return web.json_response({"event_id": "one"})
    if request.path.endswith("data"):
        message = {
            "msg": "process_completed",
            "event_id": "one",
            "success": True,
            "output": {"data": [[{"role": "assistant", "content": "Yes."}]]},
        }
        return web.Response(
            text=f"data: {json.dumps(message)}\n\n", content_type="text/event-stream"
        )
    return web.Response(text="a chat")


async def is_chainlit_with_a_login(request: web.Request) -> web.StreamResponse:
    return web.json_response({"requireLogin": True})


async def is_chainlit_without_socket_io(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<h1>Welcome</h1>", content_type="text/html")


async def is_chainlit_that_closes(request: web.Request) -> web.StreamResponse:
    """Opens each connection and closes it."""
    return web.Response(text="41" if "sid" in request.query else '0{"sid": "one"}')


async def is_chainlit_that_refuses(request: web.Request) -> web.StreamResponse:
    refusal = '44{"message": "authorization failed"}'
    return web.Response(text=refusal if "sid" in request.query else '0{"sid": "one"}')


async def is_chainlit_with_wrong_events(request: web.Request) -> web.StreamResponse:
    return web.Response(text="427" if "sid" in request.query else '0{"sid": "one"}')


async def is_chainlit_that_is_silent(request: web.Request) -> web.StreamResponse:
    """Opens each connection, and no event ever comes."""
    if request.method == "GET" and "sid" in request.query:
        await asyncio.Event().wait()
    return web.Response(text='0{"sid": "one"}')


async def is_no_chat(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


class EndsTheThird:
    """Echoes each session's own message; of the requests to end an answer, the third comes in time.

    The session of a request is not proved, as with Gradio.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._ended = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/config":
            return web.json_response(CONFIG)
        if request.path.endswith("upload"):
            return web.Response(status=404)
        if request.method == "POST":
            body = await request.json()
            if request.path.endswith("join"):
                self._texts[body["session_hash"]] = str(body["data"][0])
            elif request.path.endswith("cancel"):
                self._ended += 1
                if self._ended == 3:
                    self._texts[body["session_hash"]] = ""
            return web.json_response({"event_id": "one"})
        text = self._texts.get(request.query.get("session_hash", ""), "")
        message = {
            "msg": "process_completed",
            "event_id": "one",
            "success": True,
            "output": {"data": [[{"role": "assistant", "content": text}]]},
        }
        return web.Response(
            text=f"data: {json.dumps(message)}\n\n", content_type="text/event-stream"
        )

"""Puts the app together: guard, own routes, Gradio page, and their lifespan."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.errors import UserError
from cmw_agent.identity import Identities, Principal, SessionKey, load_keys
from cmw_agent.settings import Settings
from cmw_agent.web import environment as _environment  # noqa: F401  (before gradio)
from cmw_agent.web.guard import PRINCIPAL, Channel, Guard, GuardHooks, GuardPolicy
from cmw_agent.web.handlers import Handlers
from cmw_agent.web.runtime import Runtime
from cmw_agent.web.theme import CSS, theme
from cmw_agent.web.ui import build_page

import gradio as gr  # isort: skip

STATIC = Path(__file__).parent / "static"
SCRIPT_TAG = b'<script src="visitor.js"></script>'


@dataclass(frozen=True, slots=True)
class Application:
    """The app as it is served, and its parts for tests and tools."""

    asgi: ASGIApp
    demo: gr.Blocks
    runtime: Runtime
    gradio: FastAPI


def build_app(settings: Settings) -> Application:
    """Return the app for `settings`; nothing is opened before its lifespan begins.

    Raises:
        StartupError: The data directory or the secret key cannot be used.
    """
    identities = Identities(
        load_keys(
            settings.secret_key.get_secret_value() if settings.secret_key else None,
            settings.data_dir,
        )
    )
    runtime = Runtime(settings)
    demo = build_page(settings, Handlers(runtime))
    own = FastAPI(lifespan=_lifespan(runtime), openapi_url=None, docs_url=None, redoc_url=None)
    _own_routes(own, runtime, identities)
    gr.mount_gradio_app(
        own,
        demo,
        path="/",
        theme=theme(),
        css=CSS,
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=1,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )
    policy = GuardPolicy(
        frame_ancestors=settings.frame_ancestors,
        allowed_origins=settings.allowed_origins,
        max_body=settings.max_body_bytes,
    )
    side = _GuardSide(runtime, demo)
    hooks = GuardHooks(side.disconnected, side.event_owner, side)
    guarded = Guard(PageScript(own), identities, policy, hooks)
    return Application(guarded, demo, runtime, demo.app)


def _lifespan(runtime: Runtime) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with runtime.running():
            yield

    return lifespan


def _own_routes(own: FastAPI, runtime: Runtime, identities: Identities) -> None:
    @own.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @own.get("/readyz")
    async def readyz() -> Response:
        ready = await runtime.ready()
        model = "demo" if runtime.settings.demo else "configured"
        status = "ready" if ready else "not ready"
        return JSONResponse({"status": status, "model": model}, 200 if ready else 503)

    @own.get("/visitor")
    async def visitor(request: Request) -> Response:
        # With the cookie the page needs no token, and gets none that a script could leak.
        principal = request.scope.get(PRINCIPAL)
        if "x-cmw-visitor" not in request.headers and isinstance(principal, Principal):
            return JSONResponse({"cookie": True, "token": None})
        kept = principal if isinstance(principal, Principal) else identities.new_visitor()
        return JSONResponse({"cookie": False, "token": identities.sign(kept, "header")})

    @own.get("/visitor.js")
    async def visitor_js() -> Response:
        return FileResponse(
            STATIC / "visitor.js",
            media_type="text/javascript",
            headers={"cache-control": "no-cache"},
        )


class _GuardSide:
    """The app's side of the guard's hooks."""

    def __init__(self, runtime: Runtime, demo: gr.Blocks) -> None:
        self._runtime = runtime
        self._demo = demo
        self._queue = demo._queue  # noqa: SLF001 (Gradio gives no other way to its events)
        self._turns = {
            index
            for index, fn in demo.fns.items()
            if fn.api_name in ("send", "retry", "edit", "chat")
        }

    async def disconnected(self, key: SessionKey, principal: Principal, channel: Channel) -> None:
        registry = self._runtime.registry
        if channel == "page":
            await registry.release(key, principal)
            self._forget(key)
            return
        session = registry.find(key, principal)
        if session is not None and session.turn is not None:
            session.turn.stop()

    def event_owner(self, event_id: str) -> str | None:
        event = self._queue.event_ids_to_events.get(event_id)
        return event.session_hash if event is not None else None

    def refusal(self, fn_index: object) -> UserError | None:
        if fn_index not in self._turns:
            return None
        try:
            return self._runtime.chat.refusal()
        except UserError as error:
            return error

    def _forget(self, key: SessionKey) -> None:
        # Gradio keeps these for every session it ever saw.
        self._queue.pending_messages_per_session.pop(key.value, None)
        self._queue.pending_event_ids_session.pop(key.value, None)
        holder = self._demo.state_holder
        with holder.lock:
            holder.session_data.pop(key.value, None)
            holder.time_last_used.pop(key.value, None)


class PageScript:
    """Puts the app's script in front of Gradio's, at the top of the page's head.

    Gradio adds a custom head only after its own script has begun to fetch.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        plain = [(k, v) for k, v in scope["headers"] if k not in (b"accept-encoding", b"range")]
        start: Message = {}
        body = bytearray()

        async def buffered(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            page = re.sub(
                rb"(<base [^>]*>)", lambda m: m.group(1) + SCRIPT_TAG, bytes(body), count=1
            )
            # A HEAD answer has headers alone; there is no body to count.
            headers = [(k, v) for k, v in start["headers"] if k != b"content-length"]
            if body:
                headers.append((b"content-length", str(len(page)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": page})

        await self._app({**scope, "headers": plain}, receive, buffered)

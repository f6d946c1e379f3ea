"""The ASGI app of all HTTP channels; the guard passes it the requests to their routes."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.channels.api_router import add_rest
from cmw_agent.channels.common.api_keys import Keys, UnauthorizedError
from cmw_agent.channels.common.body_limits import BoundedBodies, EarlyResponse
from cmw_agent.channels.common.callers import Callers
from cmw_agent.channels.common.problems import INTERFACES, error_response_at
from cmw_agent.channels.embed.routes import EmbedRoutes
from cmw_agent.channels.rest.dependencies import ConversationLookup, to_user_error
from cmw_agent.channels.rest.messages import Rest
from cmw_agent.channels.whatsapp.authentication import AnyOf, Authentication, BodySignature
from cmw_agent.channels.whatsapp.bridges.choice import bridge_of, secrets_of
from cmw_agent.channels.whatsapp.refusals import Refusals
from cmw_agent.channels.whatsapp.routes import CLOSED, UNSIGNED, WhatsApp
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import NotFoundError, UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Identities
from cmw_agent.language.request_language import request_language
from cmw_agent.runtime.runtime import Runtime

if TYPE_CHECKING:
    from cmw_agent.channels.mcp.routes import McpRoutes

log = get_logger(__name__)

BASE64 = 4 / 3  # a media message's bytes for each of its file's, from a bridge
CLOUD_BYTES = 1_000_000  # of a delivery by Meta, which holds no media
# Bodies that may hold pictures or a recording, for holders of a key alone.
RECORDING = "/v1/audio/transcriptions"
LARGE = frozenset({"/v1/chat/completions", "/v1/responses", "/v1/embeddings", RECORDING})
IMPORT = re.compile(r"/api/chat/[^/]+/sessions/[^/]+/import")
INCOMING = re.compile(r"/whatsapp/incoming(?:/([^/]+))?")


@dataclass(frozen=True, slots=True)
class Channels:
    """The app, and what it does beside answering requests."""

    app: FastAPI
    whatsapp: WhatsApp
    mcp: "McpRoutes | None" = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do that for the block, inside of which the services are open."""
        mcp = self.mcp.running() if self.mcp is not None else contextlib.nullcontext()
        async with self.whatsapp.running(), mcp:
            yield


def open_channels(services: Runtime, identities: Identities) -> Channels:
    """Return the channels; nothing is opened before the process's lifespan begins.

    Args:
        services: The live parts of the process.
        identities: Signs the tokens of visitors of websites.

    Raises:
        StartupError: The settings name an agent that is not there.
    """
    app = FastAPI(title="CMW Agent", openapi_url=None, docs_url=None, redoc_url=None)
    for kind in (UserError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _render)
    settings = services.settings
    keys, refusals = Keys(settings.keys, settings.whitespace_seconds), Refusals()
    max_bytes = partial(_max_bytes, settings, keys, whatsapp_senders(settings))
    render_error = partial(_render_early, keys, refusals)
    app.add_middleware(
        BoundedBodies,
        max_bytes=max_bytes,
        budgets=services.budgets,
        small=services.settings.max_body_bytes,
        render_error=render_error,
        is_streamed=_is_import,
        takes_form=partial(_takes_form, keys),
    )
    app.add_middleware(_UnexpectedErrors, render_error=render_error)
    callers = Callers(services, identities)
    add_rest(app, services, callers, keys)
    EmbedRoutes(services, callers, identities).register(app)
    whatsapp = WhatsApp(services, callers, refusals)
    whatsapp.register(app)
    mcp = _mcp_routes(services, callers, identities, keys) if settings.mcp_server == "on" else None
    if mcp is not None:
        mcp.register(app)
    return Channels(app, whatsapp, mcp)


def _mcp_routes(
    services: Runtime, callers: Callers, identities: Identities, keys: Keys
) -> "McpRoutes":
    # The SDK takes 30 MB, which an app without the server saves.
    from cmw_agent.channels.mcp.answering import McpAnswers  # noqa: PLC0415
    from cmw_agent.channels.mcp.routes import McpRoutes  # noqa: PLC0415

    lookup = ConversationLookup(services, callers)
    answers = McpAnswers(lookup, Rest(lookup), identities)
    return McpRoutes(answers, keys, services.settings.max_body_bytes)


def whatsapp_senders(settings: Settings) -> Authentication:
    """Return how deliveries of the bridge, and of Meta, are recognised."""
    meta = BodySignature(secrets_of(settings))
    return AnyOf(meta, bridge_of(settings).authentication)


def _max_bytes(settings: Settings, keys: Keys, senders: Authentication, scope: Scope) -> int:
    """Return how many bytes a request may have.

    Raises:
        UserError: None: the channel is closed, or the request bears no signature or secret.
    """
    if scope["path"] in LARGE:
        has_key = keys.knows(Request(scope), "v1")
        return _with_file(settings) if has_key else settings.max_body_bytes
    match = INCOMING.fullmatch(scope["path"])
    if match is None:
        return settings.max_body_bytes
    if settings.whatsapp_secret is None:
        raise NotFoundError(CLOSED)
    if not senders.may_read(Headers(scope=scope), match[1] or ""):
        raise UnauthorizedError(UNSIGNED)
    if settings.whatsapp_bridge_url is None and not settings.whatsapp_inline:
        return max(settings.max_body_bytes, CLOUD_BYTES)
    return _with_file(settings)


def _with_file(settings: Settings) -> int:
    return settings.max_body_bytes + int(settings.max_file_bytes * BASE64)


def _is_import(scope: Scope) -> bool:
    """Whether a request brings an export file, which is written to the disk as it comes."""
    return IMPORT.fullmatch(scope["path"]) is not None


def _takes_form(keys: Keys, scope: Scope) -> bool:
    """Whether a request may bring a form: it bears a key, which no page of another site can send."""
    return scope["path"] == RECORDING and keys.knows(Request(scope), "v1")


async def _render(request: Request, error: Exception) -> Response:
    language = request_language(request.scope)
    return error_response_at(request.scope["path"], to_user_error(error), language)


def _render_early(keys: Keys, refusals: Refusals, scope: Scope, error: UserError) -> Response:
    """Return the response for an error that was raised before any route had the request."""
    if INCOMING.fullmatch(scope["path"]):
        refusals.count(error.status)
    response = error_response_at(scope["path"], error, request_language(scope))
    if scope["path"].startswith(INTERFACES):
        response.headers["Vary"] = "Origin"
        response.headers.update(keys.readable(Headers(scope=scope).get("origin")))
    return response


class _UnexpectedErrors:
    """ASGI middleware that logs unexpected errors without their texts and answers with a problem."""

    def __init__(self, app: ASGIApp, render_error: EarlyResponse) -> None:
        self._app = app
        self._render_error = render_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except Exception as error:  # noqa: BLE001 (the caller gets its id, the log its cause)
            user_error = UserError()
            log.error(  # noqa: TRY400 (its text is not for the log)
                "channel failed", error_id=user_error.error_id, cause=describe_exception(error)
            )
            if not has_started:
                await self._render_error(scope, user_error)(scope, receive, send)

"""Builds the app: guard, own routes, the page, its event server, and their lifespan."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cmw_agent.agent.access import VISITOR
from cmw_agent.agent.own.definition import Agent
from cmw_agent.channels.app import Channels, open_channels
from cmw_agent.channels.parties import Parties, Party
from cmw_agent.config.look import Look
from cmw_agent.config.settings import Settings, SettingsError, variable
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Identities, Principal, SessionKey, page_name
from cmw_agent.identity.secret_key import load_keys
from cmw_agent.language import languages
from cmw_agent.language.request_language import request_language
from cmw_agent.llm.catalog import import_model_class
from cmw_agent.llm.visitor_keys import key_page
from cmw_agent.observability.metrics_route import MetricsRoute
from cmw_agent.observability.setup import ProcessObservers
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.api.answers import AnswerRoutes
from cmw_agent.web.api.approvals import ApprovalRoutes
from cmw_agent.web.api.connections import ConnectionRoutes
from cmw_agent.web.api.consents import UserConsentRoutes
from cmw_agent.web.api.conversations import HistoryRoutes
from cmw_agent.web.api.files import FileRoutes
from cmw_agent.web.api.imports import ImportRoutes
from cmw_agent.web.api.isolation import IsolationRoutes
from cmw_agent.web.api.look import LookRoutes
from cmw_agent.web.api.prompts import PromptRoutes
from cmw_agent.web.api.schedules import ScheduleRoutes
from cmw_agent.web.api.servers import ServerRoutes
from cmw_agent.web.api.shares import ShareRoutes
from cmw_agent.web.api.statistics_page import AdminRoutes
from cmw_agent.web.api.suggestions import SuggestionRoutes
from cmw_agent.web.api.usage import UsageRoutes
from cmw_agent.web.api.versions import VersionRoutes
from cmw_agent.web.api.voice import VoiceRoutes
from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)
from cmw_agent.web.gradio_transport.event_server import EventServer
from cmw_agent.web.gradio_transport.page_cache import Pages
from cmw_agent.web.login.accounts import Accounts
from cmw_agent.web.login.consent import ConsentRoutes
from cmw_agent.web.login.routes import LoginRoutes
from cmw_agent.web.page.app_files import AppFiles
from cmw_agent.web.page.built_files import BuiltFiles
from cmw_agent.web.page.bundles import STATIC, bundles
from cmw_agent.web.page.components import build_page, page_events
from cmw_agent.web.page.document import PageDocument
from cmw_agent.web.page.handlers import Handlers
from cmw_agent.web.page.language_files import LanguageFiles
from cmw_agent.web.page.operator_part import PagePart, unbundled
from cmw_agent.web.page.page_texts import PageTexts
from cmw_agent.web.page.panel_styles import PANELS
from cmw_agent.web.page.share_styles import SHARES
from cmw_agent.web.page.theme import CSS, theme
from cmw_agent.web.security.allowed_hosts import AllowedHosts
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL, Guard, GuardPolicy, admit_new_visitor
from cmw_agent.web.security.proxy_headers import ProxyHeaders, TrustedProxies
from cmw_agent.web.security.proxy_mistakes import ProxyMistakes
from cmw_agent.web.security.root_path import RootPath, hides_route
from cmw_agent.web.security.route_allowlist import API, RouteTable
from cmw_agent.web.security.visitor_cookie import HEADER, VisitorTokens
from memory.records import ConsentKind

import gradio as gr  # isort: skip

if TYPE_CHECKING:
    from cmw_agent.web.login.oidc import Provider

HIDES_ROUTE = "{} must begin as no route of the app does, not {!r}"


@dataclass(frozen=True, slots=True)
class Application:
    """The app as it is served, itself an ASGI app, and its parts for tests and tools."""

    asgi: ASGIApp
    guard: Guard
    demo: gr.Blocks
    runtime: Runtime
    gradio: FastAPI
    own: Starlette
    events: EventServer
    channels: FastAPI
    parties: Parties

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a connection or the lifespan (ASGI)."""
        await self.asgi(scope, receive, send)

    def party(self, channel: str, party_id: str, agent_id: str | None = None) -> Party:
        """Return a person of a channel of the operator's own, such as a webhook.

        Who it is, the caller must have verified; the conversation, its memory and its limits are
        those of this person alone. The same three values always give the same person.

        Args:
            channel: The channel's name: 1 to 40 small letters, digits, - and _.
            party_id: The channel's id of the person.
            agent_id: The agent that answers, which must be open to everyone; None for the first.

        Raises:
            ValueError: The name or the id cannot be one.
            UserError: There is no such agent for everyone.
        """
        return self.parties.party(channel, party_id, agent_id)


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes of the app's parts.

    The isolation tests replace one by a broken class and must see their oracle fail: a check
    that cannot fail proves nothing.
    """

    identities: type[Identities] = Identities
    runtime: type[Runtime] = Runtime
    handlers: type[Handlers] = Handlers
    guard: type[Guard] = Guard


def build_app(
    settings: Settings,
    parts: Parts = Parts(),
    agents: Sequence[Agent] = (),
    *,
    page_part: PagePart | None = None,
) -> Application:
    """Return the app for `settings`; nothing is opened before its lifespan begins.

    Args:
        settings: As loaded at start.
        parts: The classes of the app's parts.
        agents: The agents that are defined in Python.
        page_part: HTML or components of the operator's, which stand beside the chat; None for none.

    Raises:
        StartupError: The data directory, the secret key, the root path or the part cannot be used.
    """
    if hides_route(settings.root_path):
        raise SettingsError([HIDES_ROUTE.format(variable("root_path"), settings.root_path)])
    configured = settings.secret_key.get_secret_value() if settings.secret_key else None
    keys = load_keys(configured, settings.data_dir)
    identities = parts.identities(keys)
    watching = ProcessObservers(settings)
    runtime = parts.runtime(settings, watching.observer, agents)
    if not all(profile.is_demo for profile in runtime.models.by_id.values()):
        import_model_class()  # now, while no event loop waits for it
    watching.metrics.read_from(lambda: runtime.live_sessions, lambda: runtime.running_turns)
    handlers = parts.handlers(runtime)
    public = runtime.agents.usable(VISITOR)
    texts = PageTexts(
        runtime.models,
        public,
        settings.look,
        has_voice=settings.voice_input,
        suggests=settings.suggestions == "on",
    )
    demo = build_page(runtime.models, handlers, texts, settings.look, page_part)
    side = _EventSide(runtime)
    events = EventServer(
        page_events(demo, handlers),
        refusal=side.refusal,
        admit=side.admit,
        page_closed=side.page_closed,
        budgets=runtime.budgets,
        changes=runtime.changes,
    )
    accounts = Accounts(runtime, events, keys)
    provider = _provider(settings) if settings.accounts else None
    embedded = settings.frame_ancestors != "'self'"
    visitors = VisitorTokens(identities, embedded=embedded)
    consent = ConsentRoutes(
        identities, visitors, accounts, embedded=embedded, is_open=settings.accounts
    )
    login = LoginRoutes(provider, identities, visitors, accounts, consent, embedded=embedded)
    channels = open_channels(runtime, identities)
    runtime.deliver = channels.whatsapp.deliver
    built = BuiltFiles(has_gradio=not unbundled(demo))
    own = _own_app(runtime, identities, events, login, channels, watching)
    scripts = LanguageFiles(languages())
    own.router.routes.extend([*built.routes(), *scripts.routes()])
    page = _page_app(demo)
    policy = GuardPolicy(
        frame_ancestors=settings.frame_ancestors,
        microphone=settings.voice_input,
        allowed_origins=settings.allowed_origins,
        hosts=AllowedHosts.of(settings),
        max_body=settings.max_body_bytes,
    )
    document = PageDocument(
        public,
        settings.look,
        languages=languages(),
        language_files=scripts,
        texts=texts,
        built=built,
    )
    site = _Site(own, events, channels.app, Pages(page, document))
    is_live = accounts.is_live if settings.accounts else None
    guard = parts.guard(site, identities, policy, is_live, budgets=runtime.budgets)
    below = RootPath(guard, settings.root_path)
    parties = Parties(runtime, identities)
    front = ProxyHeaders(below, TrustedProxies.of(settings.trust_proxy))
    [mounted] = [
        route.app
        for route in page.routes
        if isinstance(route, Mount) and isinstance(route.app, FastAPI)
    ]
    return Application(front, guard, demo, runtime, mounted, own, events, channels.app, parties)


def _provider(settings: Settings) -> "Provider":
    # Its libraries take 10 MB, which an app without sign-in saves.
    from cmw_agent.web.login.oidc import Provider  # noqa: PLC0415

    return Provider(settings)


def _page_app(demo: gr.Blocks) -> FastAPI:
    """Return Gradio's app for the page: its files and its configuration.

    Its lifespan is never run, so Gradio's queue, which nothing uses, never starts.
    """
    page = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gr.mount_gradio_app(
        page,
        demo,
        path="/",
        theme=theme(),
        css=CSS + PANELS + SHARES,
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=1,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )
    return page


class _Site:
    """Routes each request that the guard has let through to the part that answers it."""

    def __init__(
        self, own: Starlette, events: EventServer, channels: ASGIApp, pages: ASGIApp
    ) -> None:
        self._own = own
        self._events = events
        self._channels = channels
        self._pages = pages
        self._routes = RouteTable()
        self._own_paths = {route.path for route in own.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self._own_paths:
            await self._own(scope, receive, send)
            return
        route = self._routes.find(scope["method"], scope["path"])
        if route is not None and route.access == "own":
            await self._channels(scope, receive, send)
            return
        if route is not None and route.template in self._own_paths:
            await self._own(scope, receive, send)
            return
        if route is not None and route.identity != "none":
            await self._events(scope, receive, send)
        else:
            await self._pages(scope, receive, send)


def _own_app(
    runtime: Runtime,
    identities: Identities,
    events: EventServer,
    login: LoginRoutes,
    channels: Channels,
    watching: ProcessObservers,
) -> Starlette:
    mistakes = ProxyMistakes(runtime.settings.allowed_origins)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with watching.running(), runtime.running(), channels.running():
            yield
            await events.close()

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        status = "draining" if runtime.is_draining else await runtime.readiness()
        code = 200 if status == "ready" else 503
        return JSONResponse({"status": status, "model": runtime.answered_by}, code)

    settings = runtime.settings
    keys = (
        {"needed": settings.needs_visitor_key, "page": key_page(settings)}
        if settings.visitor_keys != "off"
        else None
    )

    async def visitor(request: Request) -> Response:
        # With the cookie the page needs no token, and gets none that a script could leak:
        # only who has proved itself by header gets a token in return.
        principal, token = request.scope.get(PRINCIPAL), None
        has_cookie = isinstance(principal, Principal) and (
            identities.verify(request.headers.get(HEADER, ""), "header") is None
        )
        if principal is None and admit_new_visitor(runtime.budgets, request.scope):
            principal = identities.new_visitor()
        if principal is not None and not has_cookie:
            token = identities.sign(principal, "header")
        is_account = principal is not None and principal.kind == "account"
        mistake = mistakes.sentence(request, request.query_params.get("at", ""))
        return JSONResponse(
            {
                "cookie": has_cookie,
                "token": token,
                "name": page_name(principal),
                "account": is_account,
                "keys": keys,
                "mistake": request_language(request.scope).translate(mistake) if mistake else None,
            }
        )

    async def script(request: Request) -> Response:
        return FileResponse(STATIC / request.url.path[1:], media_type="text/javascript")

    async def startup_events(request: Request) -> Response:
        # Gradio's page asks for this before anything else, to start a queue.
        return JSONResponse(True)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/visitor", visitor),
            *(bundle.route() for bundle in bundles()),
            Route("/consent.js", script),
            MetricsRoute(watching.metrics, runtime.settings.metrics_token, _closed).route(),
            *AdminRoutes(
                runtime.settings, runtime.statistics, runtime.rated_answers, runtime.names_of
            ).routes(),
            *IsolationRoutes(runtime.settings.certificate).routes(),
            *login.routes(),
            *HistoryRoutes(
                lambda: runtime.history,
                runtime.agents,
                runtime.budgets,
                runtime.visited,
                lambda: runtime.chat.titles,
                accounts=runtime.settings.accounts,
                connections=runtime.settings.connections or runtime.has_mcp_servers,
                shares=runtime.settings.shares != "off",
            ).routes(),
            *ImportRoutes(lambda: runtime.imports, runtime.agents).routes(),
            *VersionRoutes(
                lambda: runtime.history,
                lambda: runtime.chat,
            ).routes(),
            *AnswerRoutes(lambda: runtime.history).routes(),
            *UserConsentRoutes(
                lambda: runtime.history, _offered_consents(runtime.settings)
            ).routes(),
            *ConnectionRoutes(
                lambda: runtime.connecting, identities, lambda: runtime.mcp_accounts
            ).routes(),
            *ApprovalRoutes(lambda: runtime.approval_service).routes(),
            *UsageRoutes(lambda: runtime.history).routes(),
            *LookRoutes(
                lambda: runtime.history, runtime.agents, runtime.models, runtime.settings.look
            ).routes(),
            *ScheduleRoutes(lambda: runtime.schedules).routes(),
            *PromptRoutes(
                lambda: runtime.prompts,
                lambda: runtime.commands,
                has_servers=runtime.has_mcp_servers,
            ).routes(),
            *ServerRoutes(
                lambda: runtime.mcp_offers, lambda: runtime.mcp_accounts, runtime.agents
            ).routes(),
            *SuggestionRoutes(lambda: runtime.chat).routes(),
            *VoiceRoutes(lambda: runtime.voice, lambda: runtime.chat, runtime.budgets).routes(),
            *AppFiles(_first_look(runtime)).routes(),
            *FileRoutes(lambda: runtime.files).routes(),
            *ShareRoutes(
                lambda: runtime.shares,
                lambda: runtime.chat,
                runtime.budgets,
                runtime.settings.shares,
            ).routes(),
            Route(f"{API}/startup-events", startup_events),
        ],
        lifespan=lifespan,
    )


def _offered_consents(settings: Settings) -> tuple[ConsentKind, ...]:
    """Return the consents that the operator has any use for."""
    records_content = settings.otlp_endpoint is not None and settings.trace_content
    consents: tuple[tuple[ConsentKind, bool], ...] = (
        ("ratings", bool(settings.admins)),
        ("traces", records_content),
    )
    return tuple(kind for kind, is_used in consents if is_used)


def _first_look(runtime: Runtime) -> Look:
    """Return the look of the page that names no agent."""
    first = next(iter(runtime.agents.usable(VISITOR)), None)
    return first.look if first is not None else runtime.settings.look


def _closed() -> Response:
    return JSONResponse({"detail": NOT_FOUND}, 404)


class _EventSide:
    """The event server's callbacks into the app."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def refusal(self, principal: Principal, address: str | None) -> UserError | None:
        try:
            return self._runtime.chat.refusal(principal, address)
        except UserError as error:
            return error

    async def admit(self, principal: Principal, address: str | None) -> None:
        await self._runtime.chat.admit(principal, address)

    async def page_closed(self, key: SessionKey, principal: Principal) -> None:
        with contextlib.suppress(UserError):
            registry = self._runtime.registry
            session = registry.find(key, principal)
            if session is not None and not principal.is_stored and await self._came_back(session):
                return
            await registry.release(key, principal)
            if session is not None and session.conversation_id is not None:
                await self._runtime.history.left(principal, session.conversation_id)

    async def _came_back(self, session: LiveSession) -> bool:
        """Wait until an ephemeral session's turns have ended: their rows go with the session.

        Returns:
            Whether the session was used meanwhile, and must stay.
        """
        used_at = session.used_at
        await session.leave_turns()
        await self._runtime.chat.unread_ended(session.principal)
        return session.used_at != used_at

"""The website that a request comes from, and the CORS headers of the response.

A browser names the site of the page that asks in ``Origin`` (Fetch standard, section 3.2), which
no page can change. Where a website shows the chat's own page in a frame, the requests' origin is
the chat's: the site is then the one that the browser named in ``Referer`` when it fetched the page,
signed into that page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from itsdangerous import BadSignature
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.agent.access import WIDGET
from cmw_agent.channels.common.callers import Callers, UnknownAgentError
from cmw_agent.channels.common.problems import problem
from cmw_agent.config.agent_profiles import SITE, AgentProfile
from cmw_agent.core.errors import UserError
from cmw_agent.core.origins import same_origin
from cmw_agent.identity.principals import TOKEN_SECONDS, Identities
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.runtime.runtime import Runtime

FRAME = "x-cmw-frame"  # brings what the chat's own page was signed with
OWN = "https://embed"  # with what follows, no origin that a browser names
PREFIX = "/embed/"
PREFLIGHT_SECONDS = "600"
NO_DOCUMENT = "default-src 'none'; frame-ancestors 'none'"


class ForeignSiteError(UserError):
    """The request comes from a page that the agent is not for, or from no page."""

    status = 403
    sentence = wording("This chat is not for this website.")


@dataclass(frozen=True, slots=True)
class Site:
    """A visitor's site: the origin that tokens are bound to, and the website's host if known."""

    origin: str
    domain: str | None


class Sites:
    """Tells the sites of an agent from all others.

    Args:
        services: The live parts of the process.
        callers: Knows the agents.
        identities: Signs the stamp of the chat's own page.
    """

    def __init__(self, services: Runtime, callers: Callers, identities: Identities) -> None:
        self._services = services
        self._callers = callers
        self._signer = identities.signer("embed.frame")

    def allows(self, agent_id: str, origin: str | None) -> bool:
        """Whether pages of `origin` may use an agent. None of them may use one that is not."""
        profile = self._services.agents.find(agent_id, WIDGET)
        return profile is not None and origin is not None and origin in profile.allowed_origins

    def of(self, request: Request, agent_id: str) -> Site:
        """Return the site that a request comes from.

        Raises:
            ForeignSiteError: The agent is not for it, or is not there.
            UnknownAgentError: The chat's own page asks for an agent that is not there any more.
        """
        origin = origin_of(request.headers)
        if origin is not None and self.allows(agent_id, origin):
            return Site(origin, urlsplit(origin).hostname)
        stamp = request.headers.get(FRAME)
        if stamp is None or not self._is_own(request, origin):
            raise ForeignSiteError
        framing = self._framing(stamp, self._callers.profile(agent_id, WIDGET))
        digest = sha256(framing.encode()).hexdigest()[:16] if framing else ""
        return Site(f"{OWN}#{digest}", urlsplit(framing).hostname if framing else None)

    def framing(self, request: Request, profile: AgentProfile) -> str:
        """Return the origin of the website whose page shows, or links to, the chat's own page.

        Empty where the browser does not say so, or names one that the agent is not for.

        Raises:
            UnknownAgentError: The agent is for its sites' pages alone, and this is none of them.
        """
        parts = urlsplit(request.headers.get("referer", ""))
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin in profile.allowed_origins:
            return origin
        if profile.access == SITE:
            raise UnknownAgentError
        return ""

    def stamp(self, profile: AgentProfile, framing: str) -> str:
        """Return what the chat's own page proves itself with."""
        return self._signer.sign(f"{profile.id}|{framing}").decode()

    def _framing(self, stamp: str, profile: AgentProfile) -> str:
        try:
            text = self._signer.unsign(stamp, max_age=TOKEN_SECONDS).decode()
        except (BadSignature, UnicodeError):
            raise ForeignSiteError from None
        agent_id, _, framing = text.partition("|")
        if agent_id != profile.id:
            raise ForeignSiteError
        if framing not in profile.allowed_origins and profile.access == SITE:
            raise ForeignSiteError
        return framing if framing in profile.allowed_origins else ""

    def _is_own(self, request: Request, origin: str | None) -> bool:
        """Whether a request comes from the chat's own page."""
        if origin is None:
            # Browsers leave the header out where a page only reads from its own origin.
            fetched = request.headers.get("sec-fetch-site", "same-origin")
            return request.method == "GET" and fetched == "same-origin"
        public = urlsplit(self._services.settings.public_url or "")
        if same_origin(origin, public.scheme, public.netloc):
            return True
        return same_origin(origin, request.url.scheme, request.headers.get("host"))


class CrossSiteHeaders:
    """ASGI middleware that tells browsers which pages may read an embed's answers.

    Answers under `/embed/` that bring no policy of their own are never shown as documents.

    Args:
        app: The app behind it.
        sites: Knows the agents' sites.
    """

    def __init__(self, app: ASGIApp, sites: Sites) -> None:
        self._app = app
        self._sites = sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        origin = origin_of(Headers(scope=scope))
        agent_id = scope["path"].removeprefix(PREFIX).partition("/")[0]
        cors_headers = (
            _cors_headers(origin) if origin and self._sites.allows(agent_id, origin) else {}
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(cors_headers)
                headers.add_vary_header("Origin")
                headers.setdefault("content-security-policy", NO_DOCUMENT)
            await send(message)

        if scope["method"] == "OPTIONS":
            response = (
                _preflight()
                if cors_headers
                else problem(ForeignSiteError(), request_language(scope))
            )
            await response(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def origin_of(headers: Headers) -> str | None:
    """Return the one origin that a request names; None for none, and for more than one."""
    origins = headers.getlist("origin")
    return origins[0] if len(origins) == 1 else None


def _cors_headers(origin: str) -> Mapping[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "Retry-After",
        "cross-origin-resource-policy": "cross-origin",
    }


def _preflight() -> Response:
    headers = {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": PREFLIGHT_SECONDS,
    }
    return Response(status_code=204, headers=headers)

"""The allow-list: the routes that the guard lets through.

Every other route is answered with 404 before Gradio sees it; see `closed_routes`.
"""

import re
from dataclasses import dataclass
from typing import Literal

Identity = Literal["none", "body", "query", "path"]
RouteAccess = Literal["page", "own"]
Takes = Literal["json", "file"]
Caching = Literal[
    "no-store", "private, no-store", "no-cache", "public, max-age=31536000, immutable"
]
FOREVER: Caching = "public, max-age=31536000, immutable"  # the file's name holds its hash
API = "/gradio_api"
FILE_NAME = "x-file-name"  # the header of an upload


@dataclass(frozen=True, slots=True)
class Route:
    """One open route.

    Attributes:
        method: The HTTP method.
        template: The path, with its parameters as Starlette's routes write them.
        identity: Where the request carries Gradio's session hash, if it does.
        caching: The ``Cache-Control`` of a successful response.
        access: ``page`` for the page's routes. The channels' routes have ``own``: they
            authenticate callers by a key, a token or a signature instead of the page's cookie, have
            their own rules for other sites' pages and for forms, and belong to another app.
        takes: What a request that changes something must carry: a body declared as JSON, or a file
            with its name in a header. No form can send either; other requests are answered 415.
        own_policy: Whether the response's Content-Security-Policy, where it has one, replaces the
            page's, which allows more.
        slashes_after: The beginning of the path behind which a parameter's slashes may be encoded, as
            clients encode them in names; empty where an encoded slash is refused.
        for_all_sites: Whether pages of other sites may load what it answers, which is then the
            same for everybody.
    """

    method: str
    template: str
    identity: Identity = "none"
    caching: Caching = "no-store"
    access: RouteAccess = "page"
    takes: Takes = "json"
    own_policy: bool = False
    slashes_after: str = ""
    for_all_sites: bool = False

    @property
    def changes(self) -> bool:
        """Whether a request to this route may change something."""
        return self.method not in ("GET", "OPTIONS")

    def is_form(self, declared: str, file_name: str | None) -> bool:
        """Return whether a form, or a page without a preflight, could send these headers.

        Args:
            declared: The media type that Content-Type names; empty where it is absent.
            file_name: The value of the header `FILE_NAME`.
        """
        if not self.changes:
            return False
        if self.takes == "file":
            return file_name is None
        return declared != "application/json"

    @property
    def pattern(self) -> re.Pattern[str]:
        """A regular expression that matches the whole paths of this route."""
        tail = re.sub(r"\\{[a-z_]+:path\\}", r".+", re.escape(self.template))
        return re.compile(re.sub(r"\\{[a-z_]+\\}", r"[^/]+", tail))


def _own(
    *methods: str, template: str, caching: Caching = "no-store", slashes_after: str = ""
) -> tuple[Route, ...]:
    return tuple(
        Route(m, template, caching=caching, access="own", slashes_after=slashes_after)
        for m in methods
    )


_CHAT = "/api/chat/{agent_id}"
CHANNEL_ROUTES: tuple[Route, ...] = (
    # the REST interface, authenticated by its keys
    *_own("GET", template="/api/openapi.json"),
    *_own("GET", template="/api/docs"),
    *_own("GET", template="/api/docs/{name}", caching="no-cache"),
    *_own("POST", "OPTIONS", template=f"{_CHAT}/message"),
    *_own("GET", "POST", "OPTIONS", template=f"{_CHAT}/sessions"),
    *_own("GET", "PATCH", "DELETE", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}"),
    *_own("POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/end"),
    *_own("GET", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/export"),
    *_own("POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/import"),
    *_own("GET", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/files/{{file_id}}"),
    *_own("GET", "POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/approvals"),
    *_own("GET", "POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/shares"),
    *_own("DELETE", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/shares/{{share_id}}"),
    *(
        route
        for change in ("retry", "edit", "select", "fork", "rate")
        for route in _own(
            "POST",
            "OPTIONS",
            template=f"{_CHAT}/sessions/{{session_id}}/messages/{{seq}}/{change}",
        )
    ),
    *_own("POST", "OPTIONS", template="/v1/chat/completions"),
    *_own("POST", "OPTIONS", template="/v1/responses"),
    *_own("POST", "OPTIONS", template="/v1/embeddings"),
    *_own("POST", "OPTIONS", template="/v1/audio/transcriptions"),
    *_own("GET", "OPTIONS", template="/v1/models"),
    *_own("GET", "OPTIONS", template="/v1/models/{model_id:path}", slashes_after="/v1/models/"),
    # the agents as tools of an MCP server, by the same keys
    *_own("GET", "POST", "DELETE", template="/mcp"),
    # other websites, authenticated by their visitors' tokens
    *_own("GET", template="/widget.js", caching="no-cache"),
    *_own("GET", template="/embed/{agent_id}"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/visit"),
    *_own("GET", "DELETE", "OPTIONS", template="/embed/{agent_id}/messages"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/message"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/approvals"),
    # WhatsApp, authenticated by signature; sending, by a key of the REST interface
    *_own("GET", "POST", template="/whatsapp/incoming"),
    *_own("POST", template="/whatsapp/incoming/{token}"),
    *_own("GET", template="/whatsapp/status"),
    *_own("POST", template="/whatsapp/send"),
)

OPEN_ROUTES: tuple[Route, ...] = (
    *CHANNEL_ROUTES,
    # the app's own
    Route("GET", "/healthz"),
    Route("GET", "/readyz"),
    # for this machine, or with the token of the settings; to others it answers like a closed route
    Route("GET", "/metrics"),
    Route("GET", "/visitor"),
    Route("GET", "/first.js", caching="no-cache"),
    Route("GET", "/page.js", caching="no-cache"),
    Route("GET", "/page.css", caching="no-cache"),
    # also for websites' widgets
    Route("GET", "/built/{name}", caching=FOREVER, for_all_sites=True),
    Route("GET", "/language/{name}", caching=FOREVER, for_all_sites=True),
    Route("GET", "/login"),
    Route("GET", "/login/callback"),
    Route("GET", "/login/consent"),
    Route("POST", "/login/consent"),
    Route("GET", "/consent.js", caching="no-cache"),
    Route("POST", "/logout"),
    # a visitor's own conversations
    Route("GET", "/history"),
    Route("GET", "/history/search"),
    Route("GET", "/history/export"),
    Route("GET", "/history/everything"),
    Route("POST", "/history/rename"),
    Route("POST", "/history/arrange"),
    Route("POST", "/history/delete"),
    Route("POST", "/history/restore"),
    Route("POST", "/history/forget"),
    Route("GET", "/history/import"),
    Route("POST", "/history/import", takes="file"),
    Route("POST", "/history/import/dismiss"),
    Route("GET", "/history/versions"),
    Route("GET", "/history/answer"),
    Route("POST", "/history/rating"),
    Route("POST", "/history/select"),
    Route("POST", "/history/fork"),
    # files, each served to its owner alone
    Route("POST", "/files", takes="file"),
    Route("POST", "/files/remove"),
    Route("GET", "/files/{file_id}"),
    # accounts of other services, tool approvals, token usage
    Route("GET", "/connections"),
    Route("POST", "/connections/link"),
    Route("POST", "/connections/disconnect"),
    Route("POST", "/connections/choose"),
    Route("GET", "/connections/connect"),
    Route("GET", "/connections/signed-in"),
    Route("GET", "/connected"),
    Route("GET", "/connected/{state}"),
    Route("GET", "/approvals"),
    Route("POST", "/approvals"),
    Route("GET", "/usage"),
    Route("GET", "/look"),
    Route("GET", "/schedules"),
    Route("POST", "/schedules/cancel"),
    Route("GET", "/suggestions"),
    # what is said into the page's microphone
    Route("POST", "/transcriptions", takes="file"),
    # saved prompts, and the commands that the page offers
    Route("GET", "/prompts"),
    Route("POST", "/prompts/create"),
    Route("POST", "/prompts/update"),
    Route("POST", "/prompts/delete"),
    # prompts and resources of MCP servers
    Route("GET", "/servers/offers"),
    Route("POST", "/servers/prompt"),
    Route("POST", "/servers/resource"),
    Route("POST", "/servers/add"),
    Route("POST", "/servers/remove"),
    # links to snapshots of conversations: an owner's list, and what whoever has a link reads
    Route("GET", "/shares"),
    Route("POST", "/shares/create"),
    Route("POST", "/shares/revoke"),
    Route("GET", "/share/{share_id}", caching="private, no-store", own_policy=True),
    Route("GET", "/share/{share_id}/files/{number}", caching="private, no-store"),
    Route("POST", "/share/{share_id}/continue"),
    # what one lets the operator do
    Route("GET", "/consents"),
    Route("POST", "/consents"),
    # for those whom the settings name; to others it answers like a closed route
    Route("GET", "/admin/statistics"),
    Route("GET", "/admin/ratings"),
    # what was proved of this deployment's isolation: the same for everybody
    Route("GET", "/isolation"),
    Route("GET", "/isolation/certificate.json"),
    Route("GET", "/isolation/badge.svg", caching="no-cache", for_all_sites=True),
    # the page and its files
    Route("GET", "/"),
    Route("GET", "/config"),
    Route("GET", "/theme.css", caching="no-cache"),
    Route("GET", f"{API}/theme.css", caching="no-cache"),
    Route("GET", "/assets/{path:path}", caching=FOREVER),
    Route("GET", "/static/{path:path}", caching="no-cache"),
    Route("GET", "/favicon.ico", caching="no-cache"),
    # an installed app: nothing of any user
    Route("GET", "/apple-touch-icon.png", caching="no-cache"),
    Route("GET", "/manifest.json", caching="no-cache"),
    Route("GET", "/sw.js", caching="no-cache"),
    Route("GET", "/offline.html", caching="no-cache"),
    Route("GET", "/robots.txt"),
    Route("GET", f"{API}/info"),
    Route("GET", f"{API}/startup-events"),
    # a page whose connection broke polls this until it succeeds, and loads itself again
    Route("GET", f"{API}/app_id"),
    # requests that carry a session hash
    Route("POST", f"{API}/queue/join", "body"),
    Route("POST", f"{API}/cancel", "body"),
    Route("GET", f"{API}/queue/data", "query"),
    Route("GET", f"{API}/heartbeat/{{session_hash}}", "path"),
)

FIRST_PARTS = frozenset(route.template.split("/")[1] for route in OPEN_ROUTES) - {""}


class RouteTable:
    """Finds the open route of a request; a path without parameters costs one dictionary look-up."""

    def __init__(self, routes: tuple[Route, ...] = OPEN_ROUTES) -> None:
        self._exact = {(r.method, r.template): r for r in routes if "{" not in r.template}
        self._patterns = [(r.method, r.pattern, r) for r in routes if "{" in r.template]

    def find(self, method: str, path: str) -> Route | None:
        """Return the open route for `method` and `path`, or None when it is closed."""
        method = "GET" if method == "HEAD" else method
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact
        for route_method, pattern, route in self._patterns:
            if route_method == method and pattern.fullmatch(path):
                return route
        return None

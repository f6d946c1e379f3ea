"""Every route of the app, judged.

`OPEN` lists what the guard lets through; whatever is not listed is answered 404
before Gradio sees it. `CLOSED` lists the other routes that Gradio offers, so that a
test can tell a route that was judged from one that an upgrade brought in.
"""

import re
from dataclasses import dataclass
from typing import Literal

Identity = Literal["none", "body", "query", "path"]
Access = Literal["page", "own"]
Takes = Literal["json", "file"]
Caching = Literal["no-store", "no-cache", "public, max-age=31536000, immutable"]
FOREVER: Caching = "public, max-age=31536000, immutable"  # the file's name holds its hash
API = "/gradio_api"
FILE_NAME = "x-file-name"  # the header of an upload


@dataclass(frozen=True, slots=True)
class Route:
    """One open route.

    `identity` says where the request carries Gradio's session hash, if it does;
    `caching` is the ``Cache-Control`` of a whole answer.
    `takes` says what a request that changes something must bring: JSON that is declared so, or
    a file with its name in a header; no form can send either, and all else is answered 415.
    `template` is the path as the app's own route table writes it. Routes whose `access` is
    ``own`` know their callers by something else than the page's cookie (a key, a token, a
    signature), answer other sites' pages and refuse forms by rules of their own, and are another
    app's.
    """

    method: str
    template: str
    identity: Identity = "none"
    caching: Caching = "no-store"
    access: Access = "page"
    takes: Takes = "json"

    @property
    def changes(self) -> bool:
        """Whether a request to this route may change something."""
        return self.method not in ("GET", "OPTIONS")

    def is_form(self, declared: str, file_name: str | None) -> bool:
        """Return whether a form could have sent a request with these headers, or worse.

        Args:
            declared: The media type that Content-Type names; empty where it is absent.
            file_name: The value of the header that names an upload.
        """
        if not self.changes:
            return False
        if self.takes == "file":
            return file_name is None
        return declared != "application/json"

    @property
    def pattern(self) -> re.Pattern[str]:
        """A regular expression that matches whole request paths of this route."""
        tail = re.sub(r"\\{[a-z_]+:path\\}", r".+", re.escape(self.template))
        return re.compile(re.sub(r"\\{[a-z_]+\\}", r"[^/]+", tail))


def _own(*methods: str, template: str, caching: Caching = "no-store") -> tuple[Route, ...]:
    return tuple(Route(m, template, caching=caching, access="own") for m in methods)


_CHAT = "/api/chat/{agent_id}"
CHANNELS: tuple[Route, ...] = (
    # the REST interface, by its keys
    *_own("GET", template="/api/openapi.json"),
    *_own("GET", template="/api/docs"),
    *_own("GET", template="/api/docs/{name}", caching="no-cache"),
    *_own("POST", "OPTIONS", template=f"{_CHAT}/message"),
    *_own("GET", "POST", "OPTIONS", template=f"{_CHAT}/sessions"),
    *_own("GET", "DELETE", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}"),
    *_own("POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/end"),
    *_own("GET", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/export"),
    *_own("GET", "POST", "OPTIONS", template=f"{_CHAT}/sessions/{{session_id}}/approvals"),
    *_own("POST", "OPTIONS", template="/v1/chat/completions"),
    *_own("GET", "OPTIONS", template="/v1/models"),
    # other websites, by their visitors' tokens
    *_own("GET", template="/widget.js", caching="no-cache"),
    *_own("GET", template="/embed/{agent_id}"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/visit"),
    *_own("GET", "DELETE", "OPTIONS", template="/embed/{agent_id}/messages"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/message"),
    *_own("POST", "OPTIONS", template="/embed/{agent_id}/approvals"),
    # WhatsApp, by signature; a key of the REST interface sends
    *_own("GET", "POST", template="/whatsapp/incoming"),
    *_own("GET", template="/whatsapp/status"),
    *_own("POST", template="/whatsapp/send"),
)

OPEN: tuple[Route, ...] = (
    *CHANNELS,
    # the app's own
    Route("GET", "/healthz"),
    Route("GET", "/readyz"),
    # for this machine, or with the token of the settings; to others it answers as a closed one
    Route("GET", "/metrics"),
    Route("GET", "/visitor"),
    Route("GET", "/visitor.js", caching="no-cache"),
    Route("GET", "/markup.js", caching="no-cache"),
    Route("GET", "/login"),
    Route("GET", "/login/callback"),
    Route("GET", "/login/consent"),
    Route("POST", "/login/consent"),
    Route("GET", "/consent.js", caching="no-cache"),
    Route("POST", "/logout"),
    Route("GET", "/parts.js", caching="no-cache"),
    Route("GET", "/history.js", caching="no-cache"),
    # a visitor's own conversations
    Route("GET", "/history"),
    Route("GET", "/history/search"),
    Route("GET", "/history/export"),
    Route("GET", "/history/everything"),
    Route("POST", "/history/rename"),
    Route("POST", "/history/delete"),
    Route("POST", "/history/restore"),
    Route("POST", "/history/forget"),
    # files, each served to its owner alone
    Route("GET", "/files.js", caching="no-cache"),
    Route("GET", "/pictures.js", caching="no-cache"),
    Route("POST", "/files", takes="file"),
    Route("POST", "/files/remove"),
    Route("GET", "/files/{file_id}"),
    # accounts of other services, questions before a tool runs, what answers took
    Route("GET", "/connections.js", caching="no-cache"),
    Route("GET", "/connections"),
    Route("POST", "/connections/link"),
    Route("POST", "/connections/disconnect"),
    Route("GET", "/connections/connect"),
    Route("GET", "/connected"),
    Route("GET", "/connected/{state}"),
    Route("GET", "/approvals.js", caching="no-cache"),
    Route("GET", "/approvals"),
    Route("POST", "/approvals"),
    Route("GET", "/usage.js", caching="no-cache"),
    Route("GET", "/usage"),
    # for those whom the settings name; to others it answers as a closed one does
    Route("GET", "/admin/statistics"),
    # the page and what it is made of
    Route("GET", "/"),
    Route("GET", "/config"),
    Route("GET", "/theme.css", caching="no-cache"),
    Route("GET", f"{API}/theme.css", caching="no-cache"),
    Route("GET", "/assets/{path:path}", caching=FOREVER),
    Route("GET", "/static/{path:path}", caching="no-cache"),
    Route("GET", "/favicon.ico", caching="no-cache"),
    Route("GET", "/manifest.json"),
    Route("GET", "/robots.txt"),
    Route("GET", f"{API}/info"),
    Route("GET", f"{API}/startup-events"),
    # a page whose connection broke asks for this until it is answered, and loads itself again
    Route("GET", f"{API}/app_id"),
    # what carries a session
    Route("POST", f"{API}/queue/join", "body"),
    Route("POST", f"{API}/cancel", "body"),
    Route("GET", f"{API}/queue/data", "query"),
    Route("GET", f"{API}/heartbeat/{{session_hash}}", "path"),
)

CLOSED: frozenset[str] = frozenset(
    {
        # trailing-slash twins of open routes
        "/config/",
        f"{API}/info/",
        f"{API}/app_id/",
        # pages, Gradio's own log-in and developer tools that the app does not use
        "/login/",
        "/svelte/{path:path}",
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/{key}",
        "/pwa_icon",
        "/pwa_icon/{size}",
        f"{API}/user",
        f"{API}/user/",
        f"{API}/login_check",
        f"{API}/login_check/",
        f"{API}/token",
        f"{API}/token/",
        f"{API}/dev/reload",
        f"{API}/runs",
        f"{API}/runs/",
        f"{API}/run-history/connect",
        f"{API}/run-history/buckets",
        f"{API}/run-history/records",
        f"{API}/run-history/records/{{endpoint}}/{{record_id}}/assets/{{asset_id}}",
        "/openapi.json",
        f"{API}/openapi.json",
        f"{API}/queue/status",
        f"{API}/vibe-edit",
        f"{API}/vibe-edit/",
        f"{API}/undo-vibe-edit",
        f"{API}/undo-vibe-edit/",
        f"{API}/vibe-code",
        f"{API}/vibe-code/",
        f"{API}/vibe-starter-queries",
        f"{API}/vibe-starter-queries/",
        # ways to a session or its state that rewriting does not reach
        f"{API}/deep_link",
        f"{API}/run/{{api_name}}",
        f"{API}/run/{{api_name}}/",
        f"{API}/api/{{api_name}}",
        f"{API}/api/{{api_name}}/",
        f"{API}/call/v2/{{api_name}}",
        f"{API}/call/v2/{{api_name}}/",
        f"{API}/call/{{api_name}}",
        f"{API}/call/{{api_name}}/",
        f"{API}/call/v2/{{api_name}}/{{event_id}}",
        f"{API}/call/{{api_name}}/{{event_id}}",
        f"{API}/component_server",
        f"{API}/component_server/",
        f"{API}/reset",
        f"{API}/reset/",
        f"{API}/stream/{{event_id}}",
        f"{API}/stream/{{event_id}}/close",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist.m3u8",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/{{segment_id}}.{{ext}}",
        f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist-file",
        # files, which Gradio gives to anyone who has the path
        f"{API}/file={{path_or_url:path}}",
        f"{API}/file/{{path:path}}",
        f"{API}/proxy={{url_path:path}}",
        f"{API}/upload",
        f"{API}/upload_progress",
        f"{API}/process_recording",
        f"{API}/custom_component/{{id}}/{{environment}}/{{type}}/{{file_name}}",
    }
)


class RouteTable:
    """Finds the open route of a request; exact paths cost one dictionary look-up."""

    def __init__(self, routes: tuple[Route, ...] = OPEN) -> None:
        self._exact = {(r.method, r.template): r for r in routes if "{" not in r.template}
        self._patterns = [(r.method, r.pattern, r) for r in routes if "{" in r.template]

    def find(self, method: str, path: str) -> Route | None:
        """Return the open route for `method` and `path`, or None when it is closed."""
        method = "GET" if method == "HEAD" else method
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact
        for wanted, pattern, route in self._patterns:
            if wanted == method and pattern.fullmatch(path):
                return route
        return None

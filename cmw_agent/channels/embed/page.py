"""What the embed serves as files: the widget's script, and the chat as a page for a frame."""

import gzip
from hashlib import sha256
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cmw_agent.config.agent_profiles import AgentProfile

WIDGET = Path(__file__).parent / "static" / "widget.js"
PAGE = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{name}</title>
<script src="../widget.js" data-mode="page" data-agent="{agent}" data-title="{name}"
 data-site="{site}" data-frame="{stamp}" defer></script>
</head>
<body><noscript>This chat needs JavaScript.</noscript></body>
</html>
"""
# Diagrams and pictures that a text brings with it are data.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; frame-ancestors {ancestors}"
)


class WidgetScript:
    """The script that websites load, read once; also packed, for those who take it so."""

    def __init__(self) -> None:
        self._plain = WIDGET.read_bytes()
        self._packed = gzip.compress(self._plain, 9, mtime=0)
        self._etag = f'W/"{sha256(self._plain).hexdigest()[:24]}"'

    def answer(self, request: Request) -> Response:
        """Return the script, or that what the browser has is still the same."""
        headers = {
            "etag": self._etag,
            "vary": "Accept-Encoding",
            "cache-control": "no-cache",
            "access-control-allow-origin": "*",
            "cross-origin-resource-policy": "cross-origin",
        }
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        content = self._plain
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"], content = "gzip", self._packed
        return Response(content, headers=headers, media_type="text/javascript")


def page(profile: AgentProfile, stamp: str, framing: str) -> Response:
    """Return an agent's page, which the profile's own sites may show in a frame.

    Args:
        profile: The agent.
        stamp: What the page proves itself with.
        framing: Origin of the site around it, as far as it is known; "" otherwise.
    """
    text = PAGE.format(
        name=escape(profile.name),
        agent=escape(profile.id),
        site=escape(framing),
        stamp=escape(stamp),
    )
    ancestors = " ".join(sorted(profile.allowed_origins)) or "'none'"
    policy = POLICY.format(ancestors=ancestors)
    headers = {
        "content-security-policy": policy,
        "cross-origin-resource-policy": "cross-origin",  # for sites that let in nothing else
        "vary": "Referer",
    }
    return HTMLResponse(text, headers=headers)

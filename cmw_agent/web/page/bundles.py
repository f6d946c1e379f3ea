"""The page's own files: the scripts before the page is drawn, all others, and the style sheet."""

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cmw_agent.web.page.composer_styles import COMPOSER
from cmw_agent.web.page.dialog_styles import DIALOGS
from cmw_agent.web.page.frame_styles import FRAME
from cmw_agent.web.page.side_styles import SIDE

STATIC: Final = Path(__file__).parent / "static"
# Before anything is drawn: who visits, the connection, and how the user wants the page to look.
FIRST_SCRIPTS: Final = ("language", "visitor", "connection", "preferences", "early")
SCRIPTS: Final = (
    "parts",
    "browser_store",
    "side",
    "notices",
    "drafts",
    "outbox",
    "composer",
    "uploads",
    "files",
    "order",
    "settings",
    "model_key",
    "imports",
    "menus",
    "history",
    "connections",
    "approvals",
    "welcome",
    "effort",
    "header",
    "shares",
    "temporary",
    "switching",
    "attention",
    "elsewhere",
    "prompts",
    "slash",
    "voice",
    "suggestions",
    "own_data",
    "palette",
    "install",
)
SCRIPT: Final = "text/javascript"


class Bundle:
    """One file that is served compressed, and only again once it has changed.

    Args:
        name: The file's name.
        media_type: Its type.
        text: Its content.
    """

    def __init__(self, name: str, media_type: str, text: str) -> None:
        self.name = name
        self._media_type = media_type
        self._body = text.encode()
        self._packed = gzip.compress(self._body, 9, mtime=0)
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:16]}"'

    def route(self) -> Route:
        """Return the file's route."""
        return Route(f"/{self.name}", self._answer)

    async def _answer(self, request: Request) -> Response:
        headers = {"etag": self._tag, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") in (self._tag, f"W/{self._tag}"):
            return Response(None, 304, headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self._body, headers=headers, media_type=self._media_type)
        packed = {**headers, "content-encoding": "gzip"}
        return Response(self._packed, headers=packed, media_type=self._media_type)


def bundles() -> tuple[Bundle, ...]:
    """Return the page's scripts and the style sheet of its frame.

    Gradio puts its own prefix before the rules that it is given, which outweighs those for a state
    of the whole page; so the frame's style sheet does not go through it.
    """
    return (
        Bundle("first.js", SCRIPT, _joined(FIRST_SCRIPTS)),
        Bundle("page.js", SCRIPT, _joined(SCRIPTS)),
        Bundle("page.css", "text/css", FRAME + COMPOSER + SIDE + DIALOGS),
    )


def _joined(scripts: Iterable[str]) -> str:
    """Return scripts of the static folder as one; an error at the start of one leaves the others."""
    return "".join(
        f"try {{\n{(STATIC / f'{script}.js').read_text(encoding='utf-8')}\n"
        "} catch (error) { reportError(error); }\n"
        for script in scripts
    )

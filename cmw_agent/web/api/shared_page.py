"""Renders the page of a shared chat: one document with a style, one small script and no other."""

import base64
import functools
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files

from jinja2 import Template
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from cmw_agent.channels.common.downloads import SHOWN
from cmw_agent.conversations.export import NOTES
from cmw_agent.conversations.shares import SnapshotPage
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.web.api.markdown import REL, rendered
from cmw_agent.web.api.svg_charts import environment
from memory.records import StoredFile
from memory.share_records import SharedFile, SharedMessage

NOT_THERE = (
    "There is no shared chat at this address. The link may be mistyped, have ended, or have been "
    "withdrawn by whoever shared the chat."
)


@dataclass(frozen=True, slots=True)
class _Page:
    template: Template
    error: Template
    style: Markup
    script: Markup
    policy: str


def shared_page(page: SnapshotPage, address: str, home: str, from_seq: int) -> Response:
    """Return a page of a shared chat.

    Args:
        page: What it shows.
        address: Path of the shared chat.
        home: Path of the app's page.
        from_seq: Where the page begins.
    """
    own: defaultdict[int, list[SharedFile]] = defaultdict(list)
    for item in page.files:
        own[item.file.seq or 0].append(item)
    document = _page().template.render(
        page=page,
        files=own,
        address=address,
        home=home,
        from_seq=from_seq,
        rel=REL,
        style=_page().style,
        script=_page().script,
    )
    return HTMLResponse(document, headers=_headers())


def error_page(sentence: str, status: int, title: str) -> Response:
    """Return a page that says what went wrong."""
    document = _page().error.render(title=title, style=_page().style, sentence=sentence)
    return HTMLResponse(document, status, _headers())


def missing_page() -> Response:
    """Return the page for each link that shows nothing: the same, whatever the reason is."""
    return error_page(NOT_THERE, 404, "No shared chat")


def _headers() -> dict[str, str]:
    return {
        "content-security-policy": _page().policy,
        "x-robots-tag": "noindex, nofollow",
    }


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def _notice(message: SharedMessage) -> str | None:
    return sentence_for(message.finish_reason) or NOTES.get(message.status)


def _is_picture(file: StoredFile) -> bool:
    return file.media_type in SHOWN


def _is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


@functools.cache
def _page() -> _Page:
    templates = environment()
    templates.filters |= {
        "day": _day,
        "is_picture": _is_picture,
        "is_web": _is_web,
        "markdown": rendered,
        "notice": _notice,
    }
    folder = files(__package__) / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("share.css", "share.js"))
    policy = (
        f"default-src 'none'; img-src 'self'; connect-src 'self'; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _Page(
        template=templates.get_template("share.html"),
        error=templates.get_template("share_error.html"),
        style=Markup(style),  # noqa: S704 (the app's own)
        script=Markup(script),  # noqa: S704
        policy=policy,
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()

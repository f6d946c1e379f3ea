"""Renders the page of a shared chat: one document with a style and one small script.

The document has the texts as they were written. The script draws them by the scripts of
``frontend/src/text``, which it fetches from the app.
"""

import base64
import functools
from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from jinja2 import Template
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from cmw_agent.conversations.export import NOTES
from cmw_agent.conversations.shares import SnapshotPage
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.files.media_types import SHOWN
from cmw_agent.files.notes import sentence_of
from cmw_agent.language import Language, languages, wording
from cmw_agent.web.api.svg_charts import environment
from cmw_agent.web.page.built_files import BuiltFiles
from cmw_agent.web.page.language_files import LanguageFiles
from memory.records import StoredFile
from memory.share_records import SharedFile, SharedMessage

NOT_THERE = wording(
    "There is no shared chat at this address. The link may be mistyped, have ended, or have been "
    "withdrawn by whoever shared the chat."
)


REL = "nofollow noopener noreferrer ugc"


@dataclass(frozen=True, slots=True)
class _Page:
    template: Template
    error: Template
    style: Markup
    script: Markup
    drawing: str
    language_scripts: LanguageFiles
    policy: str


def shared_page(
    page: SnapshotPage, address: str, home: str, from_seq: int, language: Language
) -> Response:
    """Return a page of a shared chat.

    Args:
        page: What it shows.
        address: Path of the shared chat.
        home: Path of the app's page.
        from_seq: Where the page begins.
        language: The reader's language.
    """
    own: defaultdict[int, list[SharedFile]] = defaultdict(list)
    for item in page.files:
        own[item.file.seq or 0].append(item)
    document = _page().template.render(
        page=page,
        language=language,
        t=language.gettext,
        day=lambda moment: language.date(moment, "long"),
        notice=lambda message: _notice(message, language),
        files=own,
        file_note=lambda file: _file_note(file, language),
        address=address,
        home=home,
        from_seq=from_seq,
        rel=REL,
        style=_page().style,
        script=_page().script,
        drawing=f"{home}{_page().drawing}",
        language_script=f"{home}{_page().language_scripts.address(language)}",
    )
    return HTMLResponse(document, headers=_headers())


def error_page(sentence: str, status: int, title: str, language: Language) -> Response:
    """Return a page that says what went wrong."""
    document = _page().error.render(
        title=language.translate(title),
        style=_page().style,
        sentence=language.translate(sentence),
        language=language,
    )
    return HTMLResponse(document, status, _headers())


def missing_page(language: Language) -> Response:
    """Return the page for each link that shows nothing: the same, whatever the reason is."""
    return error_page(NOT_THERE, 404, wording("No shared chat"), language)


def _headers() -> dict[str, str]:
    return {
        "content-security-policy": _page().policy,
        "x-robots-tag": "noindex, nofollow",
        "vary": "accept-language, cookie",
    }


def _notice(message: SharedMessage, language: Language) -> str | None:
    text = sentence_for(message.finish_reason) or NOTES.get(message.status)
    return language.translate(text) if text else None


def _file_note(file: StoredFile, language: Language) -> str | None:
    """Return what models were not given of a file."""
    note = sentence_of(file.notes)
    return language.translate(note) if note else None


def _is_picture(file: StoredFile) -> bool:
    return file.media_type in SHOWN


def _is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


@functools.cache
def _page() -> _Page:
    templates = environment()
    templates.filters |= {
        "is_picture": _is_picture,
        "is_web": _is_web,
    }
    folder = files(__package__) / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("share.css", "share.js"))
    # What draws diagrams writes styles; pictures that a text brings with it are data.
    policy = (
        "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
        f"script-src 'self' '{_hash(script)}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return _Page(
        template=templates.get_template("share.html"),
        error=templates.get_template("share_error.html"),
        style=Markup(style),  # noqa: S704 (the app's own)
        script=Markup(script),  # noqa: S704
        drawing=BuiltFiles().address("text.js"),
        language_scripts=LanguageFiles(languages()),
        policy=policy,
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()

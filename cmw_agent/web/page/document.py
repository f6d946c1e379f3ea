"""The page's HTML document: Gradio's, with the app's own head, first picture and link preview.

Gradio's page names Gradio in its link preview and shows nothing of the app before its scripts have
run. Here its tags go, and a first picture of header, welcome and box stands where the page itself
will, so that nothing moves when it comes.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.web.page.page_look import look_of

BASE_TAG = re.compile(rb"<base [^>]*>")
BODY_TAG = re.compile(rb"<body[^>]*>")
VIEWPORT_TAG = re.compile(rb'<meta\s+name="viewport"[^>]*>')
PREVIEW_TAG = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
STYLE = re.compile(rb"<style>.*?</style>", re.DOTALL)
# Pictures by address are refused to the page: Gradio's, and its manifest's, which browsers fetch.
MANIFEST_TAG = re.compile(rb'<link rel="manifest"[^>]*>')
VIEWPORT = (
    b'<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover, '
    b'interactive-widget=resizes-content">'
)
# What stands before Gradio's style sheets have come; `cmw-shown` is set once the page itself does. Where
# a script fails, the page comes in sight all the same.
FIRST_STYLE = """
html{background:#f8fafc;color:#1e293b;font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
html.cmw-dark{background:#0a0f1e;color:#f1f5f9;color-scheme:dark}
body{background:none}
body:not(.cmw-shown) gradio-app{visibility:hidden;animation:cmw-late 0s 10s forwards}
body:not(.cmw-shown) #cmw-first{animation:cmw-gone 0s 10s forwards}
@keyframes cmw-late{to{visibility:visible}}
@keyframes cmw-gone{to{visibility:hidden}}
.cmw-shown #cmw-first{display:none}
#cmw-first{position:fixed;inset:0;display:flex;flex-direction:column;align-items:center;z-index:1}
#cmw-first>div{flex:0 0 3.25rem;align-self:stretch}
#cmw-first>p{flex:1;display:grid;place-items:center;margin:0;font-size:1.5rem;font-weight:600;text-align:center;padding:0 1rem 8rem}
#cmw-first>b{width:calc(100% - 2rem);max-width:50rem;height:3.25rem;margin-bottom:2.4rem;border:1px solid #cbd5e1;border-radius:1.6rem;box-sizing:border-box}
.cmw-dark #cmw-first>b{border-color:#334155}
@media(min-width:1024px){.cmw-side-open #cmw-first{left:17rem}}
.cmw-skip{position:fixed;top:-6rem;left:1rem;z-index:100;padding:.6rem 1rem;border-radius:0 0 .6rem .6rem;background:var(--cmw-colour);color:var(--cmw-on-colour)}
.cmw-skip:focus{top:0}
"""


class PageDocument:
    """Makes the page's document of Gradio's.

    Args:
        profiles: The agents that everybody may use, the first one where none is named.
        look: The look of the page where nobody may use any agent before a sign-in.
        more_tags: The tags of further scripts and styles of the app's own.
    """

    def __init__(self, profiles: Sequence[AgentProfile], look: Look, more_tags: bytes) -> None:
        self._more_tags = more_tags
        self._parts: Mapping[str, tuple[bytes, bytes]] = {
            item.id: (_head(look_of(item.look, item)), _first_picture(item.look))
            for item in profiles
        }
        first = next(iter(self._parts.values()), None)
        self._fallback = first or (_head(look_of(look, None)), _first_picture(look))

    def variant(self, agent_id: str | None) -> str:
        """Return the id of the public agent that an address names; empty for none of them."""
        return agent_id if agent_id is not None and agent_id in self._parts else ""

    def made_of(self, page: bytes, variant: str) -> bytes:
        """Return the document for a variant.

        Args:
            page: Gradio's document.
            variant: What `variant` has returned.
        """
        head, body = self._parts.get(variant, self._fallback)
        page = PREVIEW_TAG.sub(b"", MANIFEST_TAG.sub(b"", page, count=1))
        page = STYLE.sub(b"", VIEWPORT_TAG.sub(VIEWPORT, page, count=1), count=1)
        # Gradio adds a custom head only after its own script has begun to fetch.
        page = BASE_TAG.sub(lambda match: match.group() + head + self._more_tags, page, count=1)
        return BODY_TAG.sub(lambda match: match.group() + body, page, count=1)


def _head(look: Mapping[str, Any]) -> bytes:
    title = html.escape(look["agent_name"] or look["name"])
    return (
        f"<title>{title}</title>"
        f'<meta property="og:title" content="{title}"><meta property="og:type" content="website">'
        f'<meta property="og:description" content="{html.escape(look["welcome"])}">'
        '<meta name="theme-color" content="#f8fafc">'
        f'<link rel="icon" href="{html.escape(look["icon"])}">'
        '<link rel="manifest" href="manifest.json" crossorigin="use-credentials">'
        f'<style>{FIRST_STYLE}</style><link rel="stylesheet" href="page.css">'
        f'<style id="cmw-colours">{look["colours"]}</style>'
        f'<script type="application/json" id="cmw-look">{_json(look)}</script>'
        '<script src="first.js"></script><script src="page.js" defer></script>'
    ).encode()


def _json(value: Any) -> str:
    # Nothing in it may end the element that it stands in.
    return orjson.dumps(value).decode().replace("<", "\\u003c")


def _first_picture(look: Look) -> bytes:
    welcome = html.escape(look.welcome)
    return (
        '<a class="cmw-skip" href="#cmw-input">Skip to the message box</a>'
        f'<div id="cmw-first" aria-hidden="true"><div></div><p>{welcome}</p><b></b></div>'
    ).encode()

"""The page's HTML document: Gradio's, with the app's own head, first picture and link preview.

Gradio's page names Gradio in its link preview and shows nothing of the app before its scripts have
run. Here its tags go, and a first picture of header, welcome and box stands where the page itself
will, so that nothing moves when it comes.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.language import Language, Languages
from cmw_agent.web.page.built_files import SCRIPT, BuiltFiles
from cmw_agent.web.page.built_files import STYLE as STYLE_SHEET
from cmw_agent.web.page.language_files import LanguageFiles
from cmw_agent.web.page.page_look import look_of
from cmw_agent.web.page.page_texts import PageTexts, Texts

BASE_TAG = re.compile(rb"<base [^>]*>")
HTML_TAG = re.compile(rb"<html\s+lang=\"[^\"]*\"")
# Gradio's description of the components, of which the texts are replaced.
CONFIG: Final = b"window.gradio_config = "
# Where the page's script finds the server: where the browser has found the page, whatever a proxy
# says of its address.
ROOT: Final = b';window.gradio_config.root = new URL(".", document.baseURI).href.slice(0, -1)'
BODY_TAG = re.compile(rb"<body[^>]*>")
VIEWPORT_TAG = re.compile(rb'<meta\s+name="viewport"[^>]*>')
PREVIEW_TAG = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
STYLE = re.compile(rb"<style>[^<]*</style>")
# Gradio's script, whose name holds the version of all that it loads, and its style sheet.
ENTRY_TAGS = re.compile(
    rb'<script type="module" crossorigin src="[^"]*/index-([\w-]+)\.js"></script>\s*'
    rb'(<link rel="stylesheet" crossorigin href="[^"]*">)'
)
THEME = re.compile(rb'"theme_hash":\s*"(\w+)"')
STYLE_SHEET_TAG = re.compile(rb'<link rel="stylesheet"[^>]*href="([^"]+)"[^>]*>')
# Only a frame of another site listens to it.
RESIZER = b"document.head.appendChild(script);"
RESIZER_IN_FRAMES = b"if (window.parent !== window) " + RESIZER
# Pictures by address are refused to the page: Gradio's, and its manifest's, which browsers fetch.
MANIFEST_TAG = re.compile(rb'<link rel="manifest"[^>]*>')
VIEWPORT = (
    b'<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover, '
    b'interactive-widget=resizes-content">'
)
SCRIPTS = b'<script src="first.js"></script><script src="page.js" defer></script>'
# What stands before Gradio's style sheets have come; `cmw-shown` is set once the page itself does, by
# static/early.js. Where that script has not run (`cmw-scripts`), the page comes in sight all the same.
FIRST_STYLE = """
html{background:#f8fafc;color:#1e293b;font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
html.cmw-dark{background:#0a0f1e;color:#f1f5f9;color-scheme:dark}
body{background:none}
body:not(.cmw-shown) gradio-app{visibility:hidden}
html:not(.cmw-scripts) body:not(.cmw-shown) gradio-app{animation:cmw-late 0s 10s forwards}
html:not(.cmw-scripts) body:not(.cmw-shown) #cmw-first{animation:cmw-gone 0s 10s forwards}
@keyframes cmw-late{to{visibility:visible}}
@keyframes cmw-gone{to{visibility:hidden}}
.cmw-shown #cmw-first,html:not(.cmw-scripts) #cmw-first form{display:none}
#cmw-first{position:fixed;inset:0;height:var(--cmw-height,100dvh);display:flex;flex-direction:column;align-items:center;z-index:1}
#cmw-first>div{flex:0 0 3.25rem;align-self:stretch}
#cmw-first>p{flex:1;min-height:0;display:grid;place-items:center;margin:0;font-size:1.6rem;font-weight:600;text-align:center;text-wrap:balance;padding:0 1rem 4vh}
.cmw-names-chat #cmw-first>p{visibility:hidden}
#cmw-first form{width:calc(100% - 2rem);max-width:50rem;box-sizing:border-box;display:flex;flex-wrap:wrap;justify-content:flex-end;row-gap:.15rem;margin:0 0 2rem;padding:.4rem;border:1px solid #cbd5e1;border-radius:1.4rem;background:#fff}
#cmw-first textarea{flex:1 0 100%;min-width:0;box-sizing:border-box;min-height:2.55rem;max-height:40dvh;padding:.45rem .6rem .3rem;border:0;outline:0;resize:none;background:none;color:inherit;font:inherit;line-height:1.5;field-sizing:content}
#cmw-first textarea::placeholder{color:#64748b;opacity:1}
#cmw-first form:focus-within{border-color:var(--cmw-accent)}
#cmw-first button{flex:none;width:2.25rem;height:2.25rem;padding:0;border:0;border-radius:50%;background:var(--cmw-colour);color:var(--cmw-on-colour);font-size:1.2rem}
#cmw-first output{flex:1 0 100%;font-size:.84rem;padding:0 .7rem}
#cmw-first output:empty{display:none}
.cmw-dark #cmw-first form{border-color:#334155;background:#111827}
.cmw-dark #cmw-first textarea::placeholder{color:#94a3b8}
@media(min-width:1024px){.cmw-side-open #cmw-first{left:17rem}}
.cmw-skip{position:fixed;top:-6rem;left:1rem;z-index:100;padding:.6rem 1rem;border-radius:0 0 .6rem .6rem;background:var(--cmw-colour);color:var(--cmw-on-colour)}
.cmw-skip:focus{top:0}
"""


Variant = tuple[str, str]  # the id of a public agent, empty for none; the tag of a language


@dataclass(frozen=True, slots=True)
class _Parts:
    head: bytes
    first_picture: bytes


class PageDocument:
    """Makes the page's document of Gradio's.

    Args:
        profiles: The agents that everybody may use, the first one where none is named.
        look: The look of the page where nobody may use any agent before a sign-in.
        languages: The languages that a reader may get.
        language_files: The scripts of the languages.
        texts: The texts of the page's components.
        built: The bundled scripts and styles.
    """

    def __init__(
        self,
        profiles: Sequence[AgentProfile],
        look: Look,
        *,
        languages: Languages,
        language_files: LanguageFiles,
        texts: PageTexts,
        built: BuiltFiles,
    ) -> None:
        self._built = built
        self._styles = (b"page.css", built.address(STYLE_SHEET).encode())
        self._script = f'<script src="{built.address(SCRIPT)}" defer></script>'.encode()
        first = next(iter(profiles), None)
        looks: dict[str, tuple[Look, AgentProfile | None]] = {
            item.id: (item.look, item) for item in profiles
        }
        looks[""] = (look, None) if first is None else (first.look, first)
        self._agents = frozenset(item.id for item in profiles)
        self._parts: Mapping[Variant, _Parts] = {
            (agent_id, language.tag): _Parts(
                _head(look_of(shown, agent, language), language_files.tag(language)),
                _first_picture(shown, language),
            )
            for agent_id, (shown, agent) in looks.items()
            for language in languages.all
        }
        self._languages = languages
        self._texts = texts

    def variant(self, agent_id: str | None, language: Language) -> Variant:
        """Return which document an address that names this agent gets in a language."""
        is_known = agent_id is not None and agent_id in self._agents
        return str(agent_id) if is_known else "", language.tag

    def render(self, page: bytes, variant: Variant) -> bytes:
        """Return the document for a variant.

        Args:
            page: Gradio's document.
            variant: What `variant` has returned.
        """
        parts, language = self._parts[variant], self._languages.of(variant[1])
        page = PREVIEW_TAG.sub(b"", MANIFEST_TAG.sub(b"", page, count=1))
        page = STYLE.sub(b"", VIEWPORT_TAG.sub(VIEWPORT, page, count=1), count=1)
        page = ENTRY_TAGS.sub(self._entry, page.replace(RESIZER, RESIZER_IN_FRAMES), count=1)
        root = f'<html lang="{language.tag}" dir="{language.direction}"'.encode()
        page = HTML_TAG.sub(root, page, count=1)
        # Gradio's script asks for its theme late, and gets what has come meanwhile.
        theme = [b"theme.css?v=" + match[1] for match in THEME.finditer(page)]
        found = [match[1] for match in STYLE_SHEET_TAG.finditer(page)]
        sheets = (*self._styles, *found, *theme)
        page = STYLE_SHEET_TAG.sub(b"", page)
        # Gradio adds a custom head only after its own script has begun to fetch.
        head = b"".join((parts.head, SCRIPTS, self._script, *map(_late, sheets)))
        page = BASE_TAG.sub(lambda match: match.group() + head, page, count=1)
        page = _with_texts(page, self._texts.of(language))
        return BODY_TAG.sub(lambda match: match.group() + parts.first_picture, page, count=1)

    def _entry(self, match: re.Match[bytes]) -> bytes:
        """Return the tags of Gradio's bundled files, or Gradio's own."""
        addresses = self._built.gradio(match[1].decode())
        if addresses is None:
            return match.group()
        script, style = (address.encode() for address in addresses)
        tags = b'<script type="module" src="%s"></script>%s<link rel="stylesheet" href="%s">'
        return tags % (script, match[2], style)


def _with_texts(page: bytes, texts: Texts) -> bytes:
    """Return Gradio's document with these texts in its components."""
    before, mark, rest = page.partition(CONFIG)
    text = rest.decode()
    config, end = json.JSONDecoder().raw_decode(text)
    for component in config["components"]:
        component["props"].update(texts.get(component["props"].get("elem_id"), {}))
    return before + mark + _json(config).encode() + ROOT + text[end:].encode()


def _head(look: Mapping[str, Any], language_tag: str) -> bytes:
    title = html.escape(look["agent_name"] or look["name"])
    return (
        f"<title>{title}</title>"
        f'<meta property="og:title" content="{title}"><meta property="og:type" content="website">'
        f'<meta property="og:description" content="{html.escape(look["welcome"])}">'
        '<meta name="theme-color" content="#f8fafc">'
        f'<link rel="icon" href="{html.escape(look["icon"])}">'
        '<link rel="manifest" href="manifest.json" crossorigin="use-credentials">'
        f"<style>{FIRST_STYLE}</style>"
        f'<style id="cmw-colours">{look["colours"]}</style>'
        f'<script type="application/json" id="cmw-look">{_json(look)}</script>'
        f"{language_tag}"
    ).encode()


def _late(address: bytes) -> bytes:
    """Return the tag of a style sheet that the first picture does not wait for; see static/early.js."""
    return b'<link rel="preload" as="style" data-late href="%s">' % address


def _json(value: Any) -> str:
    # Nothing in it may end the element that it stands in.
    return orjson.dumps(value).decode().replace("<", "\\u003c")


def _first_picture(look: Look, language: Language) -> bytes:
    welcome, skip, name, hint, send = (
        html.escape(text)
        for text in (
            language.translate(look.welcome),
            language.gettext("Skip to the message box"),
            language.gettext("Message"),
            language.gettext("Write a message…"),
            language.gettext("Send"),
        )
    )
    return (
        f'<a class="cmw-skip" href="#cmw-input">{skip}</a>'
        f'<div id="cmw-first"><div></div><p>{welcome}</p>'
        f'<form><textarea rows="1" aria-label="{name}" placeholder="{hint}" '
        f'autocomplete="off" autofocus></textarea><button aria-label="{send}">↑</button>'
        "<output></output></form></div>"
    ).encode()

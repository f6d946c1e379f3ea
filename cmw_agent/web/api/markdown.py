"""Renders the Markdown of models as HTML that can run, load and send nothing.

HTML in the text stays text. Links lead to web and mail addresses alone, open a new tab and name no
referrer; a picture in the text is a link.
"""

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

# The parser takes more than linear time for some texts. One with more of this than an answer has
# is shown as it is written.
MAX_CHARS = 20_000
MAX_LINES = 1_500
MAX_BRACKETS = 800
MAX_CELLS = 5_000  # of tables: lines with a bar, times the most bars of one line
MAX_NESTING = 20
SCHEMES = ("http://", "https://", "mailto:")
REL = "nofollow noopener noreferrer ugc"


class _Renderer(RendererHTML):
    """Renders links with `REL`, pictures as links and columns without a style."""

    def link_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
    ) -> str:
        """Render the beginning of a link."""
        address = str(tokens[index].attrs.get("href", ""))
        return Markup('<a href="{}" rel="{}" target="_blank">').format(address, REL)

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render a picture as the text that stands for it, with a link to it unless within one."""
        token = tokens[index]
        name = self.renderInlineAsText(token.children or [], options, env) or "Picture"
        before = [each.type for each in tokens[:index]]
        if before.count("link_open") > before.count("link_close"):
            return str(escape(name))
        address = str(token.attrs.get("src", ""))
        return Markup('<a href="{}" rel="{}" target="_blank">{}</a>').format(address, REL, name)

    @staticmethod
    def renderAttrs(token: Token) -> str:  # noqa: N802 (the library's name)
        """Render the attributes of an element; a column's alignment without a style."""
        style = str(token.attrs.pop("style", ""))
        if style.startswith("text-align:"):
            token.attrs["align"] = style.removeprefix("text-align:")
        return RendererHTML.renderAttrs(token)


class _Parser(MarkdownIt):
    """Reads Markdown without HTML."""

    def __init__(self) -> None:
        options = {"html": False, "maxNesting": MAX_NESTING}
        super().__init__("commonmark", options, renderer_cls=_Renderer)
        self.enable(["table", "strikethrough"])

    def validateLink(self, url: str) -> bool:  # noqa: N802 (the library's name)
        """Take addresses of the web and of mail alone."""
        return url.lower().startswith(SCHEMES)


def rendered(text: str) -> Markup:
    """Return `text` as HTML; what stands in it as HTML is shown as text."""
    if _is_costly(text):
        return _plain(text)
    parser = _Parser()
    tokens = parser.parse(text)
    # Below this depth the parser leaves the text out.
    if any(token.level >= MAX_NESTING - 1 for token in tokens):
        return _plain(text)
    html: str = parser.renderer.render(tokens, parser.options, {})
    return Markup(html)  # noqa: S704 (the renderer escapes all text)


def _plain(text: str) -> Markup:
    return Markup('<div class="plain">{}</div>').format(text)


def _is_costly(text: str) -> bool:
    if len(text) > MAX_CHARS or text.count("[") > MAX_BRACKETS or text.count("\n") > MAX_LINES:
        return True
    bars = [count for line in text.splitlines() if (count := line.count("|"))]
    return len(bars) * max(bars, default=0) > MAX_CELLS

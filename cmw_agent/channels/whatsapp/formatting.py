"""Markdown as WhatsApp writes it, in messages of the length that it takes.

WhatsApp knows ``*bold*``, ``_italic_``, ``~struck~``, code, lists and quotes
(https://faq.whatsapp.com/539178204879377), and takes 4,096 characters in one message. Markdown-it
reads the Markdown; the lines that it finds nothing in stay as they are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from types import MappingProxyType

from markdown_it import MarkdownIt
from markdown_it.parser_block import RuleFuncBlockType
from markdown_it.rules_block import StateBlock, paragraph, table
from markdown_it.rules_inline.state_inline import Delimiter, StateInline
from markdown_it.token import Token

MAX_CHARS = 4096
FENCE = "```"
ROOM = 2 * len(FENCE) + 2  # for a fence that is closed and opened again
MAX_GROWTH = 8  # of a table's rows by the names of its columns
MAX_NESTING = 20  # what is nested more deeply stays as it is
PARSER_WORK = 10  # times the work of other long texts, for each character
BOLD = "\ue000"  # stands for WhatsApp's sign, which a heading must not have twice
BLOCKS = frozenset({"fence", "heading_open", "hr", "paragraph_open", "table_open"})
# by Markdown's mark and how many there are of it; `~~` counts as one
EMPHASIS = (ord("*"), 1)
SHOWN_AS: Mapping[tuple[int, int], str] = MappingProxyType(
    {
        EMPHASIS: "_",
        (ord("*"), 2): BOLD,
        (ord("_"), 2): BOLD,
        (ord("*"), 3): f"{BOLD}_",
        (ord("_"), 3): f"{BOLD}_",
        (ord("~"), 1): "~",
    }
)

# Users choose the texts: no two starts of an expression may read the same stretch of one. So what
# stands between its signs holds none of the signs that it begins with, and gives nothing back.
# The rest of a web address after its scheme; marks at its end may close what began before it.
_ADDRESS = re.compile(r"://(?:(?!\*\*|~~)[^\s<>\[\]`\\])*(?<![*_~.,:;!?])")
_LABEL = r"[^\[\]\n]"
_SIGNS = re.compile(r"[*_~`\[<\\]")  # a line without one is text alone
_SIZED = re.compile(rf"(!\[{_LABEL}*+\]\([^()\s]++)[ \t]++=[0-9x]++\)")  # a picture with its size
_CONNECT = r"<?(?:https?://)?connect\.composio\.dev\.?(?::\d*+)?[/\\][^\s()<>\[\]]*+>?+"
_CONNECTS = re.compile(rf"\[{_LABEL}*+\]\(\s*+{_CONNECT}[^()\n]*+\)|{_CONNECT}", re.IGNORECASE)
_TICKET = r"<?https?://[^\s()<>\[\]?]{1,300}?/connections/connect\?[^\s()<>\[\]]*+>?+"
_TICKETS = re.compile(rf"\[{_LABEL}*+\]\(\s*+{_TICKET}[^()\n]*+\)|{_TICKET}", re.IGNORECASE)
_BREAKS = ("\n\n", "\n", ". ", "! ", "? ", "… ", " ")


def _address(state: StateInline, silent: bool) -> bool:
    """Take a web address as it is written, with marks that may be in it (a markdown-it rule)."""
    scheme = state.src[max(state.pos - 5, 0) : state.pos].lower()
    if not scheme.endswith(("http", "https")):
        return False
    match = _ADDRESS.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.pending += match[0]
    state.pos = match.end()
    return True


def _pair_all(state: StateInline) -> None:
    """Write WhatsApp's signs in the places of the marks that enclose something (a markdown-it rule)."""
    inner = [meta["delimiters"] for meta in state.tokens_meta if meta and "delimiters" in meta]
    for delimiters in (state.delimiters, *inner):
        _pair(state.tokens, delimiters)


def _pair(tokens: list[Token], delimiters: Sequence[Delimiter]) -> None:
    """Pair each run of marks with the next run that is like it; no two pairs cross."""
    opened: dict[tuple[int, int], list[Delimiter]] = {}  # by mark and length
    for run in _runs(delimiters):
        first, kind = run[0], (run[0].marker, len(run))
        if kind not in SHOWN_AS or (kind == EMPHASIS and first.open and first.close):
            continue  # such as the one of `a*b`
        if first.close and kind in opened:
            start, sign = opened[kind], SHOWN_AS[kind]
            for marks, text in ((start, sign), (run, sign[::-1])):
                for mark in marks:
                    tokens[mark.token].content = ""
                tokens[marks[0].token].content = text
            opened = {k: r for k, r in opened.items() if r[0].token < start[0].token}
        elif first.open:
            opened.setdefault(kind, run)


def _runs(delimiters: Sequence[Delimiter]) -> Iterator[list[Delimiter]]:
    """Yield the delimiters in runs of equal marks that stand side by side."""
    run: list[Delimiter] = []
    for mark in delimiters:
        if run and (mark.marker != run[-1].marker or mark.token != run[-1].token + 1):
            yield run
            run = []
        run.append(mark)
    if run:
        yield run


def _with_lines(rule: RuleFuncBlockType) -> RuleFuncBlockType:
    """Return a markdown-it rule that notes a block's lines without what encloses it before them.

    The library's own content of a paragraph is stripped of lines of other white space.
    """

    def rule_with_lines(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        index = len(state.tokens)
        is_block = rule(state, start, end, silent)
        if is_block and not silent:
            state.tokens[index].meta["lines"] = [
                state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
                for line in range(start, state.line)
            ]
        return is_block

    return rule_with_lines


class _Parser(MarkdownIt):
    """Reads what WhatsApp can show of Markdown; addresses stay as they are written."""

    def __init__(self) -> None:
        super().__init__("zero", {"maxNesting": MAX_NESTING})
        self.core.ruler.enableOnly(["block"])  # a paragraph's lines are read each for itself
        self.block.ruler.enable(["blockquote", "fence", "heading", "hr", "list", "table"])
        self.block.ruler.at("paragraph", _with_lines(paragraph))
        self.block.ruler.at("table", _with_lines(table), {"alt": ["paragraph"]})
        inline = ["autolink", "backticks", "emphasis", "escape", "image", "link", "strikethrough"]
        self.inline.ruler.enable(inline)
        self.inline.ruler.push("address", _address)
        self.inline.ruler2.push("pairs", _pair_all)
        self.inline.ruler2.enableOnly(["pairs"])

    def normalizeLink(self, url: str) -> str:  # noqa: N802 (the library's name)
        """Return `url`."""
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 (the library's name)
        """Return `link`."""
        return link

    def validateLink(self, url: str) -> bool:  # noqa: N802 (the library's name)
        """Take any address: WhatsApp shows it as text."""
        return True

    def line(self, text: str) -> str:
        """Return a line's text with WhatsApp's signs; bold ones as `BOLD`."""
        if not _SIGNS.search(text):
            return text
        tokens: list[Token] = []
        self.inline.parse(_SIZED.sub(r"\1)", text), self, {}, tokens)
        parts: list[str] = []
        label, address = 0, ""  # where a link's text begins, and where it leads; none holds another
        for token in tokens:
            match token.type:
                case "link_open" if token.info != "auto":
                    label, address = len(parts), str(token.attrs["href"])
                case "link_close" if token.info != "auto":
                    inner = "".join(parts[label:])
                    parts[label:] = [inner if inner == address else f"{inner} ({address})".strip()]
                case "image":
                    parts.append(f"{token.content} ({token.attrs['src']})".strip())
                case "code_inline":
                    parts.append(token.markup + token.content + token.markup)
                case _:
                    parts.append(token.content)
        return "".join(parts)


def whatsapp(markdown: str) -> str:
    """Return `markdown` as WhatsApp shows it best; code stays as it is."""
    text = markdown.replace(BOLD, "")
    lines: list[str | None] = [*text.split("\n")]
    parser = _Parser()
    for token, following in pairwise([*parser.parse(text), Token("", "", 0)]):
        start, end = token.map or (0, 0)
        if token.type == "list_item_open" and token.markup in "*+":
            lines[start] = str(lines[start]).replace(token.markup, "-", 1)
        elif token.type in BLOCKS:
            source = [line or "" for line in lines[start:end]]
            shown = _block(parser, token, following.content, source)
            lines[start:end] = [shown, *[None] * (end - start - 1)]
    shown = "\n".join(line for line in lines if line is not None)
    return re.sub(r"\n{3,}", "\n\n", shown.replace(BOLD, "*")).strip()


def unlinked(markdown: str) -> tuple[str, int]:
    """Return `markdown` without the links to Composio's site, and how many there were."""
    # a space, so that what stood around a link does not become one
    return _CONNECTS.subn(" ", markdown)


def unoffered(markdown: str) -> tuple[str, int]:
    """Return `markdown` without the links that connect an account, and how many there were."""
    text, count = unlinked(markdown)
    text, more = _TICKETS.subn(" ", text)
    return text, count + more


def split(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Return `text` in parts of at most `max_chars` characters, none of them empty.

    It is cut at the ends of paragraphs, lines, sentences or words, in this order of preference; a
    block of code that is cut is closed and opened again.
    """
    if max_chars <= 2 * ROOM:
        raise ValueError("no part can be as short as that")
    parts: list[str] = []
    rest, is_code = text.strip(), False
    while rest:
        head = f"{FENCE}\n" if is_code else ""
        if len(head) + len(rest) <= max_chars:
            parts.append(head + rest)
            break
        cut = _cut(rest, max_chars - ROOM)
        piece, rest = rest[:cut].rstrip(), rest[cut:]
        rest = rest.lstrip("\n") if is_code else rest.lstrip()
        is_code ^= piece.count(FENCE) % 2 == 1
        if piece:
            parts.append(f"{head}{piece}\n{FENCE}" if is_code else head + piece)
    return [part for part in parts if part.replace(FENCE, "").strip()]


def _cut(text: str, max_chars: int) -> int:
    """Return where to cut, after at most so many characters and at least half of them."""
    for sign in _BREAKS:
        index = text.rfind(sign, max_chars // 2, max_chars)
        if index >= 0:
            return _beside_fence(text, index + len(sign))
    return _beside_fence(text, max_chars)


def _beside_fence(text: str, cut: int) -> int:
    """Move a cut that would fall into the three signs of a fence before them."""
    for back in (1, 2):
        if text[cut - back : cut - back + len(FENCE)] == FENCE and cut > back:
            return cut - back
    return cut


def _block(parser: _Parser, token: Token, text: str, source: list[str]) -> str:
    """Return a block's lines in WhatsApp's form; `text` is the heading's text where it is one."""
    match token.type:
        case "hr":
            return "———"
        case "fence":
            return _fence(token, source)
        case "heading_open":
            return _heading(source[0], parser.line(text))
    lines: list[str] = token.meta["lines"]
    if token.type == "table_open":
        head = source[0].removesuffix(lines[0]).lstrip("> \t")
        rows = _table(head, _cells(lines[0]), lines[2:])
        return "\n".join(map(parser.line, rows))
    pairs = zip(source, lines, strict=True)
    return "\n".join(line.removesuffix(own) + parser.line(own) for line, own in pairs)


def _fence(token: Token, source: list[str]) -> str:
    """Return a block of code without the name of its language, which is one word."""
    head, code = source[0].partition(token.markup)[0], token.content.removesuffix("\n")
    is_language = len(token.info.split()) <= 1 and len(source) > 1
    info = "" if is_language else token.info
    return "\n".join((head + FENCE + info, *filter(None, [code]), FENCE))


def _heading(line: str, text: str) -> str:
    bare = text.replace(BOLD, "")
    return f"{line.partition('#')[0]}{BOLD}{bare}{BOLD}" if bare else line


def _table(head: str, names: list[str], rows: list[str]) -> Iterator[str]:
    """Yield a table's rows; long names, which many short rows would repeat, stand there once.

    The first line follows `head`, the sign of the list's item that the table begins.
    """
    repeated_chars = sum(map(len, names)) * len(rows)
    if not rows or repeated_chars > MAX_GROWTH * sum(map(len, rows)):
        yield head + ", ".join(filter(None, names))
        head, names = "", [""] * len(names)
    for row in rows:
        cells = zip_longest(names, _cells(row), fillvalue="")
        pairs = [f"{n}: {c}" if n else c for n, c in cells if c]
        yield (head or "- ") + ", ".join(pairs)
        head = ""


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]

"""Markdown as WhatsApp writes it, in messages of the length that it takes.

WhatsApp knows ``*bold*``, ``_italic_``, ``~struck~``, code, lists and quotes
(https://faq.whatsapp.com/539178204879377), and takes 4,096 characters in one message.
"""

import re
from collections.abc import Iterator

MAX_CHARS = 4096
FENCE = "```"
ROOM = 2 * len(FENCE) + 2  # for a fence that is closed and opened again
MAX_GROWTH = 8  # of a table's rows by the names of its columns
BOLD, STRUCK = "\ue000", "\ue001"  # stand for signs that later steps must not read again

# Users choose the texts: no two starts of an expression may read the same stretch of one. So what
# stands between its signs holds none of the signs that it begins with, and gives nothing back.
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_LANGUAGE = re.compile(r"\A```[\w+.#-]*[ \t]*\n")
_LABEL = r"[^\[\]\n]"
_ADDRESS = r"(?=[^)\s>])[^()\s>]*+(?:\([^()\s>]*+\)[^()\s>]*+)*+"
_IMAGE = re.compile(rf"!\[({_LABEL}*+)\]\(\s*+<?+({_ADDRESS})>?+[^()\n]*+\)")
_LINK = re.compile(rf"\[({_LABEL}++)\]\(\s*+<?+({_ADDRESS})>?+(?:\s++\"[^\"\n]*+\")?+\s*+\)")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]++)>")
_CONNECT = r"<?(?:https?://)?connect\.composio\.dev\.?(?::\d*+)?[/\\][^\s()<>\[\]]*+>?+"
_CONNECTS = re.compile(rf"\[{_LABEL}*+\]\(\s*+{_CONNECT}[^()\n]*+\)|{_CONNECT}", re.IGNORECASE)
_TICKET = r"<?https?://[^\s()<>\[\]?]{1,300}?/connections/connect\?[^\s()<>\[\]]*+>?+"
_TICKETS = re.compile(rf"\[{_LABEL}*+\]\(\s*+{_TICKET}[^()\n]*+\)|{_TICKET}", re.IGNORECASE)
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_BOTH = re.compile(r"\*\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*\*")
_STRONG = re.compile(r"(\*\*|__)(?=\S)")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])")
_STRIKE = re.compile(r"(~~)(?=\S)")
_ENDS = {sign: re.compile(rf"(?<=\S){re.escape(sign)}") for sign in ("**", "__", "~~")}
_BULLET = re.compile(r"^([ \t]*)[*+-][ \t]+", re.MULTILINE)
_RULE = re.compile(r"^[ ]{0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$", re.MULTILINE)
_DASHES = re.compile(r":?-+:?")
_BREAKS = ("\n\n", "\n", ". ", "! ", "? ", "… ", " ")


def whatsapp(markdown: str) -> str:
    """Return `markdown` as WhatsApp shows it best; code stays as it is."""
    text = markdown.replace(BOLD, "").replace(STRUCK, "")
    parts = _CODE.split(text)
    shown = [_code(part) if place % 2 else _prose(part) for place, part in enumerate(parts)]
    return re.sub(r"\n{3,}", "\n\n", "".join(shown)).strip()


def unlinked(markdown: str) -> tuple[str, int]:
    """Return `markdown` without the links to Composio's site, and how many there were."""
    # a space, so that what stood around a link does not become one
    return _CONNECTS.subn(" ", markdown)


def unoffered(markdown: str) -> tuple[str, int]:
    """Return `markdown` without the links that connect an account, and how many there were."""
    text, count = unlinked(markdown)
    text, more = _TICKETS.subn(" ", text)
    return text, count + more


def split(text: str, most: int = MAX_CHARS) -> list[str]:
    """Return `text` in parts of at most `most` characters, none of them empty.

    It is cut at the ends of paragraphs, lines, sentences or words, in this order of preference; a
    block of code that is cut is closed and opened again.
    """
    if most <= 2 * ROOM:
        raise ValueError("no part can be as short as that")
    parts: list[str] = []
    rest, is_code = text.strip(), False
    while rest:
        head = f"{FENCE}\n" if is_code else ""
        if len(head) + len(rest) <= most:
            parts.append(head + rest)
            break
        cut = _cut(rest, most - ROOM)
        piece, rest = rest[:cut].rstrip(), rest[cut:]
        rest = rest.lstrip("\n") if is_code else rest.lstrip()
        is_code ^= piece.count(FENCE) % 2 == 1
        if piece:
            parts.append(f"{head}{piece}\n{FENCE}" if is_code else head + piece)
    return [part for part in parts if part.replace(FENCE, "").strip()]


def _cut(text: str, most: int) -> int:
    """Return where to cut, after at most so many characters and at least half of them."""
    for sign in _BREAKS:
        place = text.rfind(sign, most // 2, most)
        if place >= 0:
            return _beside_fence(text, place + len(sign))
    return _beside_fence(text, most)


def _beside_fence(text: str, cut: int) -> int:
    """Move a cut that would fall into the three signs of a fence before them."""
    for back in (1, 2):
        if text[cut - back : cut - back + len(FENCE)] == FENCE and cut > back:
            return cut - back
    return cut


def _code(part: str) -> str:
    if not part.startswith(FENCE):
        return part
    whole = part if part.endswith(FENCE) and len(part) > len(FENCE) else f"{part}\n{FENCE}"
    return _LANGUAGE.sub(f"{FENCE}\n", whole)


def _prose(part: str) -> str:
    text = "\n".join(_without_tables(part.split("\n")))
    text = _IMAGE.sub(lambda found: f"{found[1]} ({found[2]})".strip(), text)
    text = _LINK.sub(lambda found: _link(found[1], found[2]), text)
    text = _AUTOLINK.sub(r"\1", text)
    text = _RULE.sub("———", text)
    text = _BULLET.sub(r"\1- ", text)
    text = _HEADING.sub(lambda found: _heading(found[1].rstrip(" \t")), text)
    text = _BOTH.sub(rf"{BOLD}_\1_{BOLD}", text)
    text = _paired(text, _STRONG, BOLD)
    text = _EMPHASIS.sub(r"_\1_", text)
    text = _paired(text, _STRIKE, STRUCK)
    return text.replace(BOLD, "*").replace(STRUCK, "~")


def _heading(text: str) -> str:
    bare = text.rstrip("#").rstrip(" \t") or text[0]
    return BOLD + re.sub(r"\*\*|__", "", bare) + BOLD


def _paired(text: str, opening: re.Pattern[str], sign: str) -> str:
    """Return `text` with `sign` for each pair of equal marks that enclose something in a line."""
    return "\n".join(_paired_line(line, opening, sign) for line in text.split("\n"))


def _paired_line(line: str, opening: re.Pattern[str], sign: str) -> str:
    shown: list[str] = []
    done = start = 0
    alone: set[str] = set()  # marks without a second one: a line is searched once for each
    while (found := opening.search(line, start)) is not None:
        mark, start = found[1], found.start() + 1
        closing = None if mark in alone else _ENDS[mark].search(line, found.end() + 1)
        if closing is None:
            alone.add(mark)
            continue
        shown += line[done : found.start()], sign, line[found.end() : closing.start()], sign
        done = start = closing.end()
    return "".join(shown) + line[done:]


def _link(text: str, address: str) -> str:
    return address if text == address else f"{text} ({address})"


def _without_tables(lines: list[str]) -> Iterator[str]:
    """Yield the lines, a table's rows as lines of `name: value` or of values."""
    place = 0
    while place < len(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if not (_is_row(lines[place]) and _is_ruler(following)):
            yield lines[place]
            place += 1
            continue
        first, place = place, place + 2
        while place < len(lines) and _is_row(lines[place]):
            place += 1
        yield from _table(_cells(lines[first]), lines[first + 2 : place])


def _table(names: list[str], rows: list[str]) -> Iterator[str]:
    """Yield a table's rows; long names, which many short rows would repeat, stand there once."""
    told = sum(map(len, names)) * len(rows)
    if told > MAX_GROWTH * sum(map(len, rows)):
        yield ", ".join(filter(None, names))
        names = [""] * len(names)
    for row in rows:
        pairs = [f"{n}: {c}" if n else c for n, c in zip(names, _cells(row), strict=False) if c]
        yield "- " + ", ".join(pairs)


def _is_row(line: str) -> bool:
    bare = line.strip(" \t")
    return len(bare) > 2 and bare[0] == bare[-1] == "|"


def _is_ruler(line: str) -> bool:
    bare = line.strip(" \t").removeprefix("|").removesuffix("|")
    return all(_DASHES.fullmatch(cell.strip(" \t")) for cell in bare.split("|"))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]

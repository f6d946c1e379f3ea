"""Markdown as WhatsApp writes it, in messages of the length that it takes.

WhatsApp knows ``*bold*``, ``_italic_``, ``~struck~``, code, lists and quotes
(https://faq.whatsapp.com/539178204879377), and takes 4,096 characters in one message.
"""

import re
from collections.abc import Iterator

MOST_CHARS = 4096
FENCE = "```"
ROOM = 2 * len(FENCE) + 2  # for a fence that is closed and opened again
BOLD, STRUCK = "\ue000", "\ue001"  # stand for signs that later steps must not read again

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_LANGUAGE = re.compile(r"\A```[\w+.#-]*[ \t]*\n")
_IMAGE = re.compile(r"!\[([^\]\n]*)\]\(\s*<?([^)\s>]+)>?[^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"\n]*\")?\s*\)")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^>\s]+)>")
_CONNECT = r"<?(?:https?://)?connect\.composio\.dev/[^\s()<>\[\]]*>?"
_CONNECTS = re.compile(rf"\[[^\]\n]*\]\(\s*{_CONNECT}[^)\n]*\)|{_CONNECT}", re.IGNORECASE)
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_BOTH = re.compile(r"\*\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*\*")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])")
_STRIKE = re.compile(r"~~(?=\S)(.+?)(?<=\S)~~")
_BULLET = re.compile(r"^([ \t]*)[*+-][ \t]+", re.MULTILINE)
_RULE = re.compile(r"^[ ]{0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*\|(.+)\|[ \t]*$")
_RULER = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)*[ \t]*:?-+:?[ \t]*\|?[ \t]*$")
_BREAKS = ("\n\n", "\n", ". ", "! ", "? ", "… ", " ")


def whatsapp(markdown: str) -> str:
    """Return `markdown` as WhatsApp shows it best; code stays as it is."""
    text = markdown.replace(BOLD, "").replace(STRUCK, "")
    parts = _CODE.split(text)
    shown = [_code(part) if place % 2 else _prose(part) for place, part in enumerate(parts)]
    return re.sub(r"\n{3,}", "\n\n", "".join(shown)).strip()


def unlinked(markdown: str) -> tuple[str, int]:
    """Return `markdown` without the links that connect an account, and how many there were."""
    return _CONNECTS.subn("", markdown)


def split(text: str, most: int = MOST_CHARS) -> list[str]:
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
    text = _HEADING.sub(lambda found: BOLD + re.sub(r"\*\*|__", "", found[1]) + BOLD, text)
    text = _BOTH.sub(rf"{BOLD}_\1_{BOLD}", text)
    text = _STRONG.sub(rf"{BOLD}\2{BOLD}", text)
    text = _EMPHASIS.sub(r"_\1_", text)
    text = _STRIKE.sub(rf"{STRUCK}\1{STRUCK}", text)
    return text.replace(BOLD, "*").replace(STRUCK, "~")


def _link(text: str, address: str) -> str:
    return address if text == address else f"{text} ({address})"


def _without_tables(lines: list[str]) -> Iterator[str]:
    """Yield the lines, a table's rows as lines of `name: value` or of values."""
    place = 0
    while place < len(lines):
        is_table = (
            place + 1 < len(lines)
            and _ROW.match(lines[place]) is not None
            and "-" in lines[place + 1]
            and _RULER.match(lines[place + 1]) is not None
        )
        if not is_table:
            yield lines[place]
            place += 1
            continue
        names, place = _cells(lines[place]), place + 2
        while place < len(lines) and _ROW.match(lines[place]):
            cells = _cells(lines[place])
            pairs = [f"{n}: {c}" if n else c for n, c in zip(names, cells, strict=False) if c]
            yield "- " + ", ".join(pairs)
            place += 1


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]

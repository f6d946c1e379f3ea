"""Reads OpenDocument: texts, sheets and slides, from the one `content.xml` of each."""

import io
from collections.abc import Iterator
from typing import Any

from defusedxml import ElementTree  # type: ignore[import-untyped]

from cmw_agent.files.reading.document import Document, joined
from cmw_agent.files.reading.tables import Table

MAX_REPEATED = 1_000  # rows or columns that one element may stand for
MAX_SPACES = 1_000
_NAMESPACES = {
    "urn:oasis:names:tc:opendocument:xmlns:text:1.0": "text",
    "urn:oasis:names:tc:opendocument:xmlns:table:1.0": "table",
    "urn:oasis:names:tc:opendocument:xmlns:office:1.0": "office",
    "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0": "draw",
    "urn:oasis:names:tc:opendocument:xmlns:presentation:1.0": "presentation",
}
_SKIPPED = frozenset({"text:tracked-changes", "office:forms", "text:sequence-decls"})


def text_of(content: io.BytesIO, document: Document) -> str:
    """Return the text of a document.

    Args:
        content: Its `content.xml`.
        document: Gets the notes.
    """
    body = next(
        (part for part in ElementTree.parse(content).getroot() if _name(part) == "office:body"),
        None,
    )
    counts = {"large": 0, "formulas": 0}
    text = joined(_blocks(body, counts)) if body is not None else ""
    if counts["large"]:
        document.note("sheets", counts["large"])
    if counts["formulas"]:
        document.note("formulas", counts["formulas"])
    return text


def _blocks(element: Any, counts: dict[str, int]) -> Iterator[str]:
    """Yield the paragraphs, headings and tables within an element."""
    slide = 0
    for part in element:
        name = _name(part)
        if name in _SKIPPED:
            continue
        if name == "text:p":
            yield _line(part)
        elif name == "text:h":
            yield f"{'#' * min(_count(part, 'text:outline-level'), 6)} {_line(part)}"
        elif name == "table:table":
            yield _table(part, counts)
        else:
            if name == "draw:page":
                slide += 1
                yield f"## Slide {slide}"
            elif name == "presentation:notes":
                if notes := joined(_blocks(part, counts)):
                    yield f"Notes: {notes}"
                continue
            elif name == "text:list-item":
                yield "\n".join(f"- {line}" for line in _blocks(part, counts))
                continue
            yield from _blocks(part, counts)


def _line(element: Any) -> str:
    """Return the text of a paragraph, with what stands for spaces, tabs and line breaks."""
    return "".join(_pieces(element)).strip()


def _pieces(element: Any) -> Iterator[str]:
    yield element.text or ""
    for part in element:
        match _name(part):
            case "text:s":
                yield " " * min(_count(part, "text:c"), MAX_SPACES)
            case "text:tab":
                yield "\t"
            case "text:line-break":
                yield "\n"
            case "text:note" | "office:annotation":
                yield f" [{' '.join(' '.join(part.itertext()).split())}] "
            case "text:p":
                yield f"\n{_line(part)}"
            case _:
                yield from _pieces(part)
        yield part.tail or ""


def _table(element: Any, counts: dict[str, int]) -> str:
    table = Table()
    for row in element.iter():
        if _name(row) == "table:table-row":
            cells = _cells(row, counts, table)
            for _ in range(_count(row, "table:number-rows-repeated") if any(cells) else 0):
                table.add(cells)
    counts["large"] += table.is_large
    name = _attribute(element, "table:name")
    return f"## {name}\n\n{table.text()}" if table.rows else ""


def _cells(row: Any, counts: dict[str, int], table: Table) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if _name(cell) not in ("table:table-cell", "table:covered-table-cell"):
            continue
        text = _cell(cell, counts, table)
        # Thousands of empty cells fill up the row.
        cells += [text] * _count(cell, "table:number-columns-repeated")
    return cells


def _cell(cell: Any, counts: dict[str, int], table: Table) -> str:
    text = " ".join(
        filter(None, (_line(part) for part in cell if _name(part) in ("text:p", "text:h")))
    )
    if text:
        return text
    value = _attribute(cell, "office:value") or _attribute(cell, "office:date-value")
    formula = _attribute(cell, "table:formula")
    if value or not formula:
        return value
    counts["formulas"] += table.takes_lines
    return f"={formula.partition('=')[2]}"


def _name(element: Any) -> str:
    namespace, _, name = str(element.tag).removeprefix("{").partition("}")
    return f"{_NAMESPACES.get(namespace, '')}:{name}"


def _attribute(element: Any, name: str) -> str:
    return next((str(value) for key, value in element.items() if _short(key) == name), "")


def _short(key: str) -> str:
    namespace, _, name = key.removeprefix("{").partition("}")
    return f"{_NAMESPACES.get(namespace, '')}:{name}"


def _count(element: Any, name: str) -> int:
    """Return a number of repetitions, at least one and bounded."""
    value = _attribute(element, name)
    return (
        max(1, min(int(value), MAX_REPEATED))
        if value.isascii() and value.isdigit() and len(value) < 10
        else 1
    )

"""The picture of a storm: who received whose words, as SVG."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from cmw_agent.proof.storm.evidence import Evidence, Person

CELL, EDGE, HEAD = 18, 110, 96  # pixels: a square, the names on the left, the names on top
OWN, NOTHING, FOREIGN, BLIND = "#2e9e5b", "#eceff3", "#d3263f", "#b9c0ca"


@dataclass(frozen=True, slots=True)
class _Square:
    column: int
    row: int
    colour: str
    title: str


def picture(evidence: Evidence) -> str:
    """Return the picture: a row for each reader, a column for each whose words they were.

    Green is one's own, red another's; a grey diagonal means that nothing came back.
    """
    readers = evidence.people
    sources = [person for person in readers if person.kind == "user"]
    has_earlier = any(finding.source is None for finding in evidence.findings)
    names = [person.name for person in sources] + ["earlier run"] * has_earlier
    width, height = EDGE + CELL * len(names) + 8, HEAD + CELL * len(readers) + 8
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="11">'
        ),
        "<title>Who received whose words</title>",
        *_names(names, readers),
        *(_drawn(square) for square in _squares(evidence, readers, sources)),
        "</svg>",
    ]
    return "\n".join(parts)


def _names(columns: list[str], readers: list[Person]) -> Iterator[str]:
    for number, name in enumerate(columns):
        x = EDGE + CELL * number + CELL / 2 + 4
        yield f'<text transform="translate({x} {HEAD - 6}) rotate(-60)">{escape(name)}</text>'
    for number, person in enumerate(readers):
        y = HEAD + CELL * number + CELL - 5
        yield f'<text x="{EDGE - 6}" y="{y}" text-anchor="end">{escape(person.name)}</text>'


def _squares(evidence: Evidence, readers: list[Person], sources: list[Person]) -> Iterator[_Square]:
    found = {(finding.reader, finding.source): finding for finding in evidence.findings}
    for row, reader in enumerate(readers):
        for column, source in enumerate([*sources, None]):
            finding = found.get((reader, source))
            if finding is not None:
                title = f"{reader.name} received words of {source.name if source else 'earlier'}"
                yield _Square(column, row, FOREIGN, title)
            elif source is reader:
                colour = OWN if reader.heard else BLIND
                yield _Square(column, row, colour, f"{reader.name}: {len(reader.heard)} own codes")
            elif source is not None:
                yield _Square(column, row, NOTHING, "")


def _drawn(square: _Square) -> str:
    x, y = EDGE + CELL * square.column, HEAD + CELL * square.row
    title = f"<title>{escape(square.title)}</title>" if square.title else ""
    return (
        f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="2" '
        f'fill="{square.colour}">{title}</rect>'
    )

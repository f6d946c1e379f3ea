"""Tables as Markdown: small ones whole, large ones as a summary of their columns and their first rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

WHOLE_CHARS = 60_000  # of a table that is given whole
HEAD_CHARS = 20_000  # of the first rows of a larger one
HEAD_ROWS = 200
CELL_CHARS = 2_000
MAX_COLUMNS = 200
EXAMPLES = 4
EXAMPLE_CHARS = 40
_NUMBER_CHARS = frozenset("0123456789.,-+eE \u00a0\u202f")

Cell = object


@dataclass(slots=True)
class _Column:
    values: int = 0
    numbers: int = 0
    smallest: float = math.inf
    largest: float = -math.inf
    total: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, cell: Cell) -> None:
        self.values += 1
        number = _number(cell)
        if number is not None:
            self.numbers += 1
            self.total += number
            self.smallest, self.largest = min(self.smallest, number), max(self.largest, number)
        elif len(self.examples) < EXAMPLES:
            example = shown(cell)[:EXAMPLE_CHARS]
            if example not in self.examples:
                self.examples.append(example)

    def summary(self) -> str:
        parts = [f"{self.values:,} values"]
        if self.numbers:
            parts.append(
                f"{self.numbers:,} numbers from {self.smallest:.10g} to {self.largest:.10g}, sum {self.total:.12g}"
            )
        if self.examples:
            parts.append(f"for example {'; '.join(self.examples)}")
        return ", ".join(parts)


class Table:
    """Collects rows. The first one that is not empty names the columns.

    Attributes:
        rows: How many were added that are not empty.
        is_partial: Whether there are further rows that were not read.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.is_partial = False
        self._lines: list[str] = []
        self._chars = 0
        self._names: list[str] = []
        self._columns: list[_Column] = []
        self._is_large = False

    @property
    def is_large(self) -> bool:
        """Whether it is given as a summary and its first rows."""
        return self._is_large or self.is_partial

    @property
    def takes_lines(self) -> bool:
        """Whether further rows may be given as they are."""
        return not self._is_large

    def add(self, row: Sequence[Cell]) -> None:
        """Add a row; an empty one is left out."""
        cells = list(row[: self._width(row)])
        if not cells:
            return
        self.rows += 1
        if self.rows == 1:
            self._names = [shown(cell) for cell in cells[:MAX_COLUMNS]]
        else:
            self._count(cells)
        if self._is_large:
            return
        line = f"| {' | '.join(shown(cell).replace('|', chr(92) + '|') for cell in cells)} |"
        self._lines.append(line)
        self._chars += len(line) + 1
        if self._chars > WHOLE_CHARS:
            self._shorten()

    def text(self) -> str:
        """Return it as Markdown."""
        if not self._lines:
            return ""
        width = max(line.count(" | ") for line in self._lines[:1]) + 1
        head = [self._lines[0], f"|{' --- |' * width}", *self._lines[1:]]
        return "\n".join([*self._summary(), *head] if self.is_large else head)

    def _summary(self) -> list[str]:
        further = " and more" if self.is_partial else ""
        said = (
            f"[This table has {self.rows:,} rows{further} and {max(len(self._names), len(self._columns))} columns. "
            f"Here are a summary of its columns and its first {len(self._lines):,} rows.]"
        )
        return [said, *(self._column(at) for at in range(len(self._columns))), ""]

    def _column(self, at: int) -> str:
        name = self._names[at] if at < len(self._names) else ""
        return f"- {name or f'column {at + 1}'}: {self._columns[at].summary()}"

    def _count(self, cells: Sequence[Cell]) -> None:
        for at, cell in enumerate(cells[:MAX_COLUMNS]):
            if at == len(self._columns):
                self._columns.append(_Column())
            if not _is_empty(cell):
                self._columns[at].add(cell)

    def _shorten(self) -> None:
        self._is_large = True
        room = HEAD_CHARS
        fitting: list[str] = []
        for line in self._lines[:HEAD_ROWS]:
            room -= len(line) + 1
            if room < 0 and fitting:
                break
            fitting.append(line)
        self._lines = fitting

    @staticmethod
    def _width(row: Sequence[Cell]) -> int:
        width = len(row)
        while width and _is_empty(row[width - 1]):
            width -= 1
        return width


def shown(cell: Cell) -> str:
    """Return the text of a cell, on one line."""
    match cell:
        case None:
            return ""
        case bool():
            return "TRUE" if cell else "FALSE"
        case float():
            return f"{cell:.15g}"
        case datetime():
            return cell.isoformat(" ").removesuffix(" 00:00:00")
        case date() | time() | timedelta():
            return str(cell)
    text = " ".join(str(cell).split())
    return text if len(text) <= CELL_CHARS else text[:CELL_CHARS] + "…"


def _is_empty(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _number(cell: Cell) -> float | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell) if abs(cell) < 1e300 else None
    if not isinstance(cell, str) or len(cell) > 40 or not _NUMBER_CHARS.issuperset(cell):
        return None
    try:
        return float(
            cell.replace("\u00a0", "").replace("\u202f", "").replace(" ", "").replace(",", ".")
        )
    except ValueError:
        return None

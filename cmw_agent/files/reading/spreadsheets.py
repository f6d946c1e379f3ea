"""Reads Excel workbooks, sheet by sheet."""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from cmw_agent.files.reading.document import Document, RefusedError, Source, joined
from cmw_agent.files.reading.tables import HEAD_ROWS, Cell, Table

MAX_SHEETS = 200
CHUNK = 1 << 20
HEAD = 8_192  # bytes of a sheet, in which its size stands if it does
_DIMENSION = re.compile(rb"<(?:\w+:)?dimension\b")
_ROWS = re.compile(rb"<((?:\w+:)?)sheetData\b")
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def read_workbook(source: Source) -> Document:
    """Return the sheets of a workbook as tables.

    A formula whose result is not stored, as programs write it that do not calculate, stands as a
    formula.

    Raises:
        RefusedError: openpyxl is not installed.
    """
    try:
        import openpyxl  # type: ignore[import-untyped]  # noqa: PLC0415 (not needed for other kinds)
    except ImportError:
        raise RefusedError("unavailable") from None
    document, data = Document(MEDIA_TYPE), _with_dimensions(source.file.read())

    def opened(*, is_result: bool) -> list[Any]:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=is_result)
        return list(book.worksheets)

    results = opened(is_result=True)
    formulas = opened(is_result=False) if _has_formulas(data) else [None] * len(results)
    counts = {"large": 0, "partial": 0, "formulas": 0}
    sheets = list(zip(results, formulas, strict=True))
    document.text = joined(_sheet(source, *sheet, counts) for sheet in sheets[:MAX_SHEETS])
    if counts["large"]:
        document.note("sheets", counts["large"])
    if counts["partial"]:
        document.note("unfinished", counts["partial"])
    if counts["formulas"]:
        document.note("formulas", counts["formulas"])
    if len(sheets) > MAX_SHEETS:
        document.note("parts", MAX_SHEETS, len(sheets))
    return document


def _with_dimensions(data: bytes) -> bytes:
    """Return a workbook whose sheets all say how large they are, right or wrong.

    Where one does not, as programs write it that write row by row, openpyxl reads it to its end to open it.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        sheets = [name for name in old.namelist() if name.startswith("xl/worksheets/sheet")]
        if all(_says_dimension(old, name) for name in sheets):
            return data
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
            for entry in old.infolist():
                content = old.read(entry)
                if entry.filename in sheets:
                    content = _ROWS.sub(rb'<\1dimension ref="A1"/><\1sheetData', content, count=1)
                new.writestr(entry.filename, content)
    return out.getvalue()


def _says_dimension(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as sheet:
        return _DIMENSION.search(sheet.read(HEAD)) is not None


def _has_formulas(data: bytes) -> bool:
    """Return whether a cell of a workbook holds a formula."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        return any(_holds_formula(archive, name) for name in names)


def _holds_formula(archive: zipfile.ZipFile, name: str) -> bool:
    end = b""
    with archive.open(name) as sheet:
        while part := sheet.read(CHUNK):
            if _FORMULA.search(end + part):
                return True
            end = part[-8:]
    return False


def _sheet(source: Source, results: Any, formulas: Any, counts: dict[str, int]) -> str:
    table = Table()
    for row in _rows(results, formulas, table, counts):
        table.add(row)
        if source.is_late and table.rows >= HEAD_ROWS:
            table.is_partial = True
            break
    counts["large"] += table.is_large
    counts["partial"] += table.is_partial
    hidden = "" if results.sheet_state == "visible" else " (hidden)"
    return f"## {results.title}{hidden}\n\n{table.text()}" if table.rows else ""


def _rows(
    results: Any, formulas: Any, table: Table, counts: dict[str, int]
) -> Iterator[Sequence[Cell]]:
    # The size that a sheet declares may be wrong, and rows beyond it would be left out.
    results.reset_dimensions()
    stored = results.iter_rows(values_only=True)
    if formulas is None:
        yield from stored
        return
    formulas.reset_dimensions()
    written = formulas.iter_rows(values_only=True)
    for row in stored:
        # The formulas of a large table's later rows are of no use.
        yield _filled(row, next(written, ()), counts) if table.takes_lines else row


def _filled(row: Sequence[Cell], written: Sequence[Cell], counts: dict[str, int]) -> Sequence[Cell]:
    if all(cell is not None for cell in row) and len(row) >= len(written):
        return row
    filled = list(row)
    for at, (cell, formula) in enumerate(zip_longest(row, written)):
        text = getattr(formula, "text", formula)  # a formula of several cells is an object
        if cell is None and isinstance(text, str) and text.startswith("="):
            counts["formulas"] += 1
            filled[at : at + 1] = [text]
    return filled

"""Reads text, CSV and HTML in any encoding."""

import codecs
import csv
import io
import re

from cmw_agent.files.encodings import encoding_of, shown_name
from cmw_agent.files.reading.document import MAX_CHARS, Document, Source
from cmw_agent.files.reading.markdown import convert
from cmw_agent.files.reading.tables import HEAD_ROWS, Table

MAX_BYTES = MAX_CHARS * 4 + 4
MAX_CSV_BYTES = 100_000_000
SELF_TOLD = frozenset({"utf-8", "utf-8-sig", "utf-16", "utf-32", "iso2022_jp"})
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)\b[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([\w.:-]{2,40})", re.IGNORECASE
)


def read_text(source: Source) -> Document:
    """Return a text as it is."""
    document = Document(source.media_type)
    data = source.file.read(MAX_BYTES + 1)
    document.text = decoded(data[:MAX_BYTES], document, is_whole=len(data) <= MAX_BYTES)
    if len(data) > MAX_BYTES:
        document.text = document.text[:MAX_CHARS]
        document.note("cut", MAX_CHARS)
    return document


def read_csv(source: Source) -> Document:
    """Return a small table as it is, and a large one as a summary and its first rows."""
    if source.size <= MAX_CHARS:
        return read_text(source)
    document = Document(source.media_type)
    data = source.file.read(MAX_CSV_BYTES)
    text = decoded(data, document, is_whole=len(data) < MAX_CSV_BYTES)
    if len(text) <= MAX_CHARS:
        document.text = text
        return document
    csv.field_size_limit(MAX_CHARS)
    table = Table()
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8_192], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    for row in csv.reader(io.StringIO(text, newline=""), dialect):
        table.add(row)
        if source.is_late and table.rows >= HEAD_ROWS:
            table.is_partial = True
            break
    document.text = table.text()
    document.note("sheets", 1)
    if table.is_partial:
        document.note("unfinished", 1)
    return document


def read_html(source: Source) -> Document:
    """Return a page as Markdown."""
    document = Document("text/html")
    html = html_text(source.file.read(), document)
    document.text = convert(html.encode("utf-8", "replace"), ".html", "text/html; charset=utf-8")
    return document


def html_text(data: bytes, document: Document) -> str:
    """Return the source of a page, by the encoding that it declares where that is right."""
    declared = _CHARSET.search(data[:4_096])
    if declared and not data.startswith(
        (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeError):
            pass  # it declares another than it has
    return decoded(data, document)


def decoded(data: bytes, document: Document, *, is_whole: bool = True) -> str:
    """Return the text of bytes whose encoding is not known; note what is guessed or broken.

    Args:
        data: The bytes.
        document: Gets the notes.
        is_whole: Whether the text ends with them; otherwise a character cut at the end is left out.
    """
    encoding = encoding_of(data, is_whole=is_whole) or "cp1252"
    if encoding not in SELF_TOLD:
        document.note("encoding", shown_name(encoding).replace(" ", "-"))
    try:
        return (
            codecs.getincrementaldecoder(encoding)().decode(data, is_whole).removeprefix("\ufeff")
        )
    except UnicodeDecodeError:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(data, is_whole)
    document.note("broken", text.count("\ufffd"))
    return text.removeprefix("\ufeff")

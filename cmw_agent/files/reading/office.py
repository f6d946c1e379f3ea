"""Reads documents that are ZIP archives: Word, PowerPoint, OpenDocument, EPUB."""

import io
import re
from typing import Any

from defusedxml import ElementTree  # type: ignore[import-untyped]

from cmw_agent.files.reading import open_document, spreadsheets
from cmw_agent.files.reading.archives import Archive
from cmw_agent.files.reading.document import MAX_PICTURES, Document, Source, joined
from cmw_agent.files.reading.markdown import convert
from cmw_agent.files.reading.pictures import page_picture

_OOXML = "application/vnd.openxmlformats-officedocument."
MEDIA_TYPES = {
    "docx": f"{_OOXML}wordprocessingml.document",
    "pptx": f"{_OOXML}presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
}
_MARGINS = re.compile(r"word/(?:header|footer)\d*\.xml")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# What a presentation's text has where its slides have no words.
_NO_WORDS = re.compile(
    r"<!-- Slide number: \d+ -->|!\[[^\]\n]*\]\([^)\n]*\)|^#+ Slide \d+$|^### Notes:$", re.MULTILINE
)
_EMBEDDED = re.compile(r"!\[[^\]\n]*\]\(data:[^)\n]*\)")


def read_archive(source: Source) -> Document:
    """Return the text of a document that is an archive.

    Raises:
        RefusedError: It is no document, hostile, locked or damaged.
    """
    archive = Archive(source)
    kind = archive.kind
    source.file.seek(0)
    if kind == "xlsb":
        return Document("application/vnd.ms-excel.sheet.binary.macroenabled.12", office="xlsb")
    if kind == "xlsx":
        document = spreadsheets.read_workbook(source)
    elif kind in ("odt", "ods", "odp"):
        document = Document(MEDIA_TYPES[kind])
        content = io.BytesIO(archive.read("content.xml"))
        document.text = open_document.text_of(content, document)
    else:
        document = Document(MEDIA_TYPES[kind])
        text = convert(source.file.read(), f".{kind}", document.media_type)
        # What stands for pictures is cut addresses of data.
        document.text = joined([_EMBEDDED.sub("", text), *_margins(archive)])
    _add_pictures(archive, document)
    return document


def _margins(archive: Archive) -> list[str]:
    """Return the headers and footers of a Word document, each once; the converter leaves them out."""
    texts: dict[str, None] = {}
    for name in archive.names:
        if _MARGINS.fullmatch(name):
            root = ElementTree.fromstring(archive.read(name))
            lines = (_line(part) for part in root.iter(f"{_WORD}p"))
            text = " ".join(filter(None, lines))
            if text:
                texts[f"[{'Header' if 'header' in name else 'Footer'}] {text}"] = None
    return list(texts)


def _line(paragraph: Any) -> str:
    return "".join(part.text or "" for part in paragraph.iter(f"{_WORD}t")).strip()


def _add_pictures(archive: Archive, document: Document) -> None:
    """Give models the pictures of a document without a text, and count those of any other."""
    names = archive.pictures
    if not names:
        return
    if _NO_WORDS.sub("", document.text).strip():
        document.note("pictures", len(names))
        return
    for name in names[:MAX_PICTURES]:
        picture = page_picture(archive.read(name))
        if picture is not None:
            document.pictures.append(picture)
    document.note("shown", len(document.pictures), len(names))

"""Reads a file by the reader of its kind."""

from cmw_agent.files.reading.compound import read_compound
from cmw_agent.files.reading.document import MAX_CHARS, Document, Source
from cmw_agent.files.reading.mail import read_mail
from cmw_agent.files.reading.office import read_archive
from cmw_agent.files.reading.pdf import read_pdf
from cmw_agent.files.reading.pictures import read_picture
from cmw_agent.files.reading.plain_text import read_csv, read_html, read_text
from cmw_agent.files.reading.rich_text import read_rich_text

CUT_NOTE = "\n\n[The rest of this file was left out.]"


def read(source: Source) -> Document:
    """Return the text, notes and pictures of a file.

    Raises:
        RefusedError: It cannot be read.
    """
    document = _read(source)
    text = document.text.replace("\0", "").encode(errors="ignore").decode().strip()
    is_cut = any(note.startswith("cut:") for note in document.notes)
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS]
        if not is_cut:
            document.note("cut", MAX_CHARS)
        is_cut = True
    is_read = text or document.pictures or document.office
    if not is_read:
        document.note("empty")
    document.text = text + CUT_NOTE if is_cut else text
    return document


def _read(source: Source) -> Document:
    match source.media_type:
        case "application/zip":
            return read_archive(source)
        case "application/x-ole-storage":
            return read_compound(source, read)
        case "application/pdf":
            return read_pdf(source)
        case "application/rtf":
            return read_rich_text(source)
        case "message/rfc822":
            return read_mail(source, read)
        case "text/html":
            return read_html(source)
        case "text/csv":
            return read_csv(source)
        case media_type if media_type.startswith("image/"):
            return read_picture(source)
    return read_text(source)

"""Reads e-mails as they travel (EML), with the documents attached to them."""

import email
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default

from cmw_agent.files.reading.document import Document, RefusedError, Source, joined
from cmw_agent.files.reading.markdown import convert
from cmw_agent.files.reading.plain_text import decoded, html_text
from cmw_agent.files.sniffing import HEAD, clean_name, detect

HEADERS = ("From", "To", "Cc", "Date", "Subject")
MAX_ATTACHED = 10  # documents that are read
MAX_PARTS = 500
HEADER_CHARS = 2_000

Reader = Callable[[Source], Document]


def read_mail(source: Source, read: Reader) -> Document:
    """Return the head, the text and the attached documents of an e-mail.

    Args:
        source: The file.
        read: Reads an attached file.
    """
    document = Document("message/rfc822")
    message = email.message_from_binary_file(source.file, policy=default)
    parts = [part for part, _ in zip(message.walk(), range(MAX_PARTS), strict=False)]
    attached = [part for part in parts if _is_attached(part)]
    inside = {id(inner) for part in attached for inner in part.walk()} if attached else set()
    bodies = [
        part for part in parts if id(part) not in inside and part.get_content_maintype() == "text"
    ]
    plain = [part for part in bodies if part.get_content_type() != "text/html"]
    # The same text as a page and as plain text: the latter loses nothing that a model reads.
    text = joined(_body(part, document) for part in plain) or joined(
        _body(part, document) for part in bodies
    )
    files = ((_name(part), _content(part)) for part in attached)
    document.text = joined([_head(message, document), text])
    add_attached(document, files, source, read)
    return document


def add_attached(
    document: Document, files: Iterable[tuple[str, bytes]], source: Source, read: Reader
) -> None:
    """Add the texts of attached files to an e-mail; those that are not read are named.

    Args:
        document: The e-mail.
        files: Name and bytes of each.
        source: The e-mail's file; one that is attached itself has its files only named.
        read: Reads a file.
    """
    sections, unread = [], 0
    for number, (name, data) in enumerate(files):
        inner = _attached(data, name, source, read) if number < MAX_ATTACHED else None
        unread += inner is None
        head = f"[Attached file: {name}, {len(data):,} bytes{'' if inner else '; it was not read'}]"
        sections.append(f"{head}\n{inner.text}" if inner else head)
    document.text = joined([document.text, *sections])
    if unread:
        document.note("attached", unread)


def _attached(data: bytes, name: str, source: Source, read: Reader) -> Document | None:
    file_type = detect(data[:HEAD], name)
    if file_type is None or file_type.kind != "document" or source.is_attached or source.is_late:
        return None
    inner = replace(
        source, file=io.BytesIO(data), media_type=file_type.media_type, is_attached=True
    )
    try:
        document = read(inner)
    except RefusedError:
        return None
    return document if document.text.strip() and document.office is None else None


def _head(message: EmailMessage, document: Document) -> str:
    lines = []
    for name in HEADERS:
        value = " ".join(_header(message, name, document).split())
        if value:
            lines.append(f"{name}: {value[:HEADER_CHARS]}")
    return "\n".join(lines)


def _header(message: EmailMessage, name: str, document: Document) -> str:
    try:
        value = str(message[name] or "")
    except (
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
    ):  # the library fails on some that are malformed
        return ""
    raw = next((str(raw) for key, raw in message.raw_items() if key.lower() == name.lower()), "")
    # Letters that were sent without saying in which encoding.
    if any("\udc80" <= character <= "\udcff" for character in raw):
        return decoded(raw.encode("ascii", "surrogateescape"), document)
    return value


def _body(part: EmailMessage, document: Document) -> str:
    data = _content(part)
    charset = part.get_content_charset()
    if charset:
        try:
            text = data.decode(charset)
        except (LookupError, UnicodeError):
            text = decoded(data, document)
    elif part.get_content_type() == "text/html":
        text = html_text(data, document)
    else:
        text = decoded(data, document)
    if part.get_content_type() != "text/html" or not text.strip():
        return text
    return convert(text.encode("utf-8", "replace"), ".html", "text/html; charset=utf-8")


def _is_attached(part: EmailMessage) -> bool:
    if part.is_multipart():
        return part.get_content_type() == "message/rfc822"
    is_text = part.get_content_maintype() == "text"
    return (
        part.get_content_disposition() == "attachment" or bool(part.get_filename()) or not is_text
    )


def _content(part: EmailMessage) -> bytes:
    if part.get_content_type() == "message/rfc822" and part.is_multipart():
        return bytes(part.get_payload(0))  # type: ignore[arg-type]
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _name(part: EmailMessage) -> str:
    fallback = "message.eml" if part.get_content_type() == "message/rfc822" else "file"
    return clean_name(part.get_filename() or fallback)

"""Reads Outlook's messages (MSG), with the documents attached to them."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cmw_agent.files.encodings import encoding_of
from cmw_agent.files.reading.document import Document, Source, joined
from cmw_agent.files.reading.mail import MAX_PARTS, Reader, add_attached
from cmw_agent.files.reading.markdown import convert
from cmw_agent.files.reading.plain_text import decoded, html_text
from cmw_agent.files.reading.rich_text import rtf_text, unpacked
from cmw_agent.files.sniffing import clean_name

# Properties of a message, by their numbers in MAPI.
_SUBJECT, _SENDER, _SENDER_ADDRESS, _SENDER_SMTP = "0037", "0C1A", "0C1F", "5D01"
_TO, _CC, _BODY, _HTML, _RTF = "0E04", "0E03", "1000", "1013", "1009"
_FILE_NAME, _FILE_NAME_8_3, _FILE_DATA = "3707", "3704", "3701"
_TIMES = (0x00390040, 0x0E060040)  # sent, delivered
_CODE_PAGES = (0x3FFD0003, 0x3FDE0003)
_UNICODE, _BYTES, _BINARY = "001F", "001E", "0102"
_HEAD_BYTES = 32  # before the list of fixed properties
_CODE_PAGE_NAMES = {
    65001: "utf-8",
    20866: "koi8_r",
    21866: "koi8_u",
    28595: "iso8859_5",
    936: "gbk",
    950: "big5",
}


def read_message(compound: Any, source: Source, read: Reader) -> Document:
    """Return the head, the text and the attached documents of a message.

    Args:
        compound: The opened file.
        source: The file.
        read: Reads an attached file.
    """
    document = Document("application/vnd.ms-outlook")
    message = _Message(compound, document)
    sender, address = (
        message.text(_SENDER),
        message.text(_SENDER_SMTP) or message.text(_SENDER_ADDRESS),
    )
    who = (
        f"{sender} <{address}>"
        if address and "@" in address and address != sender
        else sender or address
    )
    values = {
        "From": who,
        "To": message.text(_TO),
        "Cc": message.text(_CC),
        "Date": message.sent_at(),
        "Subject": message.text(_SUBJECT),
    }
    head = "\n".join(
        f"{name}: {' '.join(value.split())}" for name, value in values.items() if value
    )
    document.text = joined([head, message.body()])
    add_attached(document, message.files(), source, read)
    return document


class _Message:
    """The properties of a message: those of text and bytes are streams, numbers and times one list."""

    def __init__(self, compound: Any, document: Document) -> None:
        self._compound = compound
        self._document = document
        self._fixed = dict(self._fixed_properties())
        page = next((self._fixed[tag] & 0xFFFFFFFF for tag in _CODE_PAGES if tag in self._fixed), 0)
        self._encoding = _CODE_PAGE_NAMES.get(page, f"cp{page}") if page else None

    def text(self, number: str, folder: str = "") -> str:
        """Return a property of text; empty if there is none."""
        data = self._stream(number, _UNICODE, folder)
        if data is not None:
            return data.decode("utf-16-le", "replace").rstrip("\0")
        data = self._stream(number, _BYTES, folder)
        return self._decoded(data).rstrip("\0") if data else ""

    def body(self) -> str:
        """Return the text: the plain one, else that of the page, else that of the rich text."""
        if plain := self.text(_BODY).strip():
            return plain
        html = self._stream(_HTML, _BINARY)
        page = html_text(html, self._document) if html else self.text(_HTML)
        if page.strip():
            return convert(page.encode("utf-8", "replace"), ".html", "text/html; charset=utf-8")
        packed = self._stream(_RTF, _BINARY)
        return rtf_text(unpacked(packed)) if packed else ""

    def sent_at(self) -> str:
        """Return when it was sent; empty if it was not."""
        ticks = next((self._fixed[tag] for tag in _TIMES if tag in self._fixed), 0)
        try:
            moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
        except OverflowError:
            return ""
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if ticks else ""

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and bytes of each attached file."""
        storages = [
            path[0]
            for path in self._compound.listdir(streams=False, storages=True)
            if len(path) == 1
        ]
        folders = [name for name in storages if name.startswith("__attach_version1.0_")]
        for folder in sorted(folders)[:MAX_PARTS]:
            name = self.text(_FILE_NAME, folder) or self.text(_FILE_NAME_8_3, folder)
            yield clean_name(name), self._stream(_FILE_DATA, _BINARY, folder) or b""

    def _decoded(self, data: bytes) -> str:
        encoding = self._encoding or encoding_of(data) or "cp1252"
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeError):
            return decoded(data, self._document)

    def _stream(self, number: str, kind: str, folder: str = "") -> bytes | None:
        path = "/".join(filter(None, (folder, f"__substg1.0_{number}{kind}")))
        if not self._compound.exists(path) or self._compound.get_type(path) != 2:
            return None
        return bytes(self._compound.openstream(path).read())

    def _fixed_properties(self) -> Iterator[tuple[int, int]]:
        data = self._compound.openstream("__properties_version1.0").read()
        for at in range(_HEAD_BYTES, len(data) - 15, 16):
            tag, _, value = struct.unpack_from("<IIQ", data, at)
            yield tag, value

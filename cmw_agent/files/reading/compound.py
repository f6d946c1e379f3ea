"""Tells Microsoft's compound files apart: Outlook's messages, old Office documents, locked new ones."""

import struct
from typing import Any

from cmw_agent.files.reading import outlook
from cmw_agent.files.reading.document import Document, RefusedError, Source
from cmw_agent.files.reading.mail import Reader

_OLD = {
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
}
_WORD_ENCRYPTED = 0x0100  # among the flags at 10 of the stream "WordDocument"
_FILE_PASSWORD = 0x2F  # the record that begins an encrypted workbook
_MAX_RECORDS = 64  # of a workbook's beginning


def read_compound(source: Source, read: Reader) -> Document:
    """Return the text of an Outlook message, or say which old document LibreOffice is to convert.

    Args:
        source: The file.
        read: Reads a file that is attached to a message.

    Raises:
        RefusedError: It is locked, damaged or of another kind.
    """
    try:
        import olefile  # type: ignore[import-untyped]  # noqa: PLC0415 (not needed for other kinds)
    except ImportError:
        raise RefusedError("unavailable") from None
    try:
        compound = olefile.OleFileIO(source.file)
    except OSError:
        raise RefusedError("damaged") from None
    if compound.exists("EncryptedPackage"):  # a document of today's Office with a password
        raise RefusedError("locked")
    if compound.exists("__properties_version1.0"):
        return outlook.read_message(compound, source, read)
    kind = _old_kind(compound)
    if kind is None:
        raise RefusedError("kind")
    return Document(_OLD[kind], office=kind)


def _old_kind(compound: Any) -> str | None:
    if compound.exists("WordDocument"):
        head = compound.openstream("WordDocument").read(12)
        if len(head) == 12 and struct.unpack_from("<H", head, 10)[0] & _WORD_ENCRYPTED:
            raise RefusedError("locked")
        return "doc"
    for name in ("Workbook", "Book"):
        if compound.exists(name):
            if _has_password(compound.openstream(name)):
                raise RefusedError("locked")
            return "xls"
    if compound.exists("PowerPoint Document"):
        if compound.exists("EncryptedSummary"):
            raise RefusedError("locked")
        return "ppt"
    return None


def _has_password(workbook: Any) -> bool:
    for _ in range(_MAX_RECORDS):
        head = workbook.read(4)
        if len(head) < 4:
            return False
        record, size = struct.unpack("<HH", head)
        if record == _FILE_PASSWORD:
            return True
        workbook.read(size)
    return False

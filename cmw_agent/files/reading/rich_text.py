"""Reads RTF, as a file and as Outlook packs it into messages."""

import re
import struct

from cmw_agent.files.encodings import encoding_of
from cmw_agent.files.reading.document import Document, RefusedError, Source

_CODE_PAGE = re.compile(rb"\\ansicpg(\d{3,5})")
_PICTURE = re.compile(rb"\\pict\b")
_PACKED, _PLAIN = b"LZFu", b"MELA"
_MAX_RTF = 50_000_000
# The dictionary that packing begins with, as [MS-OXRTFCP] gives it.
_BEGINNING = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_WINDOW = 4096


def read_rich_text(source: Source) -> Document:
    """Return the text of an RTF document."""
    document = Document("application/rtf")
    data = source.file.read(_MAX_RTF)
    document.text = rtf_text(data)
    if count := len(_PICTURE.findall(data)):
        document.note("pictures", count)
    return document


def rtf_text(data: bytes) -> str:
    """Return the text of RTF.

    Raises:
        RefusedError: striprtf is not installed.
    """
    try:
        from striprtf.striprtf import rtf_to_text  # noqa: PLC0415 (not needed for other kinds)
    except ImportError:
        raise RefusedError("unavailable") from None
    page = _CODE_PAGE.search(data[:4_096])
    encoding = f"cp{page[1].decode()}" if page else "cp1252"
    if encoding == "cp65001":
        encoding = "utf-8"
    try:
        "".encode(encoding)
    except LookupError:
        encoding = "cp1252"
    # RTF is ASCII; some programs write other letters as they are.
    source = (
        data.decode("ascii")
        if data.isascii()
        else data.decode(encoding_of(data) or encoding, "replace")
    )
    return str(
        rtf_to_text(  # type: ignore[no-untyped-call]
            source, encoding=encoding, errors="replace"
        )
    )


def unpacked(data: bytes) -> bytes:
    """Return RTF that Outlook has packed; empty where it is damaged."""
    if len(data) < 16:
        return b""
    _, raw_size, kind = struct.unpack_from("<II4s", data)
    if kind == _PLAIN:
        return data[16 : 16 + raw_size]
    if kind != _PACKED or raw_size > _MAX_RTF:
        return b""
    return bytes(_unpack(data, raw_size))


def _unpack(data: bytes, raw_size: int) -> bytearray:
    window = bytearray(_BEGINNING.ljust(_WINDOW, b"\0"))
    at, write, out = 16, len(_BEGINNING), bytearray()
    while at < len(data) and len(out) < raw_size:
        control, at = data[at], at + 1
        for bit in range(8):
            if not control >> bit & 1:
                piece, at = data[at : at + 1], at + 1
            else:
                if at + 2 > len(data):
                    return out
                (token,) = struct.unpack_from(">H", data, at)
                at, offset = at + 2, token >> 4
                if offset == write % _WINDOW:
                    return out  # the mark of the end
                piece = bytes(_copied(window, offset, (token & 15) + 2, write))
                write += len(piece)
                out += piece
                continue
            if not piece:
                return out
            window[write % _WINDOW] = piece[0]
            write += 1
            out += piece
    return out


def _copied(window: bytearray, offset: int, count: int, write: int) -> bytearray:
    """Copy bytes within the window one by one, since they may overlap; return them."""
    copied = bytearray()
    for step in range(count):
        byte = window[(offset + step) % _WINDOW]
        window[(write + step) % _WINDOW] = byte
        copied.append(byte)
    return copied

"""Detects the type of a file from its first bytes, whatever the client declares.

The ending of the name only distinguishes kinds of plain text.
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from memory.records import FileKind

HEAD = 4096  # bytes that are inspected
NAME_CHARS = 120
OFFICE: Final = "application/zip"  # the extraction finds out which office format it is


@dataclass(frozen=True, slots=True)
class FileType:
    """Kind and media type as which a file is treated."""

    kind: FileKind
    media_type: str


_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_AUDIO = {
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"\xff\xf2": "audio/mpeg",
    b"OggS": "audio/ogg",
    b"fLaC": "audio/flac",
    b"\x1aE\xdf\xa3": "audio/webm",
}
_M4A = (b"M4A ", b"M4B ", b"mp42", b"isom", b"dash")
_TEXTS = {
    ".html": "text/html",
    ".htm": "text/html",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
}
_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_SVG = re.compile(r"<(?:\w+:)?svg\b|<!doctype\s+svg", re.IGNORECASE)


def detect(head: bytes, name: str) -> FileType | None:
    """Return the type of a file, or None for a type that is not accepted.

    Args:
        head: The first `HEAD` bytes of the file, or all if there are fewer.
        name: The file's name, whose ending distinguishes kinds of text.
    """
    for magic, media_type in _IMAGES.items():
        if head.startswith(magic):
            return FileType("image", media_type)
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        is_image = head[8:12] == b"WEBP"
        return FileType("image", "image/webp") if is_image else FileType("audio", "audio/wav")
    for magic, media_type in _AUDIO.items():
        if head.startswith(magic):
            return FileType("audio", media_type)
    if head[4:8] == b"ftyp" and head[8:12] in _M4A:
        return FileType("audio", "audio/mp4")
    if head.startswith(b"%PDF-"):
        return FileType("document", "application/pdf")
    if head.startswith(b"PK\x03\x04"):
        return FileType("document", OFFICE)
    return _text(head, name)


def _text(head: bytes, name: str) -> FileType | None:
    text = decoded(head)
    if text is None or _SVG.search(text):
        return None
    ending = PurePosixPath(name.lower()).suffix
    if _HTML.match(text):
        return FileType("document", "text/html")
    if ending in (".svg", ".svgz", ".xml", ".xht", ".xhtml"):
        return None
    return FileType("document", _TEXTS.get(ending, "text/plain"))


def decoded(head: bytes) -> str | None:
    """Return the text of the first bytes of a file, or None if they are not text.

    A character of which only a part is in `head` is left out.
    """
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head).removeprefix("\ufeff")
    except UnicodeDecodeError:
        if encoding != "utf-8":
            return None
        # Older encodings use one byte per character; without control characters it is text.
        text = head.decode("latin-1")
    controls = any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text)
    return None if controls or not text else text


def clean_name(name: str) -> str:
    """Return a file name safe to show: without folders and control characters, and truncated."""
    base = re.split(r"[/\\]", name)[-1]
    # Control characters, lone surrogates and bidirectional controls are not printable.
    clean = "".join(c for c in base if c.isprintable()).strip(" .")
    if len(clean) > NAME_CHARS:
        ending = PurePosixPath(clean).suffix[:12]
        clean = clean[: NAME_CHARS - len(ending)] + ending
    return clean or "file"

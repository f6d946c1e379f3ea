"""What a file is, by its first bytes: the client's word for it does not count.

The name's ending only tells apart what is plain text anyway.
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from memory.records import FileKind

HEAD = 4096  # bytes that are looked at
NAME_CHARS = 120
OFFICE: Final = "application/zip"  # which one of them is found by whoever opens it


@dataclass(frozen=True, slots=True)
class FileType:
    """What a file is to be treated as."""

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
    """Return what begins with `head`, or None for what is not taken.

    Args:
        head: The first `HEAD` bytes, or all where there are fewer.
        name: The file's name, for its ending.
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
    """Return the text that these bytes begin, or None when they begin none.

    A character that the cut went through is left out.
    """
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head).removeprefix("\ufeff")
    except UnicodeDecodeError:
        if encoding != "utf-8":
            return None
        # Older files hold one byte for each character; without controls they are text.
        text = head.decode("latin-1")
    controls = any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text)
    return None if controls or not text else text


def clean_name(name: str) -> str:
    """Return a file's name fit to be shown: its last part, without controls, cut in length."""
    last = re.split(r"[/\\]", name)[-1]
    # Printable leaves out controls, half surrogates and the marks that turn the reading order.
    shown = "".join(c for c in last if c.isprintable()).strip(" .")
    if len(shown) > NAME_CHARS:
        ending = PurePosixPath(shown).suffix[:12]
        shown = shown[: NAME_CHARS - len(ending)] + ending
    return shown or "file"

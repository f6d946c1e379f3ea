"""Detects the type of a file from its first bytes, whatever the client declares.

The ending of the name only distinguishes kinds of plain text.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from cmw_agent.files.encodings import begins_text

FileKind = Literal[
    "image", "document", "audio"
]  # as `memory.records` has it, which a worker does not load

HEAD = 4096  # bytes that are inspected
NAME_CHARS = 120
OFFICE: Final = "application/zip"  # the extraction finds out which office format it is
COMPOUND: Final = "application/x-ole-storage"  # so are old office formats and Outlook's messages


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
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"II+\0": "image/tiff",
    b"MM\0+": "image/tiff",
}
_AUDIO = {
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"\xff\xf2": "audio/mpeg",
    b"OggS": "audio/ogg",
    b"fLaC": "audio/flac",
    b"\x1aE\xdf\xa3": "audio/webm",
    b"#!AMR": "audio/amr",
    b"\xff\xf1": "audio/aac",
    b"\xff\xf9": "audio/aac",
}
_DOCUMENTS = {
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": OFFICE,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": COMPOUND,
    b"{\\rtf": "application/rtf",
}
_ARCHIVES = (
    *(b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"),
)
_BITMAP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # their sizes in bytes
_M4A = (b"M4A ", b"M4B ", b"mp42", b"isom", b"dash")
_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
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
_MAIL_START = re.compile(r"\s{0,10}[A-Za-z][\w-]{0,60}:")
_MAIL_FIELDS = re.compile(
    r"^(?:received|return-path|message-id|mime-version):", re.IGNORECASE | re.MULTILINE
)
_SENDER_FIELD = re.compile(r"^from:", re.IGNORECASE | re.MULTILINE)
_SVG = re.compile(r"<(?:\w+:)?svg\b|<!doctype\s+svg", re.IGNORECASE)


def detect(head: bytes, name: str) -> FileType | None:
    """Return the type of a file, or None for a type that is not accepted.

    Args:
        head: The first `HEAD` bytes of the file, or all if there are fewer.
        name: The file's name, whose ending distinguishes kinds of text.
    """
    if head.startswith(_ARCHIVES):
        return None
    kind = _picture(head) or _audio(head)
    if kind is not None:
        return kind
    for magic, media_type in _DOCUMENTS.items():
        if head.startswith(magic):
            return FileType("document", media_type)
    # Some programs write a few bytes before a PDF; readers look for it.
    if b"%PDF-" in head[:1_024] and not head[:1].isalnum():
        return FileType("document", "application/pdf")
    return _text(head, name)


def refusal_of(head: bytes) -> str:
    """Return why a file of no accepted type is refused: a key of `extraction.SENTENCES`."""
    return "archive" if head.startswith(_ARCHIVES) else "kind"


def _picture(head: bytes) -> FileType | None:
    for magic, media_type in _IMAGES.items():
        if head.startswith(magic):
            return FileType("image", media_type)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return FileType("image", "image/webp")
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return FileType("image", "image/bmp")
    if head[4:8] != b"ftyp":
        return None
    # The first brand may be that of all such files, and a later one its own.
    brands = head[8 : min(int.from_bytes(head[:4], "big"), 256)]
    if any(brand in brands for brand in _AVIF):
        return FileType("image", "image/avif")
    return FileType("image", "image/heic") if head[8:12] in _HEIC else None


def _audio(head: bytes) -> FileType | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return FileType("audio", "audio/wav")
    for magic, media_type in _AUDIO.items():
        if head.startswith(magic):
            return FileType("audio", media_type)
    is_mp4 = head[4:8] == b"ftyp" and head[8:12] in _M4A
    return FileType("audio", "audio/mp4") if is_mp4 else None


def _text(head: bytes, name: str) -> FileType | None:
    text = begins_text(head)
    if text is None:
        return None
    ending = PurePosixPath(name.lower()).suffix
    if _is_mail(text, ending):
        return FileType("document", "message/rfc822")
    if _SVG.search(text):
        return None
    if _HTML.match(text):
        return FileType("document", "text/html")
    if ending in (".svg", ".svgz", ".xml", ".xht", ".xhtml"):
        return None
    return FileType("document", _TEXTS.get(ending, "text/plain"))


def _is_mail(text: str, ending: str) -> bool:
    text = text.replace("\r\n", "\n")
    if ending == ".eml" and _MAIL_START.match(text):
        return True
    head = text.partition("\n\n")[0]
    return bool(
        _MAIL_START.match(text) and _MAIL_FIELDS.search(head) and _SENDER_FIELD.search(head)
    )


def clean_name(name: str) -> str:
    """Return a file name safe to show: without folders and control characters, and truncated."""
    base = re.split(r"[/\\]", name)[-1]
    # Control characters, lone surrogates and bidirectional controls are not printable.
    clean = "".join(c for c in base if c.isprintable()).strip(" .")
    if len(clean) > NAME_CHARS:
        ending = PurePosixPath(clean).suffix[:12]
        clean = clean[: NAME_CHARS - len(ending)] + ending
    return clean or "file"

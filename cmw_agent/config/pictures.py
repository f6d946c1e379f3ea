"""Reads the operator's logo and icon: a local file or a `data:` address, checked and size-capped.

A raster picture is known by its first bytes. An SVG may hold shapes alone: whatever could run a
script or fetch something makes it refused, with the name of what is wrong.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree as ET

MAX_BYTES: Final = 200_000
SVG: Final = "image/svg+xml"
ALLOWED = f"a PNG, JPEG, WebP, ICO or plain SVG picture of at most {MAX_BYTES // 1000} kB"
SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
)
DATA = re.compile(
    r"data:[a-z0-9.+/-]*(?:;charset=[a-z0-9-]+)?(;base64)?,(.*)", re.DOTALL | re.IGNORECASE
)
SVG_NAMESPACE: Final = "http://www.w3.org/2000/svg"
SHAPES: Final = frozenset(
    [
        "svg",
        "g",
        "defs",
        "symbol",
        "use",
        "title",
        "desc",
        "metadata",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "linearGradient",
        "radialGradient",
        "stop",
        "clipPath",
        "mask",
    ]
)
LOCAL_URL = re.compile(r"url\(\s*['\"]?#[^)]*\)")
ACTIVE = re.compile(r"url\(|javascript:|data:|@import|expression\(", re.IGNORECASE)


class PictureError(ValueError):
    """The picture cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A checked picture.

    Attributes:
        media_type: Its type, such as ``image/png``.
        content: Its bytes.
    """

    media_type: str
    content: bytes = field(repr=False)

    @property
    def uri(self) -> str:
        """The picture as a `data:` address; the text of an SVG stands in it as text."""
        if self.media_type == SVG:
            return f"data:{SVG},{quote(self.content)}"
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode('ascii')}"


def read_picture(source: str, folder: Path) -> Picture:
    """Return the picture that `source` names: a file's path, or a `data:` address.

    Args:
        source: The path, absolute or below `folder`, or the address.
        folder: The folder of relative paths.

    Raises:
        PictureError: It cannot be read, is too large, or is no picture of the allowed kinds.
    """
    text = source.strip()
    content = _of_address(text) if text[:5].lower() == "data:" else _of_file(text, folder)
    if len(content) > MAX_BYTES:
        raise PictureError("it is larger")
    return Picture(_media_type(content), content)


def _of_file(text: str, folder: Path) -> bytes:
    if not text.isprintable():
        raise PictureError("it is no path")
    try:
        with (folder / Path(text).expanduser()).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"it cannot be read ({error.strerror})") from None


def _of_address(text: str) -> bytes:
    if len(text) > 2 * MAX_BYTES:
        raise PictureError("it is larger")
    match = DATA.fullmatch(text)
    if match is None:
        raise PictureError("it is no data: address")
    try:
        content = unquote_to_bytes(match.group(2))
        return base64.b64decode(content, validate=True) if match.group(1) else content
    except (binascii.Error, ValueError):
        raise PictureError("it is not valid base64") from None


def _media_type(content: bytes) -> str:
    for start, media_type in SIGNATURES:
        if content.startswith(start):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if b"<svg" in content[:4096]:
        _check_svg(content)
        return SVG
    raise PictureError("it is another kind of file")


def _check_svg(content: bytes) -> None:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"<?xml-stylesheet" in content:
        raise PictureError("it has a DOCTYPE, entities or a style sheet")
    try:
        # Entities are refused above, so that nothing in it can grow.
        root = ET.fromstring(content.decode("utf-8-sig"))  # noqa: S314
    except (ET.ParseError, UnicodeDecodeError, ValueError):
        raise PictureError("it is not well-formed UTF-8") from None
    if (problem := next(_svg_problems(root), None)) is not None:
        raise PictureError(f"it has {problem}")


def _svg_problems(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        namespace, _, name = str(element.tag).rpartition("}")
        if namespace.lstrip("{") != SVG_NAMESPACE or name not in SHAPES:
            yield f"<{name[:40]}>"
        for attribute, value in element.attrib.items():
            plain = attribute.rpartition("}")[2].lower()
            is_foreign_link = plain == "href" and not value.strip().startswith("#")
            is_active = ACTIVE.search(LOCAL_URL.sub("", value)) is not None
            if plain.startswith("on") or plain == "style" or is_foreign_link or is_active:
                yield f"the attribute {plain[:40]}"

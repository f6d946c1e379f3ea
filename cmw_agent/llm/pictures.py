"""Reads the pictures that a model makes, from the forms in which servers send them."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cmw_agent.core.events import PictureReceived
from cmw_agent.core.logs import get_logger
from cmw_agent.language import wording

log = get_logger(__name__)

MAX_PICTURES = 10  # of one message
MAX_BYTES = 20_971_520  # of all pictures of one message
MAX_URL = 2_000  # characters
MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
DATA_URI = re.compile(
    r"data:(image/[a-z0-9.+-]{1,40})(?:;[a-z0-9=-]{1,20}){0,2};base64,", re.IGNORECASE
)
PICTURE_TYPES = frozenset({"image_url", "image", "output_image", "input_image"})
SAFE = ":/?&=#%~+,;@!$'*-._"  # signs of a URL that mean nothing in Markdown's links
LEFT_OUT = wording(
    "[The model sent a picture that is cut, too large or of a kind that is not shown.]"
)


class PictureReader:
    """The pictures of one message, up to their bounds."""

    __slots__ = ("_bytes", "_count")

    def __init__(self) -> None:
        self._count = self._bytes = 0

    def read(self, item: Any) -> PictureReceived | str:
        """Return the picture of a content part, an entry of `images`, or a URL.

        A picture that stands elsewhere becomes a Markdown link, and one that cannot be shown a
        note: both are text of the answer. Empty where there is no picture at all.
        """
        media_type, data = _embedded(item)
        if data:
            return self.decode(media_type, data)
        url = _url(item)
        if (head := DATA_URI.match(url)) is not None:
            return self.decode(head[1], url[head.end() :])
        is_web = url[:8].lower().startswith(("http://", "https://")) and len(url) <= MAX_URL
        return f"[Picture]({quote(url, safe=SAFE)})" if is_web else ""

    def decode(self, media_type: str, data: str) -> PictureReceived | str:
        """Return the picture of base64 `data`, or a note where it is not shown."""
        kind = media_type.lower().replace("image/jpg", "image/jpeg")
        size = len(data) // 4 * 3
        if kind in MEDIA_TYPES and self._count < MAX_PICTURES and self._bytes + size <= MAX_BYTES:
            try:
                content = base64.b64decode("".join(data.split()) + "==")
            except (binascii.Error, ValueError):
                content = b""
            if content:
                self._count += 1
                self._bytes += len(content)
                return PictureReceived(kind, content)
        log.warning("picture left out", media_type=kind, bytes=size, pictures=self._count)
        return LEFT_OUT


def is_picture(part: Mapping[str, Any]) -> bool:
    """Return whether a content part is a picture."""
    return part.get("type") in PICTURE_TYPES


def _embedded(item: Any) -> tuple[str, str]:
    """Return media type and base64 data of a picture that holds them apart."""
    if not isinstance(item, Mapping):
        return "", ""
    source = item.get("source")
    fields = source if isinstance(source, Mapping) else item
    names = ("data", "b64_json", "base64", "image_base64")
    data = next((fields[name] for name in names if isinstance(fields.get(name), str)), "")
    kinds = ("media_type", "mime_type", "mimeType")
    kind = next((fields[name] for name in kinds if isinstance(fields.get(name), str)), "image/png")
    return ("", "") if data.startswith("data:") else (kind, data)


def _url(item: Any) -> str:
    if isinstance(item, str):
        return item.strip()
    if not isinstance(item, Mapping):
        return ""
    for name in ("image_url", "url", "data", "b64_json", "source", "imageUrl"):
        value = item.get(name)
        if isinstance(value, str | Mapping) and (url := _url(value)):
            return url
    return ""

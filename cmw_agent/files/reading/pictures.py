"""Makes the pictures that models see: scaled down, without metadata."""

import io
from typing import Any

from cmw_agent.files.reading import recognition
from cmw_agent.files.reading.document import MAX_PICTURES, Document, RefusedError, Source, joined

MAX_PIXELS = 50_000_000
PICTURE_EDGE = 1568
PNG_BYTES = 1_000_000
_FORMATS = {"image/heic": "HEIF"}
_WITHIN = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")  # kinds that documents hold


def read_picture(source: Source) -> Document:
    """Return the picture of an image, or of each page of a scan.

    Raises:
        RefusedError: It is damaged, too large, or of a kind that cannot be read here.
    """
    document = Document(source.media_type)
    name = _FORMATS.get(source.media_type) or source.media_type.removeprefix("image/").upper()
    with _opened(source.file, name) as image:
        frames = getattr(image, "n_frames", 1)
        shown = min(frames, MAX_PICTURES) if name == "TIFF" else 1
        texts = []
        for frame in range(shown):
            if frame:
                image.seek(frame)
                _check(image)
            picture = flat(image)
            document.pictures.append(encoded(picture, is_photo=name in ("JPEG", "HEIF", "AVIF")))
            if name == "TIFF" and (text := recognition.text_of(picture)):
                texts.append(text)
        document.text = joined(texts)
        if frames > shown:
            document.note("frames", shown, frames)
        if texts:
            document.note("recognised", len(texts))
    return document


def page_picture(data: bytes) -> bytes | None:
    """Return the picture of an image within a document; None if it cannot be read."""
    try:
        with _opened(io.BytesIO(data), *_WITHIN) as image:
            return encoded(flat(image))
    except (RefusedError, OSError, ValueError):
        return None


def flat(image: Any) -> Any:
    """Return an image scaled down, upright, on white, with three channels."""
    from PIL import Image, ImageOps  # noqa: PLC0415 (not needed for documents)

    if image.format == "JPEG":
        image.draft("RGB", (PICTURE_EDGE, PICTURE_EDGE))
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # of 16 bits, of which converting would keep the darkest
        upright = upright.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    upright.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
    # Transparent parts become white.
    is_transparent = "A" in upright.mode or "transparency" in upright.info
    scaled = upright.convert("RGBA" if is_transparent else "RGB")
    picture = Image.new("RGB", scaled.size, "white")
    picture.paste(scaled, mask=scaled if is_transparent else None)
    return picture


def encoded(image: Any, *, is_photo: bool = False) -> bytes:
    """Return a picture as PNG, or as JPEG where that is smaller by far."""
    if max(image.size) > PICTURE_EDGE:
        image = image.copy()
        image.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
    out = io.BytesIO()
    if not is_photo:
        image.save(out, "PNG", optimize=False)
        if out.tell() <= PNG_BYTES:
            return out.getvalue()
        out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _opened(file: Any, *formats: str) -> Any:
    from PIL import Image  # noqa: PLC0415 (not needed for documents)

    if "HEIF" in formats:
        try:
            import pillow_heif  # noqa: PLC0415 (of this kind alone)
        except ImportError:
            raise RefusedError("heic") from None
        pillow_heif.register_heif_opener(thumbnails=False)
    # Opening reads only the header, so the size is checked before anything is decoded.
    try:
        image = Image.open(file, formats=list(formats))
    except Image.DecompressionBombError:
        raise RefusedError("pixels") from None
    _check(image)
    return image


def _check(image: Any) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RefusedError("pixels")

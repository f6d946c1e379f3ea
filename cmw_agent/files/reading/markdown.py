"""Converts a document by one of markitdown's converters."""

import io

from cmw_agent.files.reading.document import RefusedError


def convert(data: bytes, ending: str, media_type: str) -> str:
    """Return the Markdown of a document.

    Args:
        data: Its bytes.
        ending: Of its kind.
        media_type: Of its kind, perhaps with a charset.

    Raises:
        RefusedError: markitdown is not installed.
    """
    try:
        from markitdown import StreamInfo, converters  # noqa: PLC0415 (takes two seconds; optional)
    except ImportError:
        raise RefusedError("unavailable") from None
    # One converter by name: markitdown guesses no type and creates no converter with network use.
    converter = {
        ".pdf": converters.PdfConverter,
        ".docx": converters.DocxConverter,
        ".pptx": converters.PptxConverter,
        ".html": converters.HtmlConverter,
        ".epub": converters.EpubConverter,
    }[ending]()  # type: ignore[no-untyped-call]
    kind, _, charset = media_type.partition("; charset=")
    info = StreamInfo(extension=ending, mimetype=kind, charset=charset or None)
    return str(converter.convert(io.BytesIO(data), info).text_content)

"""Reads PDF: the text of its pages, and pictures of those that have none."""

import re
from typing import Any

from cmw_agent.files.reading import recognition
from cmw_agent.files.reading.document import (
    MAX_CHARS,
    MAX_PICTURES,
    Document,
    RefusedError,
    Source,
    joined,
)
from cmw_agent.files.reading.markdown import convert
from cmw_agent.files.reading.pictures import PICTURE_EDGE, encoded

MEDIA_TYPE = "application/pdf"
MAX_LAID_OUT = 60  # pages whose tables are looked for, which takes a tenth of a second each
PAGE_CHARS = 12  # a page with fewer is a picture with a number on it
MAX_SCALE = 20.0  # of a tiny page
MIN_SHARE = 0.7  # of the words that the layout must keep
_WORDS = re.compile(r"\w+")


def read_pdf(source: Source) -> Document:
    """Return the text of a PDF, and pictures of pages without text.

    Raises:
        RefusedError: It is locked or damaged.
    """
    try:
        import pypdfium2  # type: ignore[import-untyped]  # noqa: PLC0415 (not needed for other kinds)
    except ImportError:
        raise RefusedError("unavailable") from None
    document, data = Document(MEDIA_TYPE), source.file.read()
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise RefusedError("locked" if "password" in str(error).lower() else "damaged") from None
    pages, pictured, chars = [], [], 0
    for number in range(len(pdf)):
        page = pdf[number]
        pages.append(_text(page))
        chars += len(pages[-1])
        if len("".join(pages[-1].split())) < PAGE_CHARS and _shows_something(page):
            pictured.append(number)
        page.close()
        if chars > MAX_CHARS:
            break
    document.text = _laid_out(data, pages) if chars else ""
    if len(pages) < len(pdf):
        document.note("parts", len(pages), len(pdf))
    if pictured:
        _add_pictures(pdf, pictured, source, document)
    return document


def _text(page: Any) -> str:
    text_page = page.get_textpage()
    text = str(text_page.get_text_bounded()).replace("\r\n", "\n").replace("\ufffe", "-")
    text_page.close()
    return text.strip()


def _shows_something(page: Any) -> bool:
    return next(page.get_objects(max_depth=1), None) is not None


def _laid_out(data: bytes, pages: list[str]) -> str:
    """Return the text with its tables, where that loses no words and takes no minutes."""
    plain = joined(pages)
    if len(pages) > MAX_LAID_OUT or len(plain) > MAX_CHARS:
        return plain
    text = convert(data, ".pdf", MEDIA_TYPE)
    is_whole = len(_WORDS.findall(text)) >= MIN_SHARE * len(_WORDS.findall(plain))
    return text if is_whole else plain


def _add_pictures(pdf: Any, numbers: list[int], source: Source, document: Document) -> None:
    shown = numbers[:MAX_PICTURES]
    document.pictures += [encoded(_picture(pdf, number, PICTURE_EDGE)) for number in shown]
    texts = []
    for number in numbers if recognition.is_available() else ():
        if source.is_late:
            break
        if text := recognition.text_of(_picture(pdf, number, recognition.EDGE)):
            texts.append(f"[Page {number + 1}, recognised from its picture]\n{text}")
    document.text = joined([document.text, *texts])
    document.note("pages", len(shown), len(numbers), len(pdf))
    if texts:
        document.note("recognised", len(texts))


def _picture(pdf: Any, number: int, edge: int) -> Any:
    page = pdf[number]
    scale = edge / max(page.get_width(), page.get_height(), 1.0)
    image = page.render(scale=min(scale, MAX_SCALE)).to_pil().convert("RGB")
    page.close()
    return image

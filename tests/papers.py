"""Makes small, valid files of every supported kind, with a given text in them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docx
import openpyxl  # type: ignore[import-untyped]
import pptx
from PIL import Image


def word(text: str) -> bytes:
    """Return a Word document."""
    document, out = docx.Document(), io.BytesIO()
    document.add_paragraph(text)
    document.save(out)
    return out.getvalue()


def word_with_picture(text: str) -> bytes:
    """Return a Word document that holds a picture."""
    document, out = docx.Document(), io.BytesIO()
    document.add_paragraph(text)
    document.add_picture(io.BytesIO(picture()))
    document.save(out)
    return out.getvalue()


def word_with_margins(text: str, header: str, footer: str) -> bytes:
    """Return a Word document with a header and a footer."""
    document, out = docx.Document(), io.BytesIO()
    document.add_paragraph(text)
    document.sections[0].header.paragraphs[0].text = header
    document.sections[0].footer.paragraphs[0].text = footer
    document.save(out)
    return out.getvalue()


def sheet(text: str) -> bytes:
    """Return an Excel workbook."""
    workbook, out = openpyxl.Workbook(), io.BytesIO()
    workbook.active.append([text, 1])
    workbook.save(out)
    return out.getvalue()


def slides(text: str) -> bytes:
    """Return a PowerPoint presentation."""
    presentation, out = pptx.Presentation(), io.BytesIO()
    layout = presentation.slide_layouts[1]
    presentation.slides.add_slide(layout).shapes.title.text = text
    presentation.save(out)
    return out.getvalue()


def pdf(text: str) -> bytes:
    """Return a PDF of one page."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
            b"/Resources<</Font<</F1 5 0 R>>>>>>"
        ),
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n"
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start
    return bytes(out)


def picture(size: tuple[int, int] = (60, 40), kind: str = "PNG", colour: str = "red") -> bytes:
    """Return an image of one colour; `size` is in pixels, `kind` is a format of Pillow."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def archive(**entries: bytes) -> bytes:
    """Return a zip archive that is declared as a Word document, with further entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("word/document.xml", "<w/>")
        for name, content in entries.items():
            zip_file.writestr(name, content)
    return out.getvalue()


def zipped(entries: Mapping[str, bytes]) -> bytes:
    """Return a zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, content in entries.items():
            zip_file.writestr(name, content)
    return out.getvalue()


def stored_files(folder: Path) -> list[Path]:
    """Return the paths of all stored files in a data folder."""
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())

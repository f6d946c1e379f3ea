"""Files of every kind, made for a test: small, real, and with a word in them."""

import io
import zipfile
from pathlib import Path

import docx
import openpyxl  # type: ignore[import-untyped]
import pptx
from PIL import Image


def word(text: str) -> bytes:
    """A Word document."""
    made, out = docx.Document(), io.BytesIO()
    made.add_paragraph(text)
    made.save(out)
    return out.getvalue()


def sheet(text: str) -> bytes:
    """An Excel workbook."""
    made, out = openpyxl.Workbook(), io.BytesIO()
    made.active.append([text, 1])
    made.save(out)
    return out.getvalue()


def slides(text: str) -> bytes:
    """A PowerPoint presentation."""
    made, out = pptx.Presentation(), io.BytesIO()
    made.slides.add_slide(made.slide_layouts[1]).shapes.title.text = text
    made.save(out)
    return out.getvalue()


def pdf(text: str) -> bytes:
    """A PDF of one page."""
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
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n"
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start
    return bytes(out)


def picture(size: tuple[int, int] = (60, 40), kind: str = "PNG", colour: str = "red") -> bytes:
    """An image of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def archive(**entries: bytes) -> bytes:
    """A packed archive that says it is a Word document, with these entries beside."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("word/document.xml", "<w/>")
        for name, content in entries.items():
            made.writestr(name, content)
    return out.getvalue()


def kept(folder: Path) -> list[Path]:
    """All bytes of files that lie in a data folder."""
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())

"""Text extraction from each kind of file, and previews of images."""

import io
from pathlib import Path

import pytest
from PIL import Image

from cmw_agent.files.extraction import Extraction
from cmw_agent.files.sniffing import HEAD, clean_name, detect
from tests import papers
from tests.harness import settings_for

DOCUMENTS = {
    "a.docx": papers.word("needle ä"),
    "a.xlsx": papers.sheet("needle ä"),
    "a.pptx": papers.slides("needle ä"),
    "a.html": "<html><body><h1>needle ä</h1><script>evil()</script></body></html>".encode(),
    "a.txt": "needle ä".encode(),
    "a.csv": "needle ä,1\n".encode(),
    "a.md": "# needle ä".encode("utf-16"),
    "old.txt": "needle ä".encode("cp1252"),
    "a.pdf": papers.pdf("needle in a page"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_document_gives_its_text(tmp_path: Path, name: str) -> None:
    content = DOCUMENTS[name]
    (tmp_path / "source").write_bytes(content)
    found = detect(content[:HEAD], name)
    assert found is not None
    assert found.kind == "document"
    read = await Extraction(settings_for(tmp_path, extraction_seconds=200)).read(
        tmp_path / "source", found.media_type, tmp_path / "picture"
    )
    assert read.text is not None
    assert ("needle in a page" if name == "a.pdf" else "needle ä") in read.text
    assert "evil" not in read.text
    assert read.media_type != "application/zip"


async def test_a_long_text_is_cut_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes("ä".encode() * 300_000)
    read = await Extraction(settings_for(tmp_path, extraction_seconds=200)).read(
        tmp_path / "source", "text/plain", tmp_path / "picture"
    )
    assert read.text is not None
    assert read.text.startswith("ä" * 200_000 + "\n")
    assert len(read.text) < 200_100


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_a_picture_is_drawn_smaller_without_what_a_camera_added(
    tmp_path: Path, kind: str
) -> None:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "secret place"
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (3000, 2000), "red").save(out, kind, exif=exif)
    (tmp_path / "source").write_bytes(out.getvalue())
    found = detect(out.getvalue()[:HEAD], "x.exe")
    assert found is not None
    picture = tmp_path / "picture"
    read = await Extraction(settings_for(tmp_path, extraction_seconds=200)).read(
        tmp_path / "source", found.media_type, picture
    )
    assert read.text is None
    assert b"secret place" not in picture.read_bytes()
    with Image.open(picture) as drawn:
        assert max(drawn.size) == 1568
        assert (drawn.height > drawn.width) == (kind != "GIF")
        assert not drawn.getexif()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a\u202etxt.exe\0\n", "atxt.exe"),
        ("", "file"),
        ("..", "file"),
        ("x" * 300 + ".docx", "x" * 115 + ".docx"),
    ],
)
def test_a_name_is_its_last_part_without_tricks(written: str, shown: str) -> None:
    assert clean_name(written) == shown

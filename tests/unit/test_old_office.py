"""Old Office documents are converted by LibreOffice where it is installed, and refused with advice elsewhere."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cmw_agent.files.extraction import FileRefusedError
from tests import papers
from tests.compound_files import compound
from tests.doubles import soffice
from tests.extracting import DOCUMENTS, ReadFile, read

OLD = {
    "doc": (DOCUMENTS / "letter.doc", "docx", papers.word("converted needle")),
    "xls": (DOCUMENTS / "table.xls", "xlsx", papers.sheet("converted needle")),
    "ppt": (None, "pptx", papers.slides("converted needle")),
}


def old(kind: str) -> bytes:
    path = OLD[kind][0]
    return path.read_bytes() if path else compound({"PowerPoint Document": b"x"})


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, which is this test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def converted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, results: Mapping[str, bytes]
) -> ReadFile:
    programs = soffice.install(folder / "programs", results)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return await read(folder, old(kind), f"a.{kind}")


@pytest.mark.parametrize("kind", OLD)
async def test_an_old_document_is_read_by_way_of_its_new_form(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _, target, content = OLD[kind]
    done = await converted(tmp_path, monkeypatch, kind, {target: content})
    assert "converted needle" in done.text
    assert done.media_type.startswith(("application/msword", "application/vnd.ms-"))
    assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("kind", "advice"), [("doc", ".docx or PDF"), ("xls", ".xlsx"), ("ppt", ".pptx or PDF")]
)
async def test_without_libreoffice_an_old_document_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, advice: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(FileRefusedError, match=f"old form.*save this one as {advice}"):
        await read(tmp_path, old(kind), f"a.{kind}")


async def test_what_libreoffice_cannot_read_is_called_damaged(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileRefusedError) as told:
        await converted(tmp_path, monkeypatch, "doc", {})
    assert told.value.reason == "damaged"
    assert left_in(temporary) == []


async def test_what_libreoffice_makes_is_judged_like_an_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = papers.archive(big=b"\0" * 20_000_000)
    with pytest.raises(FileRefusedError) as told:
        await converted(tmp_path, monkeypatch, "doc", {"docx": bomb})
    assert told.value.reason == "bomb"

"""Hostile 42: files that are mislabelled, expand or never end are refused and removed."""

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from cmw_agent.files.extraction import Extraction, FileRefusedError
from tests import papers
from tests.harness import Browser, served, settings_for
from tests.isolation.test_files import put
from tests.service import wait_until


def flood() -> bytes:
    """A PNG whose header promises 10,000 megapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def link() -> bytes:
    out = io.BytesIO(papers.archive())
    with zipfile.ZipFile(out, "a") as made:
        entry = zipfile.ZipInfo("word/link.xml")
        entry.external_attr = 0o120777 << 16
        made.writestr(entry, "/etc/passwd")
    return out.getvalue()


REFUSED: dict[str, tuple[bytes | Callable[[], bytes], str, str]] = {
    "bomb": (papers.archive(big=b"\0" * 20_000_000), "a.docx", "unpacks to far more"),
    "many": (papers.archive(**{f"e{n}": b"" for n in range(10_001)}), "a.docx", "unpacks"),
    "climbing": (papers.archive(**{"../../evil": b"x"}), "a.docx", "lead out of it"),
    "link": (link(), "a.docx", "lead out of it"),
    "pixels": (flood(), "a.png", "50 megapixels"),
    "more pixels": (partial(papers.picture, (9_000, 6_000), "GIF"), "a.gif", "50 megapixels"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "a.png", "not taken"),
    "svg as html": (b"<html><svg onload=alert(1)></html>", "a.svg", "not taken"),
    "program": (b"\x7fELF\x02\x01\x01\0\0\0\0", "a.txt", "not taken"),
    "archive": (papers.archive()[:30] + b"x" * 100, "a.docx", "damaged"),
    "broken pdf": (b"%PDF-1.4\n\0\0\0", "a.pdf", "damaged"),
    "cut picture": (papers.picture()[:60], "a.png", "damaged"),
    "empty": (b"", "a.txt", "empty"),
    "audio": (b"ID3\0\0", "a.mp3", "demo model"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_hostile_file_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    made, called, sentence = REFUSED[name]
    content = made if isinstance(made, bytes) else made()  # a large one only where it is sent
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        await alice.open()
        status, told = await put(alice, content, called)
        assert status == 422
        assert sentence in told["detail"]
        assert papers.stored_files(tmp_path) == []


async def test_what_is_too_large_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    limits = {"max_file_bytes": 100_000, "file_quota_bytes": 150_000}
    async with served(settings_for(tmp_path, **limits)) as app, Browser(app.url) as alice:
        await alice.open()
        status, told = await put(alice, b"x" * 100_001)
        assert (status, "at most 0.1 MB" in told["detail"]) == (413, True)
        assert (await put(alice, b"x" * 70_000))[0] == 200  # its text counts as well
        status, told = await put(alice, b"x" * 70_000)
        assert (status, "take 0.1 MB of 0.1 MB" in told["detail"]) == (413, True)
        assert len(papers.stored_files(tmp_path)) == 1


def is_gone(pid: int) -> bool:
    """Whether a process has ended, perhaps unnoticed by its parent."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("how", "word", "seconds"),
    [
        # waited out, and enough to have started another
        pytest.param("hang", "time", 8, marks=pytest.mark.slow),
        ("print", "printed", 30),
        ("nonsense", "memory", 30),
    ],
)
async def test_a_worker_gone_wrong_is_killed_with_all_it_started(
    tmp_path: Path, how: str, word: str, seconds: float
) -> None:
    source, note = tmp_path / "source", tmp_path / "child"
    source.write_text(f"{how} {note}")
    reader = Extraction(
        settings_for(tmp_path, extraction_seconds=seconds), module="tests.hostile.hanging_worker"
    )
    with pytest.raises(FileRefusedError) as told:
        await reader.read(source, "text/plain", tmp_path / "picture")
    assert told.value.reason == word
    if how == "hang":
        child = int(note.read_text())
        await wait_until(lambda: is_gone(child))


async def test_a_document_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    # of each paragraph the reader makes objects a hundred times its size
    (tmp_path / "source").write_bytes(b"<p>x</p>" * 400_000)
    reader = Extraction(settings_for(tmp_path, extraction_megabytes=440, extraction_seconds=240))
    with pytest.raises(FileRefusedError) as told:
        await reader.read(tmp_path / "source", "text/html", tmp_path / "picture")
    assert told.value.reason == "memory"


def test_the_worker_opens_no_connection() -> None:
    code = (
        "import sys; from cmw_agent.files.extraction_worker import forbid; sys.addaudithook(forbid)\n"
        "import socket\n"
        "try: socket.create_connection(('127.0.0.1', 9))\n"
        "except PermissionError: print('forbidden')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "forbidden\n"

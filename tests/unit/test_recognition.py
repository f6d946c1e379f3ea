"""The text of scans, recognised by Tesseract: real, in an environment that has the extra `ocr`."""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.extracting import read
from tests.harness import WAIT
from tests.programs import TESSERACT, path_of

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients"
LINES = ("Invoice number 48151", "Amount due: 2342 euros")
# Reads a file as an upload does; the worker that reads it runs in this interpreter's environment.
PROGRAM = """\
import asyncio, sys
from pathlib import Path
from tests.extracting import read

done = asyncio.run(read(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), Path(sys.argv[2]).name))
print(done.text, done.note, len(done.pictures), sep="\\n")
"""


def scan(kind: str) -> bytes:
    """Return a picture of `LINES`; `kind` is a format of Pillow."""
    sheet = Image.new("RGB", (1_200, 400), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=56)
    for row, line in enumerate(LINES):
        pen.text((60, 60 + 120 * row), line, fill="black", font=font)
    out = io.BytesIO()
    sheet.save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has all that this one has, and `tesserocr`."""
    path_of(TESSERACT)  # an error here says what to install
    extra = tmp_path_factory.mktemp("extra")
    found = list(CLIENTS.glob("lib/python3*/site-packages/tesserocr*"))
    assert found, "run `make programs` first: it installs the extra's package"
    for each in found:
        # Not linked: what a link leads to is not readable in the sandbox.
        shutil.copytree(each, extra / each.name)
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python3*/site-packages")
    (packages / "more.pth").write_text(f"{sysconfig.get_path('purelib')}\n{extra}\n")
    return home / "bin" / "python"


@pytest.mark.parametrize(("name", "kind"), [("scan.pdf", "PDF"), ("scan.tiff", "TIFF")])
async def test_the_text_of_a_scan_is_recognised_and_said_to_be(
    tmp_path: Path, python: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    path.write_bytes(scan(kind))
    (tmp_path / "work").mkdir()
    program = await asyncio.create_subprocess_exec(
        python,
        "-c",
        PROGRAM,
        tmp_path / "work",
        path,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT * 3):
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    text = out.decode()
    for line in LINES:
        assert line in text
    assert "recognised" in text


async def test_without_the_extra_the_pages_are_pictures(tmp_path: Path) -> None:
    assert "tesserocr" not in sys.modules
    done = await read(tmp_path, scan("PDF"), "scan.pdf")
    assert (done.text, len(done.pictures)) == ("", 1)

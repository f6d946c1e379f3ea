"""A LibreOffice under an attacker's control reaches nothing of the app and no network."""

import json
import os
import socket
from pathlib import Path

import pytest

from tests import papers
from tests.doubles import soffice
from tests.extracting import DOCUMENTS, read
from tests.hostile.test_sandbox import kernel

# Tries what is given in `targets`, and writes the outcomes into the converted document.
ATTACK = """
import errno, io, json, os, signal, socket, zipfile
targets = {targets!r}
def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "reached"
def connect(family, address):
    with socket.socket(family) as made:
        made.connect(address)
found = {{
    "read database": outcome(lambda: open(targets["folder"] + "/chat.db").read()),
    "list folder": outcome(lambda: os.listdir(targets["folder"])),
    "write database": outcome(lambda: open(targets["folder"] + "/chat.db", "a").close()),
    "delete database": outcome(lambda: os.unlink(targets["folder"] + "/chat.db")),
    "write to /tmp": outcome(lambda: open("/tmp/cmw-new", "w").close()),
    "run what it wrote": outcome(lambda: os.execv(targets["written"], ["x"])),
    "tcp": outcome(lambda: connect(socket.AF_INET, ("127.0.0.1", targets["port"]))),
    "local socket": outcome(lambda: connect(socket.AF_UNIX, targets["socket"])),
    "environment": " ".join(sorted(os.environ)),
}}
out = io.BytesIO()
with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
    for name in old.namelist():
        text = json.dumps(found).replace('"', "'").encode()
        new.writestr(name, old.read(name).replace(b"PLACEHOLDER", text))
content = out.getvalue()
"""


async def test_a_program_that_converts_reaches_nothing_that_the_kernel_can_keep_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_landlock, has_filter = kernel()
    data = tmp_path / "data"
    data.mkdir()
    (data / "chat.db").write_text("a secret")
    monkeypatch.setenv("AN_API_KEY", "a secret")
    address = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(address)
        local.listen()
        targets = {
            "folder": str(data),
            "port": server.getsockname()[1],
            "socket": address,
            "written": str(data / "chat.db"),
        }
        programs = soffice.install(
            tmp_path / "programs",
            {"docx": papers.word("PLACEHOLDER")},
            work=ATTACK.format(targets=targets),
        )
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        done = await read(data, (DOCUMENTS / "letter.doc").read_bytes(), "a.doc")
    found = json.loads(done.text.replace("\\", "").replace("'", '"'))
    assert set(found.pop("environment").split()) <= {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "TMPDIR", "SAL_USE_VCLPLUGIN")
    }
    assert len(found) == 8
    for name, outcome in found.items():
        if has_filter if name in ("tcp", "local socket") else has_landlock:
            assert outcome in ("EACCES", "EPERM"), f"{name}: {outcome}"
    assert (data / "chat.db").read_text() == "a secret"

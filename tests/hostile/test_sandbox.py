"""An extraction worker under an attacker's control reaches nothing of the app."""

import ctypes
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cmw_agent.files import extraction_worker, sandbox
from cmw_agent.files.extraction import PASSED_ON, Extraction
from tests.harness import settings_for

SINGLE_THREADS = {"NO_PROXY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
SECRETS = ("COMPOSIO_API_KEY", "CMW_SECRET_KEY", "OPENAI_API_KEY", "CMW_DATABASE_URL")
# What Landlock alone keeps from a worker; all else is the filter's.
FILES = {"read", "write", "list", "delete", "rename"}


def kernel() -> tuple[bool, bool]:
    """Whether this kernel has Landlock and filters of system calls, asked without the app."""
    if not sys.platform.startswith("linux"):
        return False, False
    libc = ctypes.CDLL(None, use_errno=True)
    has_filter = "seccomp" in Path("/proc/self/status").read_text().lower()
    known = platform.machine() in ("x86_64", "aarch64")
    return libc.syscall(444, None, 0, 1) > 0, has_filter and known


async def outcomes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a worker reaches of a data folder, of its parent and of sockets that listen."""
    for name in ("chat.db", "chat.db-wal", "secret.key", ".env", "files/ab/other"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a secret")
    settings = settings_for(folder, extraction_seconds=200)
    for name in SECRETS:
        monkeypatch.setenv(name, "a secret")
    address = str(folder / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(address)
        local.listen()
        wanted = {
            "folder": str(folder),
            "files": ["chat.db", "chat.db-wal", "secret.key", ".env", "files/ab/other"],
            "parent": os.getpid(),
            "port": server.getsockname()[1],
            "socket": address,
        }
        (folder / "source").write_text(json.dumps(wanted))
        extraction = Extraction(settings, module="tests.hostile.reaching_worker")
        read = await extraction.read(folder / "source", "text/plain", folder / "picture")
    assert read.text is not None
    found: dict[str, str] = json.loads(read.text)
    return found


async def test_a_worker_reaches_nothing_that_the_kernel_can_keep_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_landlock, has_filter = kernel()
    found = await outcomes(tmp_path, monkeypatch)
    environment = set(found.pop("environment").split())
    assert environment <= {*PASSED_ON, *SINGLE_THREADS, "LC_CTYPE"}
    assert len(found) == 21
    for name, outcome in found.items():
        is_kept = has_landlock if name.split()[0] in FILES else has_filter
        if is_kept:
            assert outcome in ("EACCES", "EPERM"), f"{name}: {outcome}"


async def test_the_log_says_at_the_start_what_the_sandbox_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Extraction(settings_for(tmp_path))
    (record,) = [record for record in caplog.records if "sandbox" in record.message]
    assert record.levelname == ("INFO" if all(kernel()) else "WARNING")


def test_what_the_app_takes_for_offered_is_what_the_kernel_has() -> None:
    offer = sandbox.features()
    assert (offer.landlock > 0, offer.seccomp) == kernel()


# Landlock's call answers as on a kernel without it: a filter of the test's own sees to that.
WITHOUT_LANDLOCK = """
import ctypes, logging, pathlib, struct, sys
from cmw_agent.files import sandbox
deny = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("HBBI", *step) for step in deny)
buffer = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(22, 2, struct.pack("HP", len(deny), ctypes.addressof(buffer)), 0, 0)
from cmw_agent.files.extraction import Extraction
from tests.harness import settings_for
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
assert sandbox.features() == sandbox.SandboxFeatures(0, True), sandbox.features()
Extraction(settings_for(pathlib.Path(sys.argv[1])))
assert sandbox.enter([]) == sandbox.SandboxFeatures(0, True)
open(__file__ if "__file__" in globals() else sys.executable, "rb").close()
"""


def test_without_landlock_there_is_a_warning_and_the_rest_of_the_sandbox(tmp_path: Path) -> None:
    if not kernel()[1]:
        assert not sandbox.features().is_whole
        return
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("WARNING this system offers no whole sandbox")
    assert "landlock=0 seccomp=True" in done.stdout


def test_the_folder_of_the_app_as_a_whole_is_not_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]  # `.env` and the data folder may be in it
    monkeypatch.syspath_prepend(root)
    readable = {path.resolve() for path in extraction_worker.readable_paths()}
    assert root not in readable
    assert root / "cmw_agent" in readable

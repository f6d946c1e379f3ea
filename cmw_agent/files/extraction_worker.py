"""Worker process that reads one file: `python -m cmw_agent.files.extraction_worker`.

It has no settings and no secrets, opens no connection, and writes one JSON object to its
standard output: ``media_type``, ``text`` and ``notes``, or ``refused`` with a reason. The file may be
hostile, so the caller trusts nothing that this process does. It opens the file, and the picture
to write, before it enters the sandbox; from then on it can open nothing but the interpreter and
its libraries.
"""

import json
import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cmw_agent.files import page_pictures, sandbox
from cmw_agent.files.reading.document import RefusedError, Source

OPEN_FILES = 128
READING_SHARE = 0.5  # of the job's seconds, after which what may be left out is left out
# Shared libraries, media types, time zones, fonts; capabilities of the processor.
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/etc/mime.types", "/etc/localtime", "/usr/share"),
    *("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)
NO_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"})
NO_PROCESS = frozenset({"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"})
Reader = Callable[[BinaryIO, str, BinaryIO | None], dict[str, str]]


def main(read: Reader | None = None) -> None:
    """Read the job from standard input, process it in the sandbox and print the result.

    Args:
        read: Processes the file; a test of the sandbox passes a hostile function.
    """
    job = json.loads(sys.stdin.buffer.readline())
    # What libraries print must not get into the result.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit_resources(job)
    sys.addaudithook(forbid)
    warnings.simplefilter("ignore")
    deadline = time.monotonic() + job["seconds"] * READING_SHARE
    output.write(json.dumps(_result(job, read or partial(_read, deadline=deadline))).encode())
    output.flush()
    # Ends without the threads and exit handlers of libraries.
    os._exit(0)


def _result(job: dict[str, Any], read: Reader) -> dict[str, str]:
    try:
        # Both are closed when the process ends.
        source, picture = _open_files(job)
        sandbox.enter(readable_paths())
        return read(source, job["media_type"], picture)
    except RefusedError as refused:
        return {"refused": str(refused)}
    except sandbox.SandboxError:
        return {"refused": "unavailable"}
    except MemoryError:
        return {"refused": "memory"}
    except Exception:  # noqa: BLE001 (a hostile file may cause any error in a library)
        return {"refused": "damaged"}


def _open_files(job: dict[str, Any]) -> tuple[BinaryIO, BinaryIO | None]:
    binary = getattr(os, "O_BINARY", 0)  # on Windows only
    source = os.fdopen(os.open(job["source"], os.O_RDONLY | binary), "rb")
    if not job["picture"]:
        return source, None
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | binary
    return source, os.fdopen(os.open(job["picture"], flags, 0o600), "w+b")


def readable_paths() -> Iterator[Path]:
    """Yield the folders and files of the interpreter and its libraries, and what these read."""
    # Not the whole folder of a checkout: the data folder and `.env` may be in it. An installed
    # app lies among the libraries, beside its own metadata.
    root = Path(__file__).resolve().parents[2]
    is_installed = any(root.glob("cmw_agent-*.dist-info"))
    yield root / "cmw_agent"
    for path in map(Path, filter(None, sys.path)):
        if is_installed or path.resolve() != root:
            yield path
    yield from (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    yield Path(sys.base_prefix, "lib")
    yield from map(Path, SYSTEM)


def limit_resources(job: dict[str, Any], *, open_files: int = OPEN_FILES) -> None:
    """Limit this process to the job's `megabytes`, `seconds` of CPU and bytes of `output`."""
    try:
        import resource  # noqa: PLC0415 (does not exist on Windows)
    except ImportError:  # Windows: the caller's time-out is the only limit
        return
    limits = {
        resource.RLIMIT_AS: job["megabytes"] << 20,
        resource.RLIMIT_CPU: job["seconds"],
        resource.RLIMIT_FSIZE: job["output"],
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard_limit = resource.getrlimit(kind)
        value = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):  # macOS does not limit address space
            continue


def forbid(event: str, _arguments: tuple[object, ...]) -> None:
    """Audit hook that lets nothing use the network or begin a process."""
    if event in NO_NETWORK or event in NO_PROCESS:
        raise PermissionError(event)


def _read(
    file: BinaryIO, media_type: str, picture: BinaryIO | None, *, deadline: float
) -> dict[str, str]:
    from cmw_agent.files.reading import readers  # noqa: PLC0415 (not needed by other workers)

    source = Source(file, media_type, deadline)
    document = readers.read(source)
    if document.office is not None:
        return {"media_type": document.media_type, "office": document.office}
    if picture is not None and document.pictures:
        picture.write(page_pictures.packed(document.pictures))
        picture.flush()
    result = {"media_type": document.media_type, "notes": " ".join(document.notes)}
    is_picture = media_type.startswith("image/") and not document.text
    return result if is_picture else result | {"text": document.text}


if __name__ == "__main__":
    main()

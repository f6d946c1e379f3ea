"""Worker process that becomes LibreOffice: ``python -m cmw_agent.files.office_worker JOB``.

It limits itself, enters a sandbox in which only the job's own folder can be written and nothing
outside can be connected to, and starts the program in its place.
"""

import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

from cmw_agent.files import sandbox
from cmw_agent.files.extraction_worker import limit_resources, readable_paths

# A program of this size takes more addresses than a worker of ours.
MEMORY_FACTOR = 4
OUTPUT_BYTES = 200_000_000
OPEN_FILES = 1_024
PROGRAMS = ("/usr", "/bin", "/lib", "/lib64", "/opt")
SOCKETS = Path("/tmp")  # noqa: S108 (LibreOffice's own choice)
READABLE = (
    *("/etc/fonts", "/etc/libreoffice", "/etc/alternatives", "/etc/passwd", "/etc/nsswitch.conf"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/os-release"),
    *(
        "/var/lib/libreoffice",
        "/var/spool/libreoffice",
        "/var/cache/fontconfig",
        "/proc",
        "/sys/devices",
        "/sys/dev",
    ),
    *("/etc/group", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
)


def main() -> None:
    """Start the program of the job, which is the argument."""
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    os.chdir(folder)
    for name in ("out", "profile", "temporary"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    limit_resources(
        {
            "megabytes": job["megabytes"] * MEMORY_FACTOR,
            "seconds": job["seconds"],
            "output": OUTPUT_BYTES,
        },
        open_files=OPEN_FILES,
    )
    program = Path(job["program"])
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    os.umask(0o077)
    sandbox.enter(
        map(Path, READABLE), programs=_programs(program), writable=folder, sockets=SOCKETS
    )
    arguments = [
        str(program),
        f"-env:UserInstallation={profile_of(folder)}",
        *("--headless", "--norestore", "--nolockcheck", "--nodefault", "--nofirststartwizard"),
        *("--convert-to", job["target"], "--outdir", str(folder / "out"), job["source"]),
    ]
    os.execve(program, arguments, _environment(folder))  # noqa: S606 (no shell; found by its name)


def profile_of(folder: Path) -> str:
    """Return the address of the program's profile in a job's folder."""
    return (folder / "profile").as_uri()


def socket_of(folder: Path) -> Path:
    """Return the path of the local socket by which the program finds another that has its profile.

    It cannot be told to make it elsewhere, and leaves it behind when it is killed.
    """
    digest = md5(profile_of(folder).encode("utf-16-le"), usedforsecurity=False).digest()
    name = "".join(f"{byte:x}" for byte in digest)
    return SOCKETS / f"OSL_PIPE_{os.getuid()}_SingleOfficeIPC_{name}"


def _programs(program: Path) -> Iterator[Path]:
    yield from map(Path, PROGRAMS)
    # Where it is installed elsewhere, and the interpreter of one that is a script.
    yield program.parent
    yield program.resolve().parent
    yield from readable_paths()
    yield Path(sys.prefix)
    yield Path(sysconfig.get_path("scripts"))
    yield Path(sys.executable).resolve().parent


def _environment(folder: Path) -> Mapping[str, Any]:
    inherited = {
        name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ
    }
    temporary = str(folder / "temporary")
    return inherited | {"HOME": str(folder), "TMPDIR": temporary, "SAL_USE_VCLPLUGIN": "svp"}


if __name__ == "__main__":
    main()

"""Finds or installs the programs that the tests need besides Python.

``python -m tests.programs`` installs what is missing (of the packages that it is given, or of all): by
apt-get as root or where ``sudo -n`` works without a password, Chromium elsewhere by Playwright's own
download (Ubuntu has it as a snap alone). It prints where each program is, or one line that says what
to type, and exits with 1.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SBIN = "/usr/sbin:/usr/local/sbin:/sbin"  # not on the PATH of every account
SECONDS = 600  # for one step of an installation
# In a process of its own: Playwright refuses its synchronous interface where an event loop runs.
DOWNLOADED = """\
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path, end="")
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the system.

    Attributes:
        names: The names that its file may have.
        package: The Debian package.
        folders: Searched after the PATH, separated by colons.
    """

    names: tuple[str, ...]
    package: str
    folders: str = ""


CHROMIUM = Program(
    ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"), "chromium"
)
NGINX = Program(("nginx",), "nginx", SBIN)
REDIS = Program(("redis-server",), "redis-server")
PGBOUNCER = Program(("pgbouncer",), "pgbouncer", SBIN)
CADDY = Program(("caddy",), "caddy")
HAPROXY = Program(("haproxy",), "haproxy", SBIN)
TESSERACT = Program(("tesseract",), "tesseract-ocr")
NODE = Program(("node", "nodejs"), "nodejs")
NPM = Program(("npm",), "npm")
ALL = (CHROMIUM, NGINX, REDIS, PGBOUNCER, CADDY, HAPROXY, TESSERACT, NODE, NPM)


class ProgramMissingError(Exception):
    """Programs are missing; the text says in one line how to install them."""

    def __init__(self, programs: Iterable[Program]) -> None:
        packages = " ".join(program.package for program in programs)
        super().__init__(
            f"error: the tests need {packages}; on Debian type: sudo apt-get install {packages}"
        )


class InstallTimeoutError(Exception):
    """A step of an installation took too long; the text names it in one line."""

    def __init__(self, command: Iterable[str], seconds: float) -> None:
        super().__init__(f"error: no end within {seconds:g} s: {shlex.join(command)}")


def path_of(program: Program) -> str:
    """Return the path of a program.

    Raises:
        ProgramMissingError: The program is not installed.
    """
    path = _find(program)
    if path is None:
        raise ProgramMissingError([program])
    return path


def chromium() -> str:
    """Return the path of a Chromium, for Playwright's `executable_path`.

    Raises:
        ProgramMissingError: Chromium is not installed.
    """
    return path_of(CHROMIUM)


def provide(
    programs: Iterable[Program] = ALL, *, uid: int, seconds: float = SECONDS
) -> dict[str, str]:
    """Install the programs that are missing; return the paths of all by package.

    Args:
        programs: The programs that are needed.
        uid: The user id of this process; 0 is root, which needs no sudo.
        seconds: The time for one step of an installation.

    Raises:
        ProgramMissingError: Some are missing and cannot be installed without a password.
        InstallTimeoutError: A step took too long.
    """
    programs = list(programs)
    missing = [program for program in programs if _find(program) is None]
    try:
        if missing:
            _install([program.package for program in missing], uid, seconds)
        if CHROMIUM in missing and _find(CHROMIUM) is None:
            _run([sys.executable, "-m", "playwright", "install", "chromium"], seconds)
    except subprocess.TimeoutExpired as error:
        raise InstallTimeoutError(error.cmd, seconds) from None
    missing = [program for program in missing if _find(program) is None]
    if missing:
        raise ProgramMissingError(missing)
    return {program.package: path_of(program) for program in programs}


def _find(program: Program) -> str | None:
    for name in program.names:
        path = shutil.which(name) or shutil.which(name, path=program.folders)
        if path is not None:
            return path
    if program is CHROMIUM:
        command = [sys.executable, "-c", DOWNLOADED]
        downloaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return downloaded if Path(downloaded).exists() else None
    return None


def _install(packages: list[str], uid: int, seconds: float) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        return
    as_root = _as_root(uid, seconds)
    if as_root is None:
        return
    # RUNLEVEL=1 keeps a package from starting its service.
    settings = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    _run([*as_root, *settings, apt, "update", "-qq"], seconds)
    options = ["install", "-qq", "-y", "--no-install-recommends"]
    for package in packages:  # one by one: apt-get installs none where it does not know one
        _run([*as_root, *settings, apt, *options, package], seconds)


def _as_root(uid: int, seconds: float) -> list[str] | None:
    """Return the prefix of a command that runs as root; None where a password is needed."""
    if uid == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is not None and _run([sudo, "-n", "true"], seconds):
        return [sudo, "-n"]
    return None


def _run(command: list[str], seconds: float) -> bool:
    completed = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=seconds
    )
    return completed.returncode == 0


if __name__ == "__main__":
    try:
        account = os.geteuid() if hasattr(os, "geteuid") else 1
        chosen = [each for each in ALL if each.package in sys.argv[1:]] or ALL
        for package, path in provide(chosen, uid=account).items():
            sys.stdout.write(f"{package}: {path}\n")
    except (ProgramMissingError, InstallTimeoutError) as error:
        sys.exit(str(error))

"""Looks for known holes in the locked packages: ``python scripts/audit.py [--local]``.

First in `known_holes.toml`, which needs no network and knows what somebody has written down there;
then, unless `--local` is given, by pip-audit in the advisories of the package index, which it must
reach. Exit code 0: no open hole; 1: one is open, or not every package could be looked up.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from packaging.specifiers import SpecifierSet

LOCKS = ("requirements.txt", "requirements-dev.txt", "deploy/requirements.txt")
PIN = re.compile(r"^([a-z0-9-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", re.MULTILINE)
PIP_AUDIT = "pip-audit==2.10.1"


class Hole(TypedDict, total=False):
    """One entry of `known_holes.toml`; `closed_by` is absent where the hole is open."""

    id: str
    package: str
    affected: str
    what: str
    closed_by: str


def known_holes() -> list[Hole]:
    """Return the holes that are written down beside this file."""
    text = (Path(__file__).parent / "known_holes.toml").read_text(encoding="utf-8")
    holes: list[Hole] = tomllib.loads(text)["hole"]
    return holes


def affected(holes: list[Hole]) -> Iterator[tuple[str, str, Hole]]:
    """Yield lock, version and hole for each locked package that has one."""
    for lock in LOCKS:
        for name, version in PIN.findall(Path(lock).read_text(encoding="utf-8")):
            for hole in holes:
                if hole["package"] == name and version in SpecifierSet(hole["affected"]):
                    yield lock, version, hole


def look_up(holes: list[Hole]) -> int:
    """Run pip-audit on the longest lock and return its exit code."""
    command = [sys.executable, "-m", "uv", "tool", "run", PIP_AUDIT]
    # Without --strict a package that could not be looked up would count as sound.
    command += ["--strict", "--disable-pip", "--require-hashes", "-r", "requirements-dev.txt"]
    closed = [hole["id"] for hole in holes if "closed_by" in hole]
    command += [word for name in closed for word in ("--ignore-vuln", name)]
    return subprocess.run(command, check=False).returncode  # noqa: S603 (no text of others)


def main(arguments: list[str]) -> int:
    """Report every hole of the locks in this folder; return the exit code."""
    holes = known_holes()
    is_open = False
    for lock, version, hole in affected(holes):
        state = f"closed here: {hole['closed_by']}" if "closed_by" in hole else "OPEN"
        print(f"{lock}: {hole['package']} {version}: {hole['id']}, {hole['what']}; {state}")
        is_open |= "closed_by" not in hole
    if is_open:
        return 1
    if "--local" in arguments:
        return 0
    code = look_up(holes)
    if code:
        print("error: pip-audit found a hole, or could not reach the index; see above")
    return min(code, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Checks a folder as the Hugging Face hub would: ``python deploy/space/check.py FOLDER``.

It reads what the hub reads of a Space: the front matter of its README, the file that it names, the SDK's
version, and the sizes. It prints a line for each problem and exits with 1 where there is one. It needs no
network.
"""

# ruff: noqa: INP001 (a script of its own)

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

MARK = "---"
SDKS = ("gradio", "docker", "static")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
VERSION = re.compile(r"\d+\.\d+\.\d+")
PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,2})?")
GRADIO = re.compile(r"^gradio(\[[^\]]*\])?==(\S+)", re.MULTILINE)
SHORT_CHARS = 60
PLAIN_BYTES = 10_000_000  # larger files go by LFS
TOTAL_BYTES = 1_000_000_000
SECRETS = (".env", "secret.key", "*.db", "*.db-wal", "*.pem", "*.key")
REQUIRED = ("title", "emoji", "colorFrom", "colorTo", "sdk")


def problems(folder: Path) -> Iterator[str]:
    """Yield what the hub would refuse or run differently, one sentence each."""
    readme = folder / "README.md"
    if not readme.is_file():
        yield "README.md is not there"
        return
    front = _front_matter(readme.read_text(encoding="utf-8"))
    if isinstance(front, str):
        yield f"README.md {front}"
        return
    yield from _front_problems(front)
    yield from _app_problems(folder, front)
    yield from _file_problems(folder)


def _front_matter(text: str) -> Mapping[str, Any] | str:
    """Return the front matter, or what is wrong with it."""
    lines = text.splitlines()
    if not lines or lines[0] != MARK or MARK not in lines[1:]:
        return f"must begin with front matter between two lines {MARK}"
    try:
        found = yaml.safe_load("\n".join(lines[1 : lines.index(MARK, 1)]))
    except yaml.YAMLError:
        return "has front matter that is no YAML"
    return found if isinstance(found, dict) else "has front matter without fields"


def _front_problems(front: Mapping[str, Any]) -> Iterator[str]:
    for name in REQUIRED:
        if not front.get(name):
            yield f"{name} must be set in the front matter"
    if front.get("sdk") not in SDKS:
        yield f"sdk must be one of {', '.join(SDKS)}"
    for name in ("colorFrom", "colorTo"):
        if front.get(name) not in COLOURS:
            yield f"{name} must be one of {', '.join(COLOURS)}"
    version = front.get("python_version")
    if version is not None and not (isinstance(version, str) and PYTHON.fullmatch(version)):
        yield 'python_version must be a text such as "3.12": as a number, 3.10 is 3.1'
    if len(str(front.get("short_description", ""))) > SHORT_CHARS:
        yield f"short_description must have at most {SHORT_CHARS} characters"
    if not isinstance(front.get("hf_oauth", False), bool):
        yield "hf_oauth must be true or false"


def _app_problems(folder: Path, front: Mapping[str, Any]) -> Iterator[str]:
    if front.get("sdk") != "gradio":
        return
    if not (folder / str(front.get("app_file", "app.py"))).is_file():
        yield f"app_file names {front.get('app_file', 'app.py')}, which is not there"
    version = str(front.get("sdk_version", ""))
    if not VERSION.fullmatch(version):
        yield "sdk_version must be a version of Gradio such as 6.31.0"
    requirements = folder / "requirements.txt"
    text = requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
    locked = GRADIO.search(text)
    if locked is not None and locked[2] != version:
        yield f"sdk_version is {version}, and requirements.txt has Gradio {locked[2]}"


def _file_problems(folder: Path) -> Iterator[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name} is a symbolic link, which the hub does not take"
        elif path.stat().st_size > PLAIN_BYTES:
            yield f"{name} has more than {PLAIN_BYTES:,} bytes, which git takes by LFS alone"
        if any(path.match(pattern) for pattern in SECRETS):
            yield f"{name} may hold a secret or data of users, and a Space's files are public"
    total = sum(path.stat().st_size for path in files)
    if total > TOTAL_BYTES:
        yield f"the files have {total:,} bytes together, and the hub takes {TOTAL_BYTES:,}"


def main(arguments: Sequence[str]) -> int:
    """Print the problems of a folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="check.py", description="Check a Space's folder.")
    parser.add_argument("folder", type=Path)
    found = list(problems(parser.parse_args(arguments).folder))
    sys.stdout.write("".join(f"{line}\n" for line in found or ["nothing is wrong"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a backup is: a folder with `chat.db`, `files/` and `manifest.json`, whole or not there.

It is written under another name and gets its own when its last byte is on the disk. The manifest
names each file with its size and SHA-256, so that a copy of the folder can be judged anywhere.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmw_agent.errors import StartupError
from memory.lock import FileLock

MANIFEST, DATABASE, FILES, SECRET = "manifest.json", "chat.db", "files", "secret.key"
_PIECE = 1 << 20  # bytes
_NAME = (
    rf"{re.escape(DATABASE)}|{re.escape(SECRET)}|{FILES}/[0-9a-f]{{2}}/[0-9a-f]{{32}}(\.picture)?"
)


class Measure(NamedTuple):
    """How large a file is, in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class Entry(BaseModel):
    """One file of a backup; no path leads out of its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=rf"^({_NAME})$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def measure(self) -> Measure:
        """What the file must measure."""
        return Measure(self.size, self.sha256)


class Manifest(BaseModel):
    """What a backup holds: times in ISO 8601 with their zone, sizes in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    made_at: str
    revision: str
    entries: tuple[Entry, ...]

    def find(self, path: str) -> Entry | None:
        """Return the entry of a file, None where the backup has none."""
        return next((entry for entry in self.entries if entry.path == path), None)


class Unusable(StartupError):
    """A backup cannot be made or used; the text is one sentence."""


@contextlib.contextmanager
def draft(target: Path, *, force: bool) -> Iterator[Path]:
    """Give the block an empty folder, which becomes `target` when the block ends well.

    Drafts that earlier processes left behind when they were killed are removed.

    Raises:
        Unusable: The target is there, and `force` is not given or it is no backup.
        OSError: It cannot be written.
    """
    _check_target(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{target.name}.part-*"):
        with FileLock(left / ".lock") as lock:
            if lock.alone:
                shutil.rmtree(left, ignore_errors=True)
    folder = target.with_name(f"{target.name}.part-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o700)
    try:
        with FileLock(folder / ".lock"):
            yield folder
            (folder / ".lock").unlink(missing_ok=True)
        # All names on the disk, as the bytes are, before the name that says it is whole.
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            _settle(path)
        _exchange(folder, target)
        _settle(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup. Raises Unusable."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise Unusable(f"{folder} holds no backup: {MANIFEST} cannot be read") from error
    except ValidationError as error:
        first = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its form"
        raise Unusable(f"{folder}: {MANIFEST} is damaged at {first}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a backup. Raises OSError."""
    with (folder / MANIFEST).open("wb") as file:
        file.write(manifest.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())


def take(source: Path, target: Path) -> Measure:
    """Copy a file to a new one on the disk, for nobody else to read. Raises OSError."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    binary = getattr(os, "O_BINARY", 0)  # of Windows
    with source.open("rb") as here:
        made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o600)
        with os.fdopen(made, "wb") as there:
            measured = _measured(here, there)
            there.flush()
            os.fsync(there.fileno())
            return measured


def measure(path: Path) -> Measure:
    """Return how large a file is and its hash. Raises OSError."""
    with path.open("rb") as file:
        return _measured(file, None)


def _measured(file: BinaryIO, copy: BinaryIO | None) -> Measure:
    digest, size = hashlib.sha256(), 0
    while piece := file.read(_PIECE):
        digest.update(piece)
        size += len(piece)
        if copy is not None:
            copy.write(piece)
    return Measure(size, digest.hexdigest())


def _check_target(target: Path, *, force: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        raise Unusable(f"{target} is there and is no backup; name a new folder")
    if not force:
        raise Unusable(f"{target} is there; --force replaces it, another name keeps both")


def _settle(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows has no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(folder: Path, target: Path) -> None:
    old = target.with_name(f"{folder.name}-old")
    if target.exists():
        target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)

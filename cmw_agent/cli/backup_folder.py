"""Writes and reads a backup: a folder with `chat.db`, `files/` and `manifest.json`, whole or absent.

It is written as `NAME.part-…` and gets its name when its last byte is on the disk; the one that it
replaces is `NAME.old-…` until then. The manifest names each file with its size and SHA-256, so that
a copy of the folder can be judged anywhere.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmw_agent.core.errors import StartupError
from memory.engine.permissions import make_file, make_folder
from memory.engine.process_lock import FileLock

MANIFEST, DATABASE, FILES, SECRET = "manifest.json", "chat.db", "files", "secret.key"
_CHUNK_BYTES = 1 << 20
STORED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}(\.picture)?")  # a file below FILES
_NAME = rf"{re.escape(DATABASE)}|{re.escape(SECRET)}|{FILES}/{STORED.pattern}"


class Measure(NamedTuple):
    """A file's size in bytes and its SHA-256 in hex."""

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
    """The list of a backup's files; times in ISO 8601 with their zone, sizes in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    made_at: str
    revision: str
    entries: tuple[Entry, ...]

    def find(self, path: str) -> Entry | None:
        """Return the entry of a file, None where the backup has none."""
        return next((entry for entry in self.entries if entry.path == path), None)


class BackupError(StartupError):
    """A backup cannot be made or used; the text is one sentence."""


@contextlib.contextmanager
def draft(target: Path, *, force: bool) -> Iterator[Path]:
    """Give the block an empty folder, which becomes `target` when the block ends without an error.

    What killed processes left behind is cleaned up: a backup that one of them had put aside gets its
    name again, and whole backups are removed only after `target` stands.

    Raises:
        BackupError: The target is there, and `force` is not given or it is no backup.
        OSError: It cannot be written.
    """
    make_folder(target.parent)
    _put_back(target)
    _check_target(target, force=force)
    abandoned = _abandoned(target)
    _remove(path for path in abandoned if not _is_whole(path))
    folder = _other_name(target, "part")
    folder.mkdir(mode=0o700)
    try:
        with FileLock(folder / ".lock"):
            yield folder
            (folder / ".lock").unlink(missing_ok=True)
        # All names on the disk, as the bytes are, before the name that says it is whole.
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            _sync_folder(path)
        _check_target(target, force=force)  # another may have been faster
        abandoned += _exchange(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # What others put there meanwhile may be about to get its name.
    _remove(path for path in abandoned if _is_whole(path))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup. Raises BackupError."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise BackupError(f"{folder} holds no backup: {MANIFEST} cannot be read") from error
    except ValidationError as error:
        first = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its form"
        raise BackupError(f"{folder}: {MANIFEST} is damaged at {first}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a backup. Raises OSError."""
    with os.fdopen(make_file(folder / MANIFEST), "wb") as file:
        file.write(manifest.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())


def take(source: Path, target: Path) -> Measure:
    """Copy a file to a new one, on the disk and readable by its owner alone. Raises OSError."""
    make_folder(target.parent)
    with source.open("rb") as here, os.fdopen(make_file(target), "wb") as there:
        measured = _measured(here, there)
        there.flush()
        os.fsync(there.fileno())
        return measured


def measure(path: Path) -> Measure:
    """Return the size and the hash of a file. Raises OSError."""
    with path.open("rb") as file:
        return _measured(file, None)


def _measured(file: BinaryIO, copy: BinaryIO | None) -> Measure:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if copy is not None:
            copy.write(chunk)
    return Measure(size, digest.hexdigest())


def _check_target(target: Path, *, force: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not _is_whole(target):
        raise BackupError(f"{target} is there and is no backup; name a new folder")
    if not force:
        raise BackupError(f"{target} is there; --force replaces it, another name keeps both")


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _other_name(target: Path, kind: str) -> Path:
    return target.with_name(f"{target.name}.{kind}-{secrets.token_hex(4)}")


def _beside(target: Path, kind: str) -> list[Path]:
    """Return the folders that `_other_name` named."""
    name = re.compile(rf"{re.escape(target.name)}\.{kind}-[0-9a-f]{{8}}")
    paths = (path for path in target.parent.iterdir() if name.fullmatch(path.name))
    return [path for path in paths if path.is_dir()]


def _is_whole(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _abandoned(target: Path) -> list[Path]:
    """Return the drafts and replaced backups beside the target whose process has ended."""
    abandoned = []
    for path in (*_beside(target, "part"), *filter(_is_whole, _beside(target, "old"))):
        with FileLock(path / ".lock") as lock:
            if lock.alone:
                abandoned.append(path)
    return abandoned


def _exchange(folder: Path, target: Path) -> list[Path]:
    """Give the folder the target's name; return where the backup lies that had it."""
    old = _other_name(target, "old")
    if target.exists():
        if _is_whole(target):
            target.rename(old)
        else:
            target.rmdir()
    try:
        folder.rename(target)
    except OSError:
        _put_back(target)
        raise
    _sync_folder(target.parent)
    return [old]


def _put_back(target: Path) -> None:
    """Give the backup that was put aside its name again, where no other has it."""
    aside = [path for path in _beside(target, "old") if _is_whole(path)]
    if aside and not target.exists():
        max(aside, key=lambda path: (path / MANIFEST).stat().st_mtime_ns).rename(target)
        _sync_folder(target.parent)


def _remove(folders: Iterable[Path]) -> None:
    """Remove folders, of each first the name, so that no process takes a part for the whole."""
    for folder in folders:
        doomed = folder.with_name(f"{folder.name.rpartition('.')[0]}.part-{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # another was faster
            folder.rename(doomed)
            (doomed / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)

"""Creates files and folders that the app's own account alone can read, and tightens older ones.

Modes are given explicitly, whatever the umask of the process. On Windows the folder's own access
list decides, and the modes mean nothing.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

FILE, FOLDER = 0o600, 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Tightened:
    """How many files and folders `tighten` changed, and how many it could not change."""

    changed: int
    refused: int


def make_folder(folder: Path) -> None:
    """Create a folder and those above it that are missing, each with mode 0700. Raises OSError."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        folder.mkdir(mode=FOLDER, exist_ok=True)


def make_file(path: Path) -> int:
    """Create a file with mode 0600; return its descriptor for writing.

    Raises:
        FileExistsError: There is one already; it is not opened.
        OSError: It cannot be created.
    """
    binary = getattr(os, "O_BINARY", 0)  # of Windows
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, FILE)


def tighten(folder: Path, names: Iterable[str], *, with_folder: bool) -> Tightened:
    """Take the rights of the group and of others from what is in a folder.

    Left alone are symbolic links, and folders with a sticky bit, which are meant to be shared.
    A mode that the file system does not let change counts as refused.

    Args:
        folder: Others may keep files there too, which stay as they are.
        names: Patterns of names of files and folders in it; what such a folder holds is included.
        with_folder: Whether the folder itself is one of the app's.
    """
    changed = refused = 0
    if os.name == "nt":
        return Tightened(0, 0)
    inside = (path for name in names for path in sorted(folder.glob(name)))
    itself = _loose_one(folder) if with_folder else ()
    for path, mode in chain(itself, _loose(inside)):
        try:
            path.chmod(mode & ~_OTHERS)
            # Some file systems accept a change and do nothing.
            is_tight = not path.stat().st_mode & _OTHERS
        except FileNotFoundError:
            continue
        except OSError:
            is_tight = False
        changed, refused = changed + is_tight, refused + (not is_tight)
    return Tightened(changed, refused)


def _loose(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        yield from _loose_one(path)
        if path.is_dir() and not path.is_symlink():
            yield from _loose(_inside(path))


def _loose_one(path: Path) -> Iterator[tuple[Path, int]]:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    is_ours = stat.S_ISDIR(mode) or stat.S_ISREG(mode)
    if is_ours and mode & _OTHERS and not mode & stat.S_ISVTX:
        yield path, stat.S_IMODE(mode)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []

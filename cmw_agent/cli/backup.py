"""Backs up and restores a SQLite installation: database, uploaded files and, if asked, the secret key.

A backup is made while the app runs. Bytes of a file are written before the row that names them and
never changed, so a database that is copied first, and files after it, fit together.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cmw_agent.cli.backup_folder import (
    DATABASE,
    FILES,
    SECRET,
    STORED,
    BackupError,
    Entry,
    Manifest,
    Measure,
    draft,
    measure,
    read_manifest,
    take,
    write_manifest,
)
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.tombstones import Tombstones, erase_again
from cmw_agent.files.storage import FileStore
from memory.engine.database import Database, migrate, open_database
from memory.engine.permissions import make_folder
from memory.engine.process_lock import sole_use
from memory.engine.sqlite_backup import (
    companion_files,
    copy,
    linked,
    put_in_place,
    settled,
    sqlite_path,
    verified_revision,
)
from memory.errors import StoreError
from memory.maintenance.integrity import faults, file_ids
from memory.maintenance.retention import Retention

FILES_PER_QUERY = 500
ERASE_SECONDS = 600.0  # for removing what deleted rows leave in a restored database
POSTGRES_HINT = (
    "CMW_DATABASE_URL is PostgreSQL, whose own pg_dump and pg_restore do this; "
    "docs/deployment.md shows how"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    Attributes:
        manifest: What the backup held.
        aside: The file of the replaced database, None where there was none.
        erased_again: How many owners it held who have deleted everything since.
    """

    manifest: Manifest
    aside: Path | None
    erased_again: int = 0


@dataclass(frozen=True, slots=True)
class _Left:
    """What is restored: without how many owners, and the paths of which files."""

    owners: int
    files: frozenset[str]


def back_up(
    settings: Settings, target: Path, *, force: bool = False, with_secret_key: bool = False
) -> Manifest:
    """Write a backup into the folder `target`, which appears when it is whole. Blocks until then.

    Args:
        settings: Name the database and the data folder.
        target: The folder to make.
        force: Replace an older backup there.
        with_secret_key: Copy the secret key too.

    Raises:
        BackupError: The database is no SQLite file, is damaged or not there, or the target is.
    """
    source = _database(settings)
    if not source.exists():
        raise BackupError(f"there is no database at {source}")
    made_at = datetime.now(UTC).isoformat(timespec="microseconds")
    with (
        _backup_errors(f"the backup {target} cannot be made"),
        draft(target, force=force) as folder,
    ):
        revision = copy(source, folder / DATABASE)
        entries = [_entry(DATABASE, measure(folder / DATABASE))]
        entries += _copied(settings.data_dir / FILES, folder)
        if with_secret_key:
            entries.append(_copied_key(settings.data_dir, folder))
        manifest = Manifest(made_at=made_at, revision=revision, entries=tuple(entries))
        write_manifest(folder, manifest)
    return manifest


def restore(settings: Settings, source: Path, *, force: bool = False) -> Restored:
    """Put a backup in the installation's place, once it is proved whole. Blocks until then.

    The replaced database and secret key stay beside the new ones, and the files that were there
    under second names; files of the backup join those that are there. What it holds of owners who
    have deleted everything since is left out.

    Args:
        settings: Name the database and the data folder.
        source: A folder that `back_up` made.
        force: Replace a database that is there.

    Raises:
        BackupError: The backup is damaged or from a newer version; the app runs; or there is a
            database and `force` is not given. The database was not replaced.
    """
    current = _database(settings)
    manifest = read_manifest(source)
    _check_whole(source, manifest)
    if current.exists() and not force:
        raise BackupError(f"{current} is there; --force puts it aside and the backup in its place")
    stamp = f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    new, aside = (current.with_name(f"{current.name}.{end}") for end in ("restoring", stamp))
    with _backup_errors("the backup cannot be put in place"), _app_stopped(settings, current):
        new.unlink(missing_ok=True)
        try:
            _take_listed(source, manifest, DATABASE, new)
            verified_revision(new)
            left = _erased_again(settings.data_dir, new, manifest)
            if current.exists():
                _link_files(settings.data_dir / FILES, settings.data_dir / f"{FILES}.{stamp}")
            _add_files(source, manifest, settings.data_dir, left.files)
            _restore_key(source, manifest, settings.data_dir, stamp)
            replaced = put_in_place(new, current, aside)
        finally:
            for path in (new, *companion_files(new)):
                path.unlink(missing_ok=True)
    return Restored(manifest, aside if replaced else None, left.owners)


async def check(settings: Settings, database: Database) -> dict[str, int]:
    """Count the violations of each invariant of the stored data, by the invariant's name.

    The invariants are those of the database, and that the bytes of each file are there.

    Raises:
        StoreError: The database cannot be read.
    """
    violations = await faults(database)
    store, gone, after = FileStore(settings.data_dir / FILES), 0, ""
    while ids := await file_ids(database, after=after, limit=FILES_PER_QUERY):
        after = ids[-1]
        lost = await asyncio.to_thread(_lost, store, ids)
        # What was deleted meanwhile is not missing: its row went before its bytes.
        gone += len(await Retention(database).existing_files(lost)) if lost else 0
    return {**violations, "files without their bytes": gone}


def _lost(store: FileStore, ids: list[str]) -> list[str]:
    return [file_id for file_id in ids if not _is_there(store, file_id)]


def _is_there(store: FileStore, file_id: str) -> bool:
    try:
        return store.path(file_id).is_file()
    except ValueError:
        return False


def _database(settings: Settings) -> Path:
    path = sqlite_path(settings.database_url.get_secret_value())
    if path is None:
        raise BackupError(POSTGRES_HINT)
    return path


def _entry(name: str, measured: Measure) -> Entry:
    return Entry(path=name, size=measured.size, sha256=measured.sha256)


def _copied(stored: Path, folder: Path) -> Iterator[Entry]:
    for path in sorted(stored.glob("*/*")):
        name = path.relative_to(stored).as_posix()
        if not STORED.fullmatch(name):
            continue
        with contextlib.suppress(FileNotFoundError):  # deleted by its owner meanwhile
            yield _entry(f"{FILES}/{name}", take(path, folder / FILES / name))


def _copied_key(data_dir: Path, folder: Path) -> Entry:
    if not (data_dir / SECRET).exists():
        raise BackupError(f"there is no {SECRET} in CMW_DATA_DIR: keep CMW_SECRET_KEY yourself")
    return _entry(SECRET, take(data_dir / SECRET, folder / SECRET))


def _check_whole(source: Path, manifest: Manifest) -> None:
    """Raise BackupError unless each file is as the manifest says, and the database whole."""
    if manifest.find(DATABASE) is None:
        raise BackupError(f"{source} is damaged: it has no {DATABASE}")
    for entry in manifest.entries:
        try:
            measured: Measure | None = measure(source / entry.path)
        except OSError:
            measured = None
        if measured != entry.measure:
            raise BackupError(f"{source} is damaged: {entry.path} is not what was backed up")
    with _backup_errors(f"{source / DATABASE} cannot be used"):
        verified_revision(source / DATABASE)


def _take_listed(source: Path, manifest: Manifest, name: str, target: Path) -> None:
    entry = manifest.find(name)
    if entry is None or take(source / name, target) != entry.measure:
        raise BackupError(f"{source / name} changed while it was read")


def _link_files(folder: Path, aside: Path) -> None:
    """Give each stored file a second name, so that the replaced database still has its files."""
    for path in folder.glob("*/*"):
        other = aside / path.relative_to(folder)
        make_folder(other.parent)
        linked(path, other)


def _erased_again(data_dir: Path, new: Path, manifest: Manifest) -> _Left:
    """Delete from a restored database what its owners have erased since the backup."""
    files = [entry.path for entry in manifest.entries if entry.path.startswith(f"{FILES}/")]
    tombstones, made_at = Tombstones(data_dir), datetime.fromisoformat(manifest.made_at)
    if not tombstones.are_any(made_at):
        return _Left(0, frozenset(files))
    owners, known = asyncio.run(_erase_again(new, tombstones, made_at, files))
    settled(new)
    return _Left(owners, frozenset(path for path in files if _file_id(path) in known))


async def _erase_again(
    new: Path, tombstones: Tombstones, made_at: datetime, files: Sequence[str]
) -> tuple[int, set[str]]:
    """Return how many owners were erased, and the ids of the files that are left."""
    ids, known = sorted({_file_id(path) for path in files}), set[str]()
    database = open_database(f"sqlite:///{new}")
    try:
        await migrate(database)
        erased = await erase_again(database, tombstones, made_at)
        await database.erase(ERASE_SECONDS)
        for start in range(0, len(ids), FILES_PER_QUERY):
            batch = ids[start : start + FILES_PER_QUERY]
            known |= await Retention(database).existing_files(batch)
    finally:
        await database.dispose()
    return len(erased), known


def _file_id(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _add_files(source: Path, manifest: Manifest, data_dir: Path, wanted: Collection[str]) -> None:
    for entry in manifest.entries:
        if entry.path not in wanted:
            continue
        target = data_dir / entry.path
        arriving = target.with_name(f"{target.name}.restoring")
        arriving.unlink(missing_ok=True)
        _take_listed(source, manifest, entry.path, arriving)
        arriving.replace(target)


def _restore_key(source: Path, manifest: Manifest, data_dir: Path, stamp: str) -> None:
    key = data_dir / SECRET
    if manifest.find(SECRET) is None:
        return
    if key.exists():
        linked(key, key.with_name(f"{SECRET}.{stamp}"))
    new = key.with_name(f"{SECRET}.restoring")
    new.unlink(missing_ok=True)
    _take_listed(source, manifest, SECRET, new)
    new.replace(key)


@contextlib.contextmanager
def _app_stopped(settings: Settings, current: Path) -> Iterator[None]:
    """Keep the app from starting for the block. Raises BackupError where it runs."""
    for folder in (current.parent, settings.data_dir):
        make_folder(folder)
    with sole_use(settings.database_url.get_secret_value()) as lock:
        # Where nothing can be locked, SQLite's own lock is the last to notice.
        if lock.is_known and not lock.alone:
            raise BackupError("the app runs on this database; stop it first")
        yield


@contextlib.contextmanager
def _backup_errors(what: str) -> Iterator[None]:
    """Turn an error of the disk or the database into a BackupError of one sentence."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"{what} ({error.strerror or type(error).__name__})") from error
    except StoreError as error:
        raise BackupError(f"{what}: {error}") from error

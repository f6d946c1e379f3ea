"""Backup and restore of a SQLite installation: the database, uploaded files, maybe the secret key.

A backup is made while the app runs. Bytes of a file are written before the row that names them and
never changed, so a database that is copied first, and files after it, fit together.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cmw_agent.backup_folder import (
    DATABASE,
    FILES,
    SECRET,
    Entry,
    Manifest,
    Unusable,
    draft,
    measure,
    read_manifest,
    take,
    write_manifest,
)
from cmw_agent.file_store import FileStore
from cmw_agent.settings import Settings
from memory.backup import copy, linked, put_in_place, sqlite_path, tried
from memory.database import Database
from memory.errors import StoreError
from memory.lock import sole_use
from memory.retention import Retention
from memory.soundness import faults, file_ids

AT_ONCE = 500  # ids of files in one statement
STORED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}(\.picture)?")
ELSEWHERE = (
    "CMW_DATABASE_URL is PostgreSQL, whose own pg_dump and pg_restore do this; "
    "docs/deployment.md shows how"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: `aside` is where the replaced database lies, if there was one."""

    manifest: Manifest
    aside: Path | None


def back_up(
    settings: Settings, target: Path, *, force: bool = False, with_secret_key: bool = False
) -> Manifest:
    """Make the folder `target`; it appears when it is whole. Blocks until then.

    Raises:
        Unusable: The database is no SQLite file, is damaged or not there, or the target is.
    """
    source = _database(settings)
    if not source.exists():
        raise Unusable(f"there is no database at {source}")
    with _told(f"the backup {target} cannot be made"), draft(target, force=force) as folder:
        # whose name says so holds what is older than its copy, never the other way round
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        revision = copy(source, folder / DATABASE)
        entries = [measure(folder, DATABASE), *_copied(settings.data_dir / FILES, folder)]
        if with_secret_key:
            if not (settings.data_dir / SECRET).exists():
                raise Unusable(f"there is no {SECRET} in CMW_DATA_DIR to copy")
            entries.append(take(settings.data_dir / SECRET, folder, SECRET))
        manifest = Manifest(made_at=made_at, revision=revision, entries=tuple(entries))
        write_manifest(folder, manifest)
    return manifest


def restore(settings: Settings, source: Path, *, force: bool = False) -> Restored:
    """Put a backup in place of what is there, once all of it proved whole. Blocks until then.

    The replaced database and a replaced secret key stay beside the new one, and the files under
    second names; files of the backup join those that are there.

    Raises:
        Unusable: The backup is damaged or from a newer version; the app runs; or there is a
            database and `force` is not given. Nothing was replaced.
    """
    place = _database(settings)
    manifest = read_manifest(source)
    _prove(source, manifest)
    if place.exists() and not force:
        raise Unusable(f"{place} is there; --force puts it aside and the backup in its place")
    stamp = f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    new = place.with_name(f"{place.name}.restoring")
    with _told("the backup cannot be put in place"), _alone(settings):
        new.unlink(missing_ok=True)
        try:
            _same(take(source / DATABASE, new.parent, new.name, checked=False), manifest, DATABASE)
            _keep_names(settings.data_dir / FILES, settings.data_dir / f"{FILES}.{stamp}")
            _join(source, manifest, settings.data_dir)
            aside = place.with_name(f"{place.name}.{stamp}")
            replaced = put_in_place(new, place, aside)
        finally:
            new.unlink(missing_ok=True)
        _restore_key(source, manifest, settings.data_dir, stamp)
    return Restored(manifest, aside if replaced else None)

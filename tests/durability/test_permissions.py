"""Files that the app writes can be read by its own account alone."""

import io
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from PIL import Image

from cmw_agent.cli.backup import back_up, restore
from cmw_agent.cli.serve import check_data_dir, tighten_permissions
from cmw_agent.identity.secret_key import load_keys
from memory.engine.permissions import tighten
from memory.engine.sqlite_backup import sqlite_path
from tests.harness import settings_for
from tests.service import process, session_of, told

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")


@pytest.fixture(params=[0, 0o022], ids=["umask 0", "umask 022"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    """What in a folder, itself included, the group or others have any right to."""
    found = [folder, *folder.rglob("*")]
    return [
        f"{path.relative_to(folder)} {stat.filemode(path.lstat().st_mode)}"
        for path in found
        if path.lstat().st_mode & 0o077
    ]


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(out, "PNG")
    return out.getvalue()


@pytest.mark.usefixtures("umask")
async def test_nobody_else_can_read_what_the_app_writes(tmp_path: Path) -> None:
    data, backup = tmp_path / "new" / "data", tmp_path / "new" / "backups" / "one"
    check_data_dir(data)
    load_keys(None, data)
    settings = settings_for(data, secret_key=None, extraction_seconds=200)
    async with process(settings) as runtime:
        session = await session_of(runtime)
        turn = runtime.chat.turn(session, "a secret", key="one")
        await told(turn)
        for name, content in (("a.txt", b"a secret"), ("a.png", picture())):
            await runtime.files.add(session.principal, name, "", body(content))
        names = {path.name for path in data.iterdir()}
        assert {"chat.db", "chat.db-wal", "chat.db-shm", "chat.db.lock", "secret.key"} <= names
        assert len(list((data / "files").glob("*/*"))) == 3
        back_up(settings, backup, with_secret_key=True)
        assert readable_by_others(tmp_path / "new") == []
    restore(settings, backup, force=True)
    assert readable_by_others(tmp_path / "new") == []


@pytest.mark.usefixtures("umask")
async def test_a_database_elsewhere_is_as_private(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    url = f"sqlite+aiosqlite:///{elsewhere / 'other.db'}"
    async with process(settings_for(tmp_path / "data", database_url=url)):
        assert (elsewhere / "other.db-wal").exists()
        assert readable_by_others(elsewhere) == []


def test_what_stands_open_is_closed_at_the_start_and_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    url = f"sqlite+aiosqlite:///{elsewhere / 'other.db'}"
    settings = settings_for(data, database_url=url)
    assert sqlite_path(url) == elsewhere / "other.db"
    for folder in (data / "files" / "ab", elsewhere, data / "of another program"):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    own = [data / "chat.db", data / "chat.db-wal", data / "secret.key", elsewhere / "other.db"]
    own += [data / "files" / "ab" / "stored.picture"]
    foreign = [data / "of another program" / "file", elsewhere / "foreign"]
    for path in (*own, *foreign):
        path.write_bytes(b"")
        path.chmod(0o644)
    foreign += [data / "of another program", elsewhere]
    modes = {path: path.stat().st_mode for path in foreign}
    tighten_permissions(settings)
    assert not [path for path in own if path.stat().st_mode & 0o077]
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "files" / "ab").stat().st_mode & 0o777 == 0o700
    assert {path: path.stat().st_mode for path in foreign} == modes
    lines = [record.message for record in caplog.records if "tightened" in record.message]
    assert [line.rpartition(" ")[2] for line in lines] == ["count=7", "count=1"]
    caplog.clear()
    tighten_permissions(settings)
    assert caplog.records == []


def test_what_a_link_leads_to_and_a_shared_folder_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "target").chmod(0o644)
    data = tmp_path / "data"
    data.mkdir()
    (data / "chat.db").symlink_to(tmp_path / "target")
    data.chmod(0o1777)
    assert tighten(data, ["chat.db"], with_folder=True).changed == 0
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not Path("/proc/self/attr").exists(), reason="Linux has such a file system")
def test_where_no_mode_can_be_changed_there_is_a_warning_and_no_failure(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    # The kernel's own file system refuses every chmod, to root as well.
    unchangeable = Path("/proc/self/attr")
    refused = tighten(unchangeable, ["current"], with_folder=True)
    assert (refused.changed, refused.refused) == (0, 2)
    (tmp_path / "data").symlink_to(unchangeable)
    tighten_permissions(
        settings_for(tmp_path, database_url=f"sqlite:///{unchangeable / 'current'}")
    )
    (warning,) = [record for record in caplog.records if "cannot be tightened" in record.message]
    assert warning.levelname == "WARNING"

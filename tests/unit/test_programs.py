"""The programs that the tests need: installed without a password, or named in an error."""

import os
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.programs import (
    CHROMIUM,
    NGINX,
    InstallTimeoutError,
    Program,
    ProgramMissingError,
    path_of,
    provide,
)

# They are on no machine; their packages' names are Debian's.
BROWSER = Program(("browser-of-1991",), "chromium")
PROXY = Program(("proxy-of-1991",), "nginx")
# Stands in for Debian's apt-get: notes what it is told, and puts the packages' programs there,
# but none of them where it does not know one.
APT = """\
#!/bin/sh
echo "$RUNLEVEL $*" >> "$BIN/log"
[ "$1" = install ] || exit 0
shift 4
programs=
for package in "$@"; do
    case "$package" in
        "$UNKNOWN") exit 100;;
        chromium) programs="$programs browser-of-1991";;
        nginx) programs="$programs proxy-of-1991";;
    esac
done
for program in $programs; do
    printf '#!/bin/sh\\n' > "$BIN/$program"; chmod +x "$BIN/$program"
done
"""
SUDO = '#!/bin/sh\n[ "$1" = -n ] && [ "$ALLOWED" = yes ] || exit 1\nshift\nexec "$@"\n'
ROOT, ANYBODY = 0, 1000


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that lacks Chromium, nginx and redis-server; apt-get and sudo are stand-ins."""
    for name in ("sh", "env", "chmod", "true"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    for name, text in (("apt-get", APT), ("sudo", SUDO)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BIN", str(tmp_path))
    monkeypatch.setenv("ALLOWED", "no")
    monkeypatch.setenv("UNKNOWN", "")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    return tmp_path


def test_root_gets_what_is_missing_from_the_system_s_packages(path: Path) -> None:
    found = provide([BROWSER, PROXY], uid=ROOT)
    assert found == {
        "chromium": str(path / "browser-of-1991"),
        "nginx": str(path / "proxy-of-1991"),
    }
    # RUNLEVEL=1 keeps the packages' services from being started
    assert (path / "log").read_text().splitlines() == [
        "1 update -qq",
        "1 install -qq -y --no-install-recommends chromium",
        "1 install -qq -y --no-install-recommends nginx",
    ]


def test_a_package_that_apt_get_does_not_know_keeps_no_other_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNKNOWN", "chromium")  # as on Ubuntu
    with pytest.raises(ProgramMissingError, match="the tests need chromium; "):
        provide([BROWSER, PROXY], uid=ROOT)
    assert path_of(PROXY) == str(path / "proxy-of-1991")


def test_a_step_that_does_not_end_is_named_in_one_line(path: Path) -> None:
    os.mkfifo(path / "never")
    (path / "apt-get").write_text('#!/bin/sh\nread answer < "$BIN/never"\n', encoding="utf-8")
    with pytest.raises(InstallTimeoutError) as caught:
        provide([PROXY], uid=ROOT, seconds=0.2)
    assert str(caught.value) == (
        "error: no end within 0.2 s: "
        f"env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 {path / 'apt-get'} update -qq"
    )


def test_what_is_there_is_not_installed_again(path: Path) -> None:
    first = provide([PROXY], uid=ROOT)
    (path / "log").unlink()
    assert provide([PROXY], uid=ROOT) == first
    assert not (path / "log").exists()


def test_an_account_that_sudo_lets_through_installs_as_root_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED", "yes")
    assert provide([PROXY], uid=ANYBODY) == {"nginx": str(path / "proxy-of-1991")}
    assert "install -qq -y" in (path / "log").read_text()


def test_where_a_password_is_needed_one_line_says_what_to_type(path: Path) -> None:
    with pytest.raises(ProgramMissingError) as caught:
        provide([BROWSER, PROXY], uid=ANYBODY)
    assert str(caught.value) == (
        "error: the tests need chromium nginx; on Debian type: sudo apt-get install chromium nginx"
    )
    assert not (path / "log").exists()


def test_without_apt_get_one_line_says_what_to_type(path: Path) -> None:
    (path / "apt-get").unlink()
    with pytest.raises(ProgramMissingError, match="the tests need nginx; "):
        provide([PROXY], uid=ROOT)


@pytest.mark.usefixtures("path")
async def test_a_browser_that_playwright_has_downloaded_is_found_while_a_loop_runs() -> None:
    async with async_playwright() as playwright:
        file = playwright.chromium.executable_path
    _touch(Path(file))
    assert path_of(CHROMIUM) == file


def _touch(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.touch()


@pytest.mark.usefixtures("path")
def test_a_browser_that_is_nowhere_is_not_found() -> None:
    with pytest.raises(ProgramMissingError, match="chromium"):
        path_of(CHROMIUM)


def test_nginx_is_found_beside_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert path_of(NGINX).endswith("/nginx")

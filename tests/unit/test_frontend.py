"""The page's bundled scripts: what is committed is what the sources and the lock give."""

import json
import shutil
import subprocess
from pathlib import Path

from cmw_agent.channels.embed.page import WIDGET
from cmw_agent.web.page.bundles import STATIC
from tests.programs import NODE, path_of

ROOT = Path(__file__).parents[2]
FRONTEND = ROOT / "frontend"
MACHINE = (str(ROOT), str(Path.home()) + "/", "file:///", "sourceMappingURL=")


def built(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def committed() -> dict[str, bytes]:
    return built(STATIC / "built") | {WIDGET.name: WIDGET.read_bytes()}


def test_the_committed_bundles_are_what_the_sources_give(tmp_path: Path) -> None:
    command = [path_of(NODE), "frontend/build.mjs", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    here, fresh = committed(), built(tmp_path)
    assert sorted(here) == sorted(fresh), "run `make frontend`"
    changed = [name for name, content in fresh.items() if here[name] != content]
    assert not changed, "run `make frontend`"


def test_no_bundle_knows_the_machine_that_built_it() -> None:
    for name, content in committed().items():
        found = [word for word in MACHINE if word.encode() in content]
        assert not found, f"{name}: {found}"


def test_every_bundled_package_has_its_licence() -> None:
    notices = (STATIC / "built/NOTICES.txt").read_text("utf-8")
    manifest = json.loads((FRONTEND / "package.json").read_text("utf-8"))
    for name, version in manifest["dependencies"].items():
        assert version[0].isdigit(), f"{name} has no exact version"
        assert f"\n{name} {version} (" in notices, name
    for part in notices.split("\n" + "-" * 80 + "\n"):
        assert len(part) > 400, f"no licence: {part}"


def test_locked_packages_are_installed_once(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/node_modules.sh", tmp_path / "scripts")
    (tmp_path / "frontend").mkdir()
    lock = {"name": "empty", "version": "0.0.0", "lockfileVersion": 3, "packages": {"": {}}}
    package = {"name": "empty", "version": "0.0.0"}
    (tmp_path / "frontend/package-lock.json").write_text(json.dumps(lock))
    (tmp_path / "frontend/package.json").write_text(json.dumps(package))
    (tmp_path / "frontend/node_modules").mkdir()

    def install() -> str:
        done = subprocess.run(
            ["sh", "scripts/node_modules.sh"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    assert "installing frontend/package-lock.json" in install()
    assert install() == ""
    (tmp_path / "frontend/package-lock.json").write_text(json.dumps(lock, indent=1))
    assert "installing frontend/package-lock.json" in install()

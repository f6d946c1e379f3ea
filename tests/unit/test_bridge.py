"""The bridge of the folder `bridge`: its own tests, its lock, its image, its settings' description."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cmw_agent.config.settings import Settings, variable
from tests.programs import NODE, path_of

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "bridge"
NAMES = re.compile(r"\b(?:CMW|BRIDGE)_[A-Z_]*[A-Z]\b")
TESTS = sorted(path.name for path in BRIDGE.glob("test/*.test.js"))


def read(name: str) -> str:
    return (BRIDGE / name).read_text(encoding="utf-8")


def named_in_settings() -> set[str]:
    return set(re.findall(r"'((?:CMW|BRIDGE)_\w+)'", read("src/settings.js")))


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    parts = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in parts]


@pytest.mark.parametrize("name", TESTS)
def test_the_bridge_s_own_tests_pass(name: str) -> None:
    command = [path_of(NODE), "--test", "--test-reporter=tap", f"test/{name}"]
    done = subprocess.run(
        command, cwd=BRIDGE, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^# (skipped|todo) [1-9]", done.stdout, re.MULTILINE)


def test_each_package_of_the_bridge_is_locked_by_its_hash_and_names_no_host() -> None:
    lock = json.loads(read("package-lock.json"))
    manifest = json.loads(read("package.json"))
    for name, version in manifest["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for path, package in lock["packages"].items():
        if path:
            assert "resolved" not in package, path
            assert package["integrity"].startswith("sha512-"), path


def test_no_script_of_a_package_runs_where_the_bridge_is_installed() -> None:
    assert "ignore-scripts=true" in read(".npmrc").splitlines()


def test_without_its_settings_the_bridge_says_in_a_line_which_one_is_missing(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [path_of(NODE), BRIDGE / "test/stand_in_process.js"],
        cwd=tmp_path,
        env={"CMW_WHATSAPP_BRIDGE_TOKEN": "t" * 16},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    expected = "error: CMW_WHATSAPP_SECRET must be set, to what the app has.\n"
    assert (done.returncode, done.stderr) == (2, expected)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_the_bridge_are_described_and_those_of_the_app_are_the_app_s() -> None:
    section = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    section = section.split("## WhatsApp by the bridge")[1].split("\n## ")[0]
    described = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    assert described == named_in_settings()
    known = {variable(field) for field in Settings.model_fields}
    assert {name for name in described if name.startswith("CMW_")} <= known


def test_the_bridge_s_image_is_built_as_the_app_s_is() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, BRIDGE / "Dockerfile"], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    bases = {rest.partition(" AS ")[0] for word, rest in instructions() if word == "FROM"}
    app = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    (base,) = bases
    assert f"FROM {base} AS build" in app
    found = dict(instructions())
    assert found["USER"] in app
    assert json.loads(found["CMD"]) == ["node", "src/main.js"]
    assert set(NAMES.findall(found["ENV"])) <= named_in_settings()
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    wanted = {name for names in copied for name in names if not name.startswith(("--", "/"))}
    let_in = set(re.findall(r"^!(.+)$", read(".dockerignore"), re.MULTILINE))
    assert wanted == let_in
    assert all((BRIDGE / name).exists() for name in let_in)

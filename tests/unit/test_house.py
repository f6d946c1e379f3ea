import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cmw_agent
from cmw_agent.config import docs

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt", "deploy/requirements.txt")
HASHED = LOCKS[1:]
HOUSE = (
    *LOCKS,
    ".ci/run",
    ".env.example",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "scripts/venv.sh",
)
# Written so that this file does not match them.
MACHINE_PATH = re.compile(r"(?<![\w.:/~$}-])/(home|Users|root|work|srv|mnt|opt|var)/\w")
REGISTRY = re.compile(
    r"(?<!no-emit-)index-url|find-links|pythonhosted|\bpypi\b|://[^/\s]*/simple\b", re.IGNORECASE
)
PINNED = re.compile(r"(?P<name>[a-z0-9-]+)(\[[\w,-]+\])?==(?P<version>[\w.]+)( ; .+)?")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return content


def locked(name: str) -> dict[str, set[str]]:
    """The versions of each package in a lock; one that markers split has several."""
    pins: dict[str, set[str]] = {}
    for line in read(name).splitlines():
        if line.startswith(("#", "    --hash=")):
            continue
        pin = PINNED.fullmatch(line.removesuffix(" \\"))
        assert pin is not None, f"{name}: {line!r} is no pin"
        pins.setdefault(pin["name"], set()).add(pin["version"])
    return pins


def requirement(text: str) -> tuple[str, str]:
    """Name and version prefix of a dependency such as ``uvicorn==0.54.*; sys_platform …``."""
    name, _, version = text.partition(";")[0].strip().partition("==")
    if ">=" in name:  # held back by others on some systems
        name, version = name.partition(">=")[0], ""
    return re.sub(r"\[.*\]", "", name).lower(), version.removesuffix("*")


def run(
    *command: str, cwd: Path = ROOT, within: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
        capture_output=True,
        text=True,
        timeout=within,
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_locked_at_a_version_it_allows(lock: str) -> None:
    extras = project()["optional-dependencies"]
    wanted = list(project()["dependencies"])
    if lock in HASHED:
        wanted += extras["postgres"] + extras["redis"]
    if lock == "requirements-dev.txt":
        wanted += [text for text in extras["dev"] if "cmw-agent" not in text]
    pins = locked(lock)
    for text in wanted:
        name, prefix = requirement(text)
        assert name in pins, f"{name} is missing in {lock}: run `make lock`"
        for version in pins[name]:
            assert f"{version}.".startswith(prefix), f"{name} {version}: run `make lock`"


def test_the_tests_run_on_the_versions_that_serve() -> None:
    served, tested = locked("requirements.txt"), locked("requirements-dev.txt")
    assert {name: tested.get(name) for name in served} == served


def test_the_image_has_the_versions_that_are_tested() -> None:
    served, tested = locked("deploy/requirements.txt"), locked("requirements-dev.txt")
    assert {name: tested.get(name) for name in served} == served


@pytest.mark.parametrize("lock", HASHED)
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    pins = re.split(r"^(?=[a-z0-9])", read(lock), flags=re.MULTILINE)[1:]
    assert len(pins) > 100
    for pin in pins:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", pin, re.MULTILINE), pin.partition(" ")[
            0
        ]


def test_the_space_runs_the_gradio_that_is_locked() -> None:
    (gradio,) = locked("requirements.txt")["gradio"]
    readme = read("README.md")
    front = readme.split("---\n")[1]
    assert f"sdk_version: {gradio}\n" in front
    assert "sdk: gradio\n" in front
    assert "app_file: app.py\n" in front
    assert f"license: {project()['license'].lower()}\n" in front


def test_the_version_stands_in_one_place() -> None:
    tool = tomllib.loads(read("pyproject.toml"))["tool"]
    assert "version" not in project()
    assert project()["dynamic"] == ["version"]
    assert tool["hatch"]["version"] == {"path": "cmw_agent/__init__.py"}


def test_the_changelog_tells_of_this_version() -> None:
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", headings[1])
    assert released is not None
    assert released[1] == cmw_agent.__version__


def test_no_house_file_knows_a_machine_or_a_registry() -> None:
    for name in HOUSE:
        for number, line in enumerate(read(name).splitlines(), 1):
            assert not MACHINE_PATH.search(line), f"{name}:{number}: {line}"
            assert not REGISTRY.search(line), f"{name}:{number}: {line}"


def test_make_alone_lists_every_target() -> None:
    result = run("make", "--no-print-directory", MAKEFLAGS="", MFLAGS="")
    assert result.returncode == 0, result.stderr
    listed = {line.split()[1] for line in result.stdout.splitlines()}
    assert {"run", "test", "lint", "format", "docs", "lock", "clean"} <= listed
    described = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    assert listed == described


def test_ci_runs_what_a_developer_runs() -> None:
    script = read(".ci/run")
    assert script.splitlines()[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert run("bash", "-n", ".ci/run").returncode == 0


def test_the_last_word_of_make_test_is_pytests() -> None:
    recipe = read("Makefile").split("\ntest:")[1].split("\n\n")[0].splitlines()[1:]
    assert len(recipe) == 1
    assert "-m pytest" in recipe[0]


def test_the_readme_is_the_projects_and_holds_the_markers() -> None:
    readme = read("README.md")
    assert readme.count(docs.BEGIN) == readme.count(docs.END) == 1


def venv_script(folder: Path) -> Path:
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/venv.sh", folder / "scripts")
    (folder / "empty.txt").write_text("")
    return folder


@pytest.mark.slow
def test_a_venv_whose_python_has_gone_is_made_anew_and_then_left_alone(tmp_path: Path) -> None:
    folder = venv_script(tmp_path)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(folder / "gone")
    first = run("sh", "scripts/venv.sh", "empty.txt", cwd=folder, within=250)
    assert first.returncode == 0, first.stderr
    assert "installing empty.txt" in first.stdout
    assert run(".venv/bin/python", "-c", "", cwd=folder).returncode == 0
    second = run("sh", "scripts/venv.sh", "empty.txt", cwd=folder)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_without_a_fitting_python_the_set_up_says_so(tmp_path: Path) -> None:
    folder = venv_script(tmp_path)
    result = run("sh", "scripts/venv.sh", "empty.txt", cwd=folder, PYTHON="python-of-1991")
    assert result.returncode == 1
    assert result.stderr.startswith("error: Python 3.11 or newer is needed")
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / ".venv").exists()


def test_a_python_that_makes_no_venv_is_told_in_one_line(tmp_path: Path) -> None:
    folder = venv_script(tmp_path)
    half = folder / "half-python"
    half.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -m ] || exec "$REAL" "$@"\n'
        "mkdir -p .venv/bin; echo 'No module named ensurepip' >&2; exit 1\n"
    )
    half.chmod(0o755)
    result = run(
        "sh", "scripts/venv.sh", "empty.txt", cwd=folder, PYTHON=str(half), REAL=sys.executable
    )
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / ".venv").exists()


def test_a_failed_install_is_tried_again(tmp_path: Path) -> None:
    folder = venv_script(tmp_path)
    (folder / ".venv/bin").mkdir(parents=True)
    offline = folder / ".venv/bin/python"
    offline.write_text('#!/bin/sh\ncase "$*" in *install*) echo no network >&2; exit 1;; esac\n')
    offline.chmod(0o755)
    for _ in range(2):
        # A PATH without uv, so that pip is asked.
        result = run("/bin/sh", "scripts/venv.sh", "empty.txt", cwd=folder, PATH="/usr/bin:/bin")
        assert result.returncode == 1
        assert result.stderr == "no network\nerror: installing empty.txt failed; see above\n"


def test_the_uv_that_sets_up_is_the_one_that_is_locked() -> None:
    (version,) = locked("requirements-dev.txt")["uv"]
    assert f"uv_version={version}\n" in read("scripts/venv.sh")


def test_ci_does_what_make_test_does_and_nothing_else() -> None:
    lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]


def audit(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, str(ROOT / "scripts/audit.py"), "--local", cwd=folder)


def test_no_locked_package_has_a_known_open_hole() -> None:
    result = audit(ROOT)
    assert result.returncode == 0, result.stdout
    holes = tomllib.loads(read("scripts/known_holes.toml"))["hole"]
    assert all((ROOT / hole["closed_by"]).is_file() for hole in holes if "closed_by" in hole)
    assert "CVE-2026-134825" in result.stdout  # goes with Gradio 6.32, and then its entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_locked_package_with_an_open_hole_is_named(lock: str, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in LOCKS:
        (tmp_path / name).write_text("certifi==2026.10.19.post1\n")
    assert audit(tmp_path).returncode == 0
    (tmp_path / lock).write_text("certifi==2026.10.18 \\\n    --hash=sha256:0\n")
    result = audit(tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{lock}: certifi 2026.10.18: ")


def test_contributing_names_the_tests_of_every_package() -> None:
    table = read("CONTRIBUTING.md").split("## Where the tests")[1].split("## How to add")[0]
    rows = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", table, re.MULTILINE))
    packages = [
        path.parent.relative_to(ROOT)
        for root in ("cmw_agent", "memory")
        for path in (ROOT / root).glob("*/__init__.py")
    ]
    for package in packages:
        named = any(Path(row).is_relative_to(package) for row in rows)
        assert named, f"{package.as_posix()} has no row in CONTRIBUTING.md"
    for row, tests in rows.items():
        assert (ROOT / row / "__init__.py").is_file(), row
        for pattern in re.findall(r"`(tests[\w/*.]*)`", tests):
            assert list(ROOT.glob(pattern)), f"{row}: {pattern} is not there"


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", *DOCUMENTS])
def test_paths_that_documents_name_are_there(name: str) -> None:
    text = read(name)
    for path in re.findall(r"`((?:cmw_agent|memory|tests|scripts|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), f"{name}: {path}"
    for path in re.findall(r"`((?:\w+/)+[\w-]+\.(?:py|js))`", text):
        assert any((folder / path).is_file() for folder in (ROOT, ROOT / "cmw_agent")), (
            f"{name}: {path}"
        )

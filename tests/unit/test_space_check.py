"""The check of a Space's folder finds what the hub would refuse or run differently."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "deploy" / "space" / "check.py"
FRONT = """---
title: Chat
emoji: 💬
colorFrom: blue
colorTo: indigo
sdk: gradio
sdk_version: 6.31.0
python_version: "3.12"
app_file: app.py
hf_oauth: true
short_description: A chat
---

# Chat
"""


def checked(folder: Path, front: str = FRONT) -> tuple[int, str]:
    (folder / "README.md").write_text(front, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, CHECK, folder], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("")
    (tmp_path / "requirements.txt").write_text("gradio[oauth]==6.31.0\nhttpx==1.0\n")
    return tmp_path


def test_a_right_folder_has_no_problem(folder: Path) -> None:
    assert checked(folder) == (0, "nothing is wrong\n")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("title: Chat\n", "", "title must be set"),
        ("emoji: 💬", "emoji:", "emoji must be set"),
        ("colorTo: indigo", "colorTo: teal", "colorTo must be one of"),
        ("sdk: gradio", "sdk: flask", "sdk must be one of"),
        ("sdk_version: 6.31.0", "sdk_version: latest", "sdk_version must be a version"),
        ("sdk_version: 6.31.0", "sdk_version: 6.30.0", "requirements.txt has Gradio 6.31.0"),
        ('python_version: "3.12"', "python_version: 3.10", "must be a text"),
        ("app_file: app.py", "app_file: main.py", "main.py, which is not there"),
        ("hf_oauth: true", 'hf_oauth: "yes"', "hf_oauth must be true or false"),
        ("A chat", "x" * 61, "at most 60 characters"),
        ("---\ntitle", "title", "must begin with front matter"),
        ("title: Chat", "title: [", "no YAML"),
    ],
)
def test_each_mistake_of_the_front_matter_is_named(
    folder: Path, old: str, new: str, named: str
) -> None:
    code, lines = checked(folder, FRONT.replace(old, new, 1))
    assert code == 1
    assert named in lines


def test_large_secret_and_linked_files_are_named(folder: Path) -> None:
    with (folder / "model.bin").open("wb") as file:
        file.truncate(10_000_001)
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(1_000_000_000)  # a hole: it takes no room
    (folder / "data").mkdir()
    (folder / "data" / "chat.db").write_text("")
    (folder / ".env").write_text("")
    (folder / "link").symlink_to(folder / "app.py")
    code, lines = checked(folder)
    assert code == 1
    for named in (
        "model.bin has more",
        "data/chat.db may hold",
        ".env may hold",
        "link is a symbolic",
    ):
        assert named in lines
    assert "together" in lines


def test_a_folder_without_a_readme_is_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CHECK, tmp_path], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "README.md is not there\n")

"""Pushes the app to a Hugging Face Space: ``python deploy/space/push.py OWNER/NAME [--dry-run]``.

It assembles a folder of what the Space runs and nothing else, and uploads it with
`huggingface_hub`, which comes with Gradio and knows the token of ``hf auth login`` or `HF_TOKEN`.
What lies in the Space and is not part of the app any more goes.
"""

# ruff: noqa: INP001 (a script of its own)

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from check import problems

ROOT = Path(__file__).resolve().parents[2]
SINGLE = ("app.py", "requirements.txt", "LICENSE", "agents.example.toml")
PACKAGES = ("cmw_agent", "memory")
OPTIONAL = ("agents.toml",)


def assemble(folder: Path) -> list[str]:
    """Copy what the Space runs into `folder`; return the paths, sorted."""
    for name in SINGLE:
        shutil.copyfile(ROOT / name, folder / name)
    for name in OPTIONAL:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, folder / name)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copyfile(Path(__file__).with_name("README.md"), folder / "README.md")
    return sorted(str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file())


def push(folder: Path, space: str) -> str:
    """Make the Space where it is not there, upload the folder, return the commit's address."""
    # Imported here: a dry run needs neither the package nor the network.
    from huggingface_hub import HfApi  # noqa: PLC0415

    api = HfApi()
    api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
    commit = api.upload_folder(
        repo_id=space,
        repo_type="space",
        folder_path=folder,
        commit_message="Deploy",
        delete_patterns=["*.py", "*.js", "*.toml", "*.txt"],
    )
    return str(commit.commit_url)


def main(arguments: Sequence[str]) -> int:
    """Push, or with --dry-run list what would go; return the exit code."""
    parser = argparse.ArgumentParser(prog="push.py", description="Push the app to a Space.")
    parser.add_argument("space", metavar="OWNER/NAME")
    parser.add_argument("--dry-run", action="store_true", help="only list what would go")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="space-") as name:
        folder = Path(name)
        paths = assemble(folder)
        found = list(problems(folder))
        if found:
            sys.stderr.write("".join(f"{line}\n" for line in found))
            return 1
        if chosen.dry_run:
            total = sum((folder / path).stat().st_size for path in paths)
            sys.stdout.write("\n".join([*paths, f"{len(paths)} files, {total} bytes"]) + "\n")
            return 0
        sys.stdout.write(f"{push(folder, chosen.space)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

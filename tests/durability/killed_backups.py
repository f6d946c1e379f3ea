"""Kills backups before each of their steps: ``python -m tests.durability.killed_backups``.

For each step in which a backup renames files, the folder is copied to ``FOLDER-NUMBER``, and a
process that backs up there with ``--force`` kills itself before that step. The last one completes.
"""

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

from cmw_agent.cli.backup import back_up
from cmw_agent.config.settings import Settings

STEPS = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"})


def killed_at(number: int, folder: Path) -> bool:
    """Back up in a process that dies before its step of this number; whether it died."""
    child = os.fork()
    if child == 0:
        steps = itertools.count()

        def hook(event: str, _: object) -> None:
            if event in STEPS and next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        settings = Settings(_env_file=None, data_dir=folder / "data")
        sys.addaudithook(hook)
        back_up(settings, folder / "backup", force=True)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def main(folder: Path) -> None:
    """Make the copies of `folder`, which holds the data and what was backed up before."""
    for number in itertools.count():
        copy = folder.with_name(f"{folder.name}-{number}")
        shutil.copytree(folder, copy)
        if not killed_at(number, copy):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The nginx of the tests: Debian's, which tries the configuration in `deploy/` and runs it."""

import os
import shutil
import subprocess
from pathlib import Path

NAME = "nginx"
PLACES = "/usr/sbin:/usr/local/sbin:/sbin"  # not on the PATH of every account
CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx.conf"
MISSING = """\
error: the tests need nginx, and there is none.
  Debian, Ubuntu:  sudo apt-get install nginx
  macOS:           brew install nginx"""


class NginxMissing(Exception):
    """No nginx was found; the text says how to get one."""


def nginx_program(places: str = PLACES) -> str:
    """Return the path of an nginx, on the PATH or in one of `places`, which `:` separates.

    Raises:
        NginxMissing: There is none.
    """
    found = shutil.which(NAME) or shutil.which(NAME, path=places)
    if found is None:
        raise NginxMissing(MISSING)
    return found


def provided_nginx() -> str:
    """Return the path of an nginx, installed first where that needs nobody's leave.

    Debian's package starts a server of its own where an init system lets it; it is asked not to.

    Raises:
        NginxMissing: There is none, and it cannot be installed.
    """
    try:
        return nginx_program()
    except NginxMissing:
        apt = shutil.which("apt-get")
        if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
            raise
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (("update", "-qq"), ("install", "-qq", "--no-install-recommends", NAME)):
        subprocess.run(
            [apt, *words, "-y"], env=quiet, stdout=subprocess.DEVNULL, check=False, timeout=600
        )
    return nginx_program()

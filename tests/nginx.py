"""The nginx of the tests: Debian's, which tries the configuration in `deploy/` and runs it."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
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


def install(name: str) -> None:
    """Try to install a package with apt where that needs nobody's leave; elsewhere do nothing.

    One that starts a server of its own where an init system lets it is asked not to.
    """
    apt = shutil.which("apt-get")
    if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (("update", "-qq"), ("install", "-qq", "--no-install-recommends", name)):
        subprocess.run(
            [apt, *words, "-y"], env=quiet, stdout=subprocess.DEVNULL, check=False, timeout=600
        )


def provided_nginx() -> str:
    """Return the path of an nginx, installed first where that needs nobody's leave.

    Raises:
        NginxMissing: There is none, and it cannot be installed.
    """
    try:
        return nginx_program()
    except NginxMissing:
        install(NAME)
    return nginx_program()


def rendered(port: int, replicas: Sequence[int]) -> str:
    """Return the deployed configuration for these ports of 127.0.0.1, its files below the prefix."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"server app{number}:7860 ", f"server 127.0.0.1:{replica} ")
    assert f"127.0.0.1:{port};" in text
    assert not re.search(r"server app\d", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {kind};\n" for kind in kinds)
    text = text.replace("http {\n", f"http {{\n  access_log off;\n{paths}", 1)
    # Its workers write below a folder that pytest lets nobody else into.
    user = "user root;\n" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    return f"pid nginx.pid;\n{user}{text}"

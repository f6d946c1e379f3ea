"""The nginx of the tests, and the configuration in `deploy/` adapted to their ports."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tests.programs import NGINX, path_of

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx.conf"


def nginx_program() -> str:
    """Return the path of an nginx.

    Raises:
        ProgramMissingError: nginx is not installed.
    """
    return path_of(NGINX)


def rendered(port: int, replicas: Sequence[int]) -> str:
    """Return the deployed configuration, with all its files below nginx's prefix.

    Args:
        port: The port of 127.0.0.1 that nginx listens on.
        replicas: The ports of the app's processes.
    """
    text = CONFIGURATION.read_text(encoding="utf-8")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"server app{number}:7860 ", f"server 127.0.0.1:{replica} ")
    assert f"127.0.0.1:{port};" in text
    assert not re.search(r"server app\d", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {kind};\n" for kind in kinds)
    text = text.replace("http {\n", f"http {{\n  access_log off;\n{paths}", 1)
    # The workers write below a folder of pytest that only its owner may enter.
    user = "user root;\n" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    return f"pid nginx.pid;\n{user}{text}"

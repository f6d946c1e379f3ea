"""The browser of the tests: a Chromium of the system, or the one Playwright installed.

``python -m tests.browser`` prints its path and those of the tests' Redis and nginx, or says how to
get one and exits with 1.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.nginx import NginxMissing, provided_nginx
from tests.redis import RedisMissing, provided_redis

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = """\
error: the tests need Chromium, and there is none.
  Debian, Ubuntu:  sudo apt-get install chromium
  elsewhere:       .venv/bin/playwright install chromium"""


class BrowserMissing(Exception):
    """No Chromium was found; the text says how to get one."""


def chromium() -> str:
    """Return the path of a Chromium, for Playwright's `executable_path`.

    Raises:
        BrowserMissing: There is none.
    """
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    raise BrowserMissing(MISSING)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"browser: {chromium()}\n")
        sys.stdout.write(f"redis: {provided_redis()}\n")
        sys.stdout.write(f"nginx: {provided_nginx()}\n")
    except (BrowserMissing, NginxMissing, RedisMissing) as missing:
        sys.exit(str(missing))

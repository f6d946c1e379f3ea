"""The cached page is the same for all visitors: no request of one changes another's."""

import re
from pathlib import Path

import gradio
import pytest
from yarl import URL

from tests.harness import Browser, canary
from tests.isolation.world import AppWithModel, app_with_model

SHARED = ("/", "/config", "/theme.css", "/gradio_api/info", "/manifest.json", "/robots.txt")
# Every header that Gradio's server names, and those that proxies are known to send.
KNOWN = {
    "accept", "accept-language", "authorization", "cookie", "forwarded", "from", "origin",
    "referer", "user-agent", "via", "x-forwarded-for", "x-forwarded-path", "x-forwarded-port",
    "x-forwarded-prefix", "x-forwarded-scheme", "x-forwarded-server", "x-forwarded-ssl",
    "x-forwarded-uri", "x-host", "x-http-method-override", "x-original-host", "x-original-url",
    "x-real-ip", "x-rewrite-url", "x-scheme", "x-script-name", "x-space-id", "x-ip-token",
}  # fmt: skip


def headers_gradio_reads() -> set[str]:
    """Return all string literals of Gradio's server that could name a header."""
    folder = Path(gradio.__file__).parent
    source = "".join((folder / name).read_text() for name in ("routes.py", "route_utils.py"))
    return {name.lower() for name in re.findall(r"""["']([A-Za-z]+(?:-[A-Za-z]+)+)["']""", source)}


async def page(here: AppWithModel, path: str, headers: dict[str, str]) -> str:
    async with (
        Browser(here.url) as browser,
        browser.http.get(URL(here.url + path, encoded=True), headers=headers) as answer,
    ):
        return (await answer.read()).decode()


@pytest.mark.parametrize("form", ["https://{}.example/", "{}.example"])
async def test_no_header_of_one_visitor_shapes_the_page_of_the_next(
    form: str, tmp_path: Path
) -> None:
    refused = {"content-length", "transfer-encoding", "origin", "host"}
    names = sorted((KNOWN | headers_gradio_reads()) - refused)
    secret = canary()
    async with app_with_model(tmp_path, allowed_hosts="*") as here:
        for name in names:
            # An address of its own, under which nobody has asked before.
            host = {"host": f"{name}.example"}
            await page(here, "/config", {**host, name: form.format(secret)})
            assert secret not in await page(here, "/config", host), name


@pytest.mark.parametrize("name", ["host", "x-forwarded-host", "x-gradio-server"])
async def test_no_address_of_one_visitor_is_shown_to_the_next(name: str, tmp_path: Path) -> None:
    secret = canary()
    async with app_with_model(tmp_path, allowed_hosts="*") as here:
        for path in SHARED:
            await page(
                here, path, {name: f"https://{secret}.example" if "gradio" in name else secret}
            )
            assert secret not in await page(here, path, {}), path


async def test_no_query_of_one_visitor_shapes_the_page_of_the_next(tmp_path: Path) -> None:
    secret = canary()
    names = ("deep_link", "page", "view", "__theme", "c", "session_hash", "username", "root")
    query = "&".join(f"{name}={secret}" for name in names)
    async with app_with_model(tmp_path, allowed_hosts="*") as here:
        for path in SHARED:
            assert secret not in await page(here, f"{path}?{query}", {})
            assert secret not in await page(here, path, {})

"""Secrets of the settings appear in no log, page, error, metric, repr or traceback."""

import contextlib
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.cli.serve import check_database
from cmw_agent.config.settings import Settings, load_settings, variable
from cmw_agent.core.errors import StartupError
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.harness import API, Browser, canary, served, settings_for
from tests.logbook import logbook

SECRET = {
    name
    for name, info in Settings.model_fields.items()
    if any(word in str(info.annotation) for word in ("Secret", "ApiKey"))
}
ADDRESSES = {"redis_url", "database_url"}  # hold a password, or a path


def secrets_for(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a value for each secret setting, and the word in it that nobody may see."""
    words = {name: canary() for name in SECRET}
    written: dict[str, Any] = {name: f"k{word}" for name, word in words.items()}
    written["redis_url"] = f"redis://:{words['redis_url']}@127.0.0.1:1/0"
    written["database_url"] = f"sqlite:///{folder / words['database_url']}.db"
    written["api_keys"] = f"shop:{words['api_keys']}:https://shop.example"
    return written, words


@dataclass(slots=True)
class Told:
    """All that a served app has said."""

    parts: list[str] = field(default_factory=list)

    async def ask(self, http: aiohttp.ClientSession, method: str, url: str, **more: Any) -> int:
        """Send a request; keep status line, headers and body of the answer."""
        async with http.request(method, url, allow_redirects=False, **more) as answer:
            self.parts += [str(answer.headers), await answer.text()]
            return answer.status


@contextlib.asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[Settings, str]]:
    """Serve the app with every secret set, and nothing but the model's endpoint there."""
    written, _ = secrets_for(folder)
    async with OpenAIDouble() as endpoint:
        with refused_url() as nowhere:
            settings = settings_for(
                folder,
                **written,
                openai_base_url=endpoint.base_url,
                model="echo",
                models=frozenset({"fail-401", "not-sse"}),
                # no toolkits: what is done with that key has tests of its own
                openid_provider_url=nowhere,
                oauth_client_id="client",
                whatsapp_bridge_url=nowhere,
                log_level="DEBUG",
            )
            async with served(settings) as app:
                yield settings, app.url


def spelled(settings: Settings) -> dict[str, str]:
    """Return the secret words that the settings hold."""
    words = {}
    for name in SECRET:
        value = getattr(settings, name)
        plain = value[0].key if name == "api_keys" else value
        text = plain.get_secret_value()
        words[name] = text[text.index("canary-") :][: len(canary())]
    return words


async def use(url: str) -> Told:
    """Use the app well and badly; return what it has said."""
    told = Told()
    async with Browser(url) as browser:
        tab = await browser.open()
        for model in ("echo", "fail-401", "not-sse"):
            await tab.run("send", ["hello", "", "", model])
        await tab.send("/tools")
        for path in (
            *("/", "/config", "/healthz", "/readyz", "/metrics", "/visitor", "/history"),
            *("/connections", "/usage", "/login", "/login/callback?code=x&state=y", "/nothing"),
            *("/admin/statistics", "/v1/models", "/whatsapp/status", f"{API}/info"),
            *("/whatsapp/incoming?hub.mode=subscribe&hub.verify_token=x", f"{API}/heartbeat/%00"),
        ):
            await told.ask(browser.http, "GET", url + path)
        for path in (f"{API}/queue/join", "/approvals", "/files", "/connections/link"):
            await told.ask(browser.http, "POST", url + path, data=b"{nonsense")
        wrong = {"authorization": "Bearer wrong", "x-hub-signature-256": "sha256=00"}
        for path in ("/v1/chat/completions", "/whatsapp/incoming", "/whatsapp/send"):
            await told.ask(browser.http, "POST", url + path, headers=wrong, json={"model": "x"})
        told.parts.append(tab.received.decode())
    return told


async def test_a_served_app_tells_no_secret_and_logs_none_at_debug(tmp_path: Path) -> None:
    with logbook() as book:
        async with house(tmp_path) as (settings, url):
            words = spelled(settings)
            told = await use(url)
    assert len(set(words.values())) == len(SECRET) >= 12
    said = "\n".join(told.parts)
    assert "cmw_live_sessions" in said
    assert "not accept" in said or "(error " in said  # the failures were told
    assert "error_id=" in book.text
    for name, word in words.items():
        assert word not in said, name
        assert word not in book.text, name
    for record in book.records:  # and what a formatter of somebody else's would make of them
        for word in words.values():
            assert word not in record.getMessage()


def test_no_repr_of_the_settings_shows_a_secret(tmp_path: Path) -> None:
    written, words = secrets_for(tmp_path)
    settings = settings_for(tmp_path, **written)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert spelled(settings) == words
    for name, word in words.items():
        assert word not in shown, name


WRONG = ("two words {}", "\u00fc{}", "{}\x01")


@pytest.mark.parametrize("name", sorted(SECRET))
def test_a_wrong_secret_is_named_and_not_shown(name: str, tmp_path: Path) -> None:
    secret = canary()
    refusals = []
    for number, form in enumerate((*WRONG, "{}")):
        path = tmp_path / f"{number}.env"
        path.write_text(f"{variable(name)}='{form.format(secret)}'\n", encoding="utf-8")
        try:
            load_settings(path)
        except StartupError as error:
            refusals.append("".join(traceback.format_exception(error)))
    assert refusals
    for text in refusals:
        assert variable(name) in text
        assert secret not in text, text


@pytest.mark.parametrize("form", ["postgresql://user:{}@127.0.0.1:1/chat", "sqlite:///{}/no/x.db"])
async def test_a_database_that_cannot_be_opened_is_told_without_its_address(
    form: str, tmp_path: Path
) -> None:
    secret = canary()
    settings = settings_for(tmp_path, database_url=form.format(secret))
    with logbook() as book, pytest.raises(StartupError) as found:
        await check_database(settings)
    assert secret not in str(found.value)
    assert secret not in book.text

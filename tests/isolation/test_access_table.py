"""The table `[access]`: agents, models and limits of groups, as their sign-in proves them."""

from pathlib import Path
from typing import Any

import pytest

from cmw_agent.config.access_table import UserLimits, load_access
from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.config.model_loader import load_models
from cmw_agent.core.errors import StartupError
from cmw_agent.server.build import build_app
from tests.harness import Browser, RefusedError, settings_for
from tests.isolation.test_agents import House, agents_of, house
from tests.rest import BANK, KEYS, SHOP, client

TABLES = """
[[agents]]
id = "helper"

[access."group:staff"]
agents = ["helper"]
models = ["large"]
turns_per_minute = 2
turns_at_once = 3

[access."email:Boss@a.example"]
models = ["large"]
turns_per_minute = 0
"""


def access_of(folder: Path, text: str) -> Any:
    (folder / "agents.toml").write_text(text, encoding="utf-8")
    settings = settings_for(folder, openai_base_url="http://127.0.0.1:9", model="m", models="large")
    models = load_models(settings)
    load_profiles(settings, models)
    return load_access(settings.agents_file, models)


def test_of_several_grants_the_widest_limit_holds(tmp_path: Path) -> None:
    table = access_of(tmp_path, TABLES)
    assert table.limits(None) == UserLimits()
    assert table.limits(frozenset({"group:staff"})) == UserLimits(2, 3, None)
    both = frozenset({"group:staff", "email:boss@a.example"})
    assert table.limits(both) == UserLimits(0, 3, None)
    assert table.closed_models(frozenset({"staff"})) == {"large"}
    assert table.closed_models(both) == frozenset()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('access = "everyone"', "[access."),
        ('[access."group:"]\nmodels = ["m"]', "must be named"),
        ('[access."email:boss"]\nmodels = ["m"]', "must be named"),
        ('[access.ann]\nmodels = ["none"]', "models must be"),
        ('[access."key:"]\nmodels = ["m"]', "must be named"),
        ('[access."key:crm"]\nturns_per_minute = 1', "CMW_KEY_LIMITS"),
        ('[access.ann]\nagents = ["none"]', "which is not there"),
        ("[access.ann]\nturns_per_minute = -1", "turns_per_minute must be"),
        ("[access.ann]\nturns_per_minute = true", "turns_per_minute must be"),
        ("[access.ann]\nturns_per_minut = 1", "did you mean turns_per_minute"),
        (
            '[[agents]]\nid = "a"\naccess = "signed-in"\n[access.ann]\nagents = ["a"]',
            "is named in [access]",
        ),
    ],
)
def test_a_wrong_table_stops_the_start_with_one_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(StartupError) as raised:
        access_of(tmp_path, text)
    assert named in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


async def chosen(here: House, browser: Browser, model: str) -> int:
    """Send a message to a model; return the status, 200 for an answer."""
    tab = browser.tab()
    await tab.open()
    event = await tab.run("send", ["hello", "", "", model])
    return 200 if event.error is None and "not open to you" not in str(event.raw) else 403


async def test_a_group_has_its_agents_and_models_and_nobody_else(tmp_path: Path) -> None:
    async with (
        house(tmp_path, TABLES, models="large", api_keys=KEYS) as here,
        Browser(here.url) as visitor,
        Browser(here.url) as bob,
        Browser(here.url) as colleague,
        client(here.url) as shop,
    ):
        await visitor.open()
        await here.sign_in(bob, "2", preferred_username="group:staff")
        await here.sign_in(colleague, "4", groups=["staff"])
        for browser, is_theirs in ((visitor, False), (bob, False), (colleague, True)):
            assert ("helper" in await agents_of(browser)) == is_theirs
            async with browser.http.get(f"{here.url}/look") as answer:
                assert (await answer.json())["closed_models"] == ([] if is_theirs else ["large"])
            assert await chosen(here, browser, "large") == (200 if is_theirs else 403)
            assert await chosen(here, browser, "echo") == 200
        listed = [model["id"] for model in (await shop.ask("GET", "/v1/models")).json["data"]]
        assert "large" not in listed
        asked = {"model": "large", "messages": [{"role": "user", "content": "hello"}]}
        assert (await shop.ask("POST", "/v1/chat/completions", asked)).status == 404


async def test_a_key_that_a_table_names_has_its_agents_and_models_and_no_other_key(
    tmp_path: Path,
) -> None:
    tables = TABLES + '\n[access."key:shop"]\nagents = ["helper"]\nmodels = ["large"]\n'
    async with (
        house(tmp_path, tables, models="large", api_keys=KEYS) as here,
        Browser(here.url) as bob,
        client(here.url, SHOP) as shop,
        client(here.url, BANK) as bank,
    ):
        await here.sign_in(bob, "2", preferred_username="key:shop")
        assert "helper" not in await agents_of(bob)
        assert await chosen(here, bob, "large") == 403
        asked = {"model": "large", "messages": [{"role": "user", "content": "hello"}]}
        for browser, is_theirs in ((shop, True), (bank, False)):
            listed = (await browser.ask("GET", "/v1/models")).json["data"]
            assert ({"helper", "large"} <= {model["id"] for model in listed}) == is_theirs
            assert ("large" in {model["id"] for model in listed}) == is_theirs
            reply = await browser.ask("POST", "/v1/chat/completions", asked)
            assert reply.status == (200 if is_theirs else 404)
            say = {"message": "hello", "model": "large"}
            reply = await browser.ask("POST", "/api/chat/assistant/message", say)
            assert reply.status == (200 if is_theirs else 403)
            reply = await browser.ask("POST", "/api/chat/helper/message", {"message": "hello"})
            assert reply.status == (200 if is_theirs else 404)


@pytest.mark.parametrize("named", ["key:crm", "key:site"])
async def test_a_table_of_a_key_that_proves_nobody_stops_the_start(
    named: str, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text(f'[access."{named}"]\nmodels = ["demo"]\n')
    keys = f"{KEYS},site:{'x' * 32}:https://site.example"
    with pytest.raises(StartupError, match="keys of CMW_API_KEYS"):
        build_app(settings_for(tmp_path, api_keys=keys))


async def test_a_group_s_limits_hold_in_place_of_the_settings(tmp_path: Path) -> None:
    async with (
        house(tmp_path, TABLES, models="large", turns_per_minute=1) as here,
        Browser(here.url) as bob,
        Browser(here.url) as colleague,
        Browser(here.url) as boss,
    ):
        await here.sign_in(bob, "2")
        await here.sign_in(colleague, "4", groups=["staff"])
        await here.sign_in(boss, "3", email="boss@a.example", email_verified=True)
        for browser, most in ((bob, 1), (colleague, 2), (boss, None)):
            tab = browser.tab()
            await tab.open()
            for _ in range(most or 4):
                assert (await tab.send("hello")).error is None
            if most is not None:
                with pytest.raises(RefusedError) as refused:
                    await tab.send("one more")
                assert refused.value.status == 429

"""The look's route: a conversation's title and agent, for its owner alone."""

from pathlib import Path
from typing import Any

from tests.harness import Browser, canary
from tests.isolation.world import app_with_model

AGENTS = """
[[agents]]
id = "assistant"
[[agents]]
id = "open"
name = "Open desk"
welcome = "Open to all"
[[agents]]
id = "staff"
name = "Staff desk"
access = "signed-in"
welcome = "a secret welcome"
"""


async def look(browser: Browser, query: str) -> dict[str, Any]:
    async with browser.http.get(f"{browser.url}/look?{query}") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


async def test_a_title_is_told_to_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    secret = canary()
    async with (
        app_with_model(tmp_path) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        tab = await alice.open(query="?agent=open")
        conversation = (await tab.send(secret)).values[-1][1]
        hers, his = await look(alice, f"c={conversation}"), await look(bob, f"c={conversation}")
        missing = await look(bob, "c=" + "0" * 32)
    assert secret in str(hers["title"])
    assert hers["look"]["agent"] == "open"
    assert his == missing
    assert his["title"] is None
    assert secret not in str(his)


async def test_a_look_is_told_to_those_alone_who_may_use_its_agent(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    async with app_with_model(tmp_path) as here, Browser(here.url) as visitor:
        await visitor.open()
        for query in ("agent=staff", "agent=nobody", ""):
            found: dict[str, Any] = await look(visitor, query)
            assert found["look"]["agent"] == "assistant"
            assert "secret" not in str(found)
            assert [item["id"] for item in found["agents"]] == ["assistant", "open"]
        async with visitor.http.get(f"{here.url}/?agent=staff") as page:
            assert "a secret welcome" not in await page.text()
        async with visitor.http.get(f"{here.url}/?agent=open") as page:
            assert "Open to all" in await page.text()

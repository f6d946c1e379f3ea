"""Isolation: the client's address comes from trusted proxies' headers alone."""

import asyncio
from pathlib import Path

import pytest

from tests.harness import WAIT, Browser, RefusedError, last_text
from tests.isolation.world import world

VICTIM = "198.51.100.7"
ATTACKER = "203.0.113.66"
FORGED = f"{VICTIM}, {ATTACKER}"  # sent with the victim's address; the proxy appends the real one


@pytest.mark.parametrize("trusted", ["1", "127.0.0.1"])
async def test_a_forged_address_and_a_known_hash_read_nothing_of_an_ephemeral_caller(
    trusted: str, tmp_path: Path
) -> None:
    async with (
        world(tmp_path, "slow", trust_proxy=trusted) as here,
        Browser(here.url, cookies=False) as victim,
        Browser(here.url, cookies=False) as attacker,
    ):
        tab = await victim.open(headers={"x-forwarded-for": VICTIM})
        event = await tab.join("send", ["my secret", "", "", None])
        thief = attacker.tab(session_hash=tab.hash, headers={"x-forwarded-for": FORGED})

        async def steal() -> None:
            async for _ in thief.events():
                pass  # kept in `received`

        stealing = asyncio.create_task(steal())
        # Whoever comes by the proxy from the victim's own address follows it to its end.
        async with asyncio.timeout(WAIT):
            kinds = [message["msg"] async for message in tab.events()]
        assert "process_completed" in kinds
        stealing.cancel()
        await asyncio.gather(stealing, return_exceptions=True)
        assert event.encode() not in thief.received


@pytest.mark.parametrize("trusted", ["1", "127.0.0.1"])
async def test_forged_addresses_are_counted_as_the_one_they_come_from(
    trusted: str, tmp_path: Path
) -> None:
    async with world(tmp_path, trust_proxy=trusted, turns_per_address=3) as here:
        statuses = []
        for number in range(5):
            async with Browser(here.url) as browser:
                forged = {"x-forwarded-for": f"192.0.2.{number}, {ATTACKER}"}
                tab = await browser.open(headers=forged)
                try:
                    await tab.send("hello")
                    statuses.append(200)
                except RefusedError as refused:
                    statuses.append(refused.status)
        assert statuses == [200] * 3 + [429] * 2
        async with Browser(here.url) as browser:
            tab = await browser.open(headers={"x-forwarded-for": VICTIM})
            assert last_text((await tab.send("hello")).value) == "You said: hello"

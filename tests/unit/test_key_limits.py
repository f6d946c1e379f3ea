"""Limits of an API key's requests to `/v1`, beside those of the users whom its requests name."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from cmw_agent.identity.channel_principals import client as client_principal
from cmw_agent.identity.channel_principals import key_owner
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import BANK, KEYS, SHOP

AT_ONCE = 10


def connected(here: AppWithModel, key: str = SHOP) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=key, max_retries=0, timeout=20)


async def ask(ai: openai.AsyncOpenAI, **more: Any) -> str:
    made = await ai.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": "Hello"}], **more
    )
    return str(made.choices[0].message.content)


async def refusal(ai: openai.AsyncOpenAI, **more: Any) -> str:
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(ai, **more)
    assert int(caught.value.response.headers["Retry-After"]) >= 1
    return caught.value.message


async def test_requests_that_name_no_user_do_not_share_one_user_s_limits(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"turns_per_minute": 1, "turns_at_once": 1, "tokens_per_day": 1}
    async with (
        app_with_model(tmp_path, "gated-0", api_keys=KEYS, **changes) as here,
        connected(here) as ai,
    ):
        asking = [asyncio.create_task(ask(ai)) for _ in range(AT_ONCE)]
        await here.endpoint.wait_held(count=AT_ONCE)
        here.endpoint.release_all()
        assert await asyncio.gather(*asking) == ["You said: Hello"] * AT_ONCE


async def test_a_key_has_limits_of_its_own(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS, key_limits="shop=3/0/0,*=0/0/0") as here,
        connected(here) as shop,
        connected(here, BANK) as bank,
    ):
        await ask(shop)
        await ask(shop, user="alice")
        await ask(shop, extra_headers={"X-Session-Id": "bob"})
        for more in ({}, {"user": "carol"}, {"extra_headers": {"X-Session-Id": "bob"}}):
            assert "This key has sent 3 messages in a minute" in await refusal(shop, **more)
        assert await ask(bank)


async def test_a_key_s_answers_at_once_and_tokens_of_a_day_are_counted(tmp_path: Path) -> None:
    limits = "shop=0/1/0,bank=0/0/1"
    async with (
        app_with_model(tmp_path, "gated-0", api_keys=KEYS, key_limits=limits) as here,
        connected(here) as shop,
        connected(here, BANK) as bank,
    ):
        asking = asyncio.create_task(ask(shop, user="alice"))
        await here.endpoint.wait_held()
        assert "An answer is being written" in await refusal(shop, user="carol")
        here.endpoint.release_all()
        await asking
        asking = asyncio.create_task(ask(bank, user="alice"))
        await here.endpoint.wait_held()
        here.endpoint.release_all()
        await asking
        assert "This key has used today's 1 tokens" in await refusal(bank, user="carol")


@pytest.mark.parametrize(
    "named",
    [{"user": "u"}, {"safety_identifier": "u"}, {"extra_headers": {"X-OpenWebUI-User-Id": "u"}}],
)
async def test_a_user_is_named_in_any_of_the_ways_that_front_ends_know(
    named: dict[str, Any], tmp_path: Path
) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS, turns_per_minute=1) as here,
        connected(here) as ai,
    ):
        await ask(ai, **named)
        assert "You have sent 1 message in a minute" in await refusal(ai, user="u")
        assert await ask(ai, user="v")


def test_a_key_is_counted_under_no_principal_s_id() -> None:
    assert key_owner("shop") != key_owner("bank")
    assert key_owner("shop")[0] not in {client_principal("shop", "assistant", "").id[0], "p", "s"}

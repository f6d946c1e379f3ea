"""Isolation: the operator reads rated answers of users who agreed, and of nobody else."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cmw_agent.runtime.runtime import Runtime
from tests.harness import Browser, Served, canary
from tests.isolation.test_history import chatted, get, post
from tests.rows import rows
from tests.unit.test_admin import Namer, app

PAGE = "admin/ratings"
TAGS = re.compile(r"<(script|img|link|form|iframe|object)\b")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Served]:
    """An app in which everybody is an admin."""
    async with app(tmp_path, Namer) as running:
        yield running


async def queue(browser: Browser, **params: str) -> str:
    status, body = await get(browser, PAGE, **params)
    assert status == 200
    return body.decode()


async def consent(browser: Browser, agreed: Any) -> int:
    return (await post(browser, "consents", {"kind": "ratings", "agreed": agreed}))[0]


async def rated(browser: Browser, said: str, **why: str) -> str:
    _, conversation = await chatted(browser, said)
    sent = {"id": conversation, "seq": 2, "rating": "dislike", **why}
    assert (await post(browser, "history/rating", sent))[0] == 200
    return conversation


async def test_what_a_user_rates_is_shown_while_they_agree_to_it(
    here: Served, tmp_path: Path
) -> None:
    async with Browser(here.url) as alice, Browser(here.url) as bob, Browser(here.url) as admin:
        await admin.open()
        secret, markup = canary(), "<script>alert(1)</script>"
        hers = await rated(alice, f"{secret} {markup}", reason="unsafe", comment=markup)
        other = canary()
        his = await rated(bob, other)
        assert secret not in await queue(admin)
        _, state = await get(alice, "consents")
        assert orjson.loads(state) == {"ratings": False}
        assert await consent(alice, True) == 200
        page = await queue(admin)
        assert secret in page
        assert "Unsafe or offensive" in page
        assert not TAGS.search(page)
        ids = [row["owner_id"] for row in rows(tmp_path, "SELECT owner_id FROM agent_sessions")]
        for name in (*ids, hers, his, other):
            assert name not in page
        assert await consent(alice, False) == 200
        assert secret not in await queue(admin)


async def test_no_parameter_leads_to_what_nobody_agreed_to(here: Served, tmp_path: Path) -> None:
    async with Browser(here.url) as alice, Browser(here.url) as bob:
        secret = canary()
        hers = await rated(alice, secret)
        await rated(bob, "bob's own")
        await consent(bob, True)
        (owner,) = {
            row["owner_id"]
            for row in rows(tmp_path, "SELECT * FROM agent_sessions WHERE session_id = ?", hers)
        }
        for name in ("owner", "owner_id", "id", "session_id", "c", "rating", "reason", "q", "all"):
            for value in (owner, hers, "*", "%", "1", "' OR 1=1 --"):
                assert secret not in await queue(bob, **{name: value})
        for before in ("9999-12-31T00:00:00Z~999999999", "2999-01-01T00:00:00Z~0"):
            assert secret not in await queue(bob, before=before)
        for before in ("x", "~", "2999-01-01T00:00:00Z~", f"2999-01-01T00:00:00Z~{hers}"):
            assert (await get(bob, PAGE, before=before))[0] in (400, 422)
        # Nobody agrees for another.
        for named in ({"owner": owner}, {"owner_id": owner}, {"id": hers}):
            sent = {"kind": "ratings", "agreed": True, **named}
            assert (await post(bob, "consents", sent))[0] == 200
        assert secret not in await queue(bob)


@pytest.mark.parametrize("wrong", [None, 1, "true", [], {}])
async def test_a_consent_is_given_in_so_many_words(here: Served, wrong: Any) -> None:
    async with Browser(here.url) as alice:
        await rated(alice, "hello")
        assert await consent(alice, wrong) == 400
        assert orjson.loads((await get(alice, "consents"))[1]) == {"ratings": False}


async def test_where_nobody_may_read_nobody_is_asked(tmp_path: Path) -> None:
    async with app(tmp_path, Runtime, "") as running, Browser(running.url) as alice:
        await rated(alice, "hello")
        _, state = await get(alice, "consents")
        assert orjson.loads(state) == {}
        assert await consent(alice, True) == 404
        assert await consent(alice, False) == 200
        assert rows(tmp_path, "SELECT * FROM agent_consents") == []


async def test_who_keeps_no_cookie_is_asked_nothing(here: Served) -> None:
    async with Browser(here.url, cookies=False) as nobody:
        status, state = await get(nobody, "consents")
        assert (status, orjson.loads(state)) == (200, {})
        assert await consent(nobody, True) == 404


@pytest.mark.parametrize("kind", ["traces", "everything", ""])
async def test_nobody_agrees_to_what_nobody_asks_for(
    here: Served, kind: str, tmp_path: Path
) -> None:
    async with Browser(here.url) as alice:
        await rated(alice, "hello")
        status, _ = await post(alice, "consents", {"kind": kind, "agreed": True})
        assert status == 404
        assert rows(tmp_path, "SELECT * FROM agent_consents") == []

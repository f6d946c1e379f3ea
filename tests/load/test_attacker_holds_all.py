"""The canary storm during an attack on all resources: no other user is refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import orjson
import pytest

from cmw_agent.core.errors import UserError
from cmw_agent.limits.budgets import BudgetKind, Budgets
from cmw_agent.server.connection_bounds import Deadlines
from tests.doubles.attacker import Attacker
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.harness import WAIT, Browser, Served, Tab, canary, last_text, served, settings_for
from tests.isolation.toolhouse import obedient, pending_approvals, settle_approval
from tests.phones import SECRET, deliver, message

USERS = 8
ATTACKER = "127.0.0.2"
HOLD = "hold this"
PATIENT = Deadlines(headers=1e6, body=1e6, bytes_per_second=1, unread=1e6)
HELD: tuple[BudgetKind, ...] = ("turns", "mailboxes", "heartbeats", "connections", "large_bodies")


def script(request: Request) -> Sequence[Step]:
    """A model that does as it is told, and never ends what it is told to hold."""
    if HOLD in request.last_user:
        return [Start(), Text(["I"]), Gate()]
    return obedient(request)


@contextlib.asynccontextmanager
async def house(folder: Path, share: float) -> AsyncIterator[Served]:
    """Serve a small app, of which one client could hold all."""
    async with OpenAIDouble(scripts={"mine": script}) as endpoint:
        settings = settings_for(
            folder,
            openai_base_url=endpoint.base_url,
            model="mine",
            address_share=share,
            turns_per_address=200,
            max_turns=24,
            max_sessions=60,
            whatsapp_secret=SECRET,
            whatsapp_inline=True,
        )
        async with served(settings, deadlines=PATIENT) as app:
            yield app


def hold_the_rest(budgets: Budgets, kind: BudgetKind, *, of: str) -> None:
    """Hold what there still is of a kind, as its owner would by more of the same."""
    for number in range(10_000):
        try:
            budgets.take(kind, f"visitor {number}", of)
        except UserError:
            return
    raise AssertionError("there was no bound")


async def chat(url: str, address: str) -> None:
    """One user's visit: a page, an answer, a tool that asks first, a new chat."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
    async with Browser(url, connector=connector) as browser:
        tab, secret = await browser.open(), canary()
        assert list(browser.http.cookie_jar), "there was no cookie for a new visitor"
        first = await tab.send(f"Say {secret}.")
        assert first.error is None
        assert last_text(first.value) == f"You said: Say {secret}."
        conversation = str(first.values[-1][1]).rstrip("+")
        asking = asyncio.create_task(
            tab.send('do schedule_task {"when": "every day at 9", "task": "a summary"}')
        )
        try:
            call = await asked(tab, conversation)
            assert await settle_approval(tab, conversation, call, "approved") == 200
            assert (await asking).error is None
        finally:
            asking.cancel()
        assert (await tab.run("new_chat", [])).error is None


async def asked(tab: Tab, conversation: str) -> str:
    """Wait until a question is open; return its call."""
    for _ in range(int(WAIT / 0.05)):
        if found := await pending_approvals(tab, conversation):
            return str(found[0]["call"])
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was asked")


async def large_delivery(url: str, address: str) -> int:
    """Send a large signed message, as a bridge does; return HTTP's status."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        body = message("4915100000001@c.us", "hello", thumbnail="x" * 400_000)
        return (await deliver(http, url, body))[0]


@pytest.mark.slow
async def test_nobody_else_is_refused_anything_while_an_attacker_holds_all_he_can(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, 0.5) as app, Attacker(app.url, ATTACKER) as attacker:
        budgets = app.application.runtime.budgets
        await attacker.hold_all(HOLD)
        hold_the_rest(budgets, "approvals", of=ATTACKER)
        attacker.trickle()
        for kind in HELD:
            assert attacker.refused[kind] > 0, kind
            assert budgets.used_by(kind, ATTACKER) > 0, kind
            assert budgets.bound(kind, "one more", ATTACKER) == "network"
        async with asyncio.timeout(WAIT * 3):
            for each in range(3):
                users = [f"127.0.{1 + each}.{number + 1}" for number in range(USERS)]
                await asyncio.gather(*(chat(app.url, address) for address in users))
                assert await large_delivery(app.url, users[0]) == 200
        for kind in HELD:  # he still has it
            assert budgets.used_by(kind, ATTACKER) > 0, kind
        assert budgets.used_by("turns", ATTACKER) == 24 // 2


@pytest.mark.slow
async def test_without_a_bound_per_address_the_same_attacker_keeps_everybody_out(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, 1) as app, Attacker(app.url, ATTACKER) as attacker:
        await attacker.hold_all(HOLD)
        budgets = app.application.runtime.budgets
        for kind in HELD:
            assert budgets.bound(kind, "somebody", "127.0.1.1") == "app", kind
        with pytest.raises((aiohttp.ClientError, orjson.JSONDecodeError)):
            await chat(app.url, "127.0.1.1")

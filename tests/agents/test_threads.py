"""What a graph remembers by itself goes with the conversation, for its owner alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from langgraph.checkpoint.memory import InMemorySaver

from cmw_agent import Agent
from cmw_agent.runtime.services import Services
from memory.maintenance.retention import Retention
from memory.records import utcnow
from tests.agents import samples
from tests.harness import Browser, Served, canary, last_text, served, settings_for
from tests.isolation.test_history import post
from tests.rest import BANK, KEYS, SHOP, client

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Saver(InMemorySaver):
    """A checkpointer that can be out of reach for deletions."""

    is_away = False

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread, unless it is out of reach."""
        if self.is_away:
            raise ConnectionError("a secret address")
        await super().adelete_thread(thread_id)

    def holds(self, text: str) -> bool:
        """Return whether any checkpoint has a text."""
        return text in repr((dict(self.storage), dict(self.blobs), dict(self.writes)))


@pytest.fixture(scope="module")
def saver() -> Saver:
    return Saver()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(saver: Saver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    graph = samples.one_node(samples.say_what_was_said, checkpointer=saver)
    settings = settings_for(tmp_path_factory.mktemp("threads"), api_keys=KEYS)
    async with served(settings, agents=[Agent(id="memory", graph=graph)]) as running:
        yield running


def services(app: Served) -> Services:
    return app.application.runtime.services


async def purge(app: Served) -> None:
    """Delete for good what was deleted, as the app does an hour later."""
    later = utcnow() + timedelta(hours=2)
    retention = Retention(services(app).database, clock=lambda: later)
    await retention.clean(days=0, idle_seconds=10**6)
    await services(app).threads.sweep_all()


async def test_deleting_everything_takes_the_thread_of_its_owner_alone(
    app: Served, saver: Saver
) -> None:
    session, hers, theirs = canary(), canary(), canary()
    async with client(app.url, SHOP, "memory") as shop, client(app.url, BANK, "memory") as bank:
        await shop.say(hers, session)
        await bank.say(theirs, session)
        assert saver.holds(hers)
        assert (await shop.say("/forget everything", session)).status == 200
        assert not saver.holds(hers)
        assert saver.holds(theirs)
        again = (await shop.say("again", session)).json["response"]
        assert again == "You said: again"
        assert f"You said: {theirs}, more" == (await bank.say("more", session)).json["response"]


async def test_a_thread_goes_when_the_deletion_of_its_conversation_is_final(
    app: Served, saver: Saver
) -> None:
    session, hers, theirs = canary(), canary(), canary()
    async with client(app.url, SHOP, "memory") as shop, client(app.url, BANK, "memory") as bank:
        await shop.say(hers, session)
        await bank.say(theirs, session)
        assert (await shop.at(session, method="DELETE")).status == 204
        assert not saver.holds(hers)
        assert saver.holds(theirs)


async def test_a_thread_stays_as_long_as_a_deletion_can_be_taken_back(
    app: Served, saver: Saver
) -> None:
    secret = canary()
    async with Browser(app.url) as alice:
        conversation = (await (await alice.open()).send(secret)).values[-1][1]
        for path in ("delete", "restore", "delete"):
            assert (await post(alice, f"history/{path}", {"id": conversation}))[0] == 200
            await services(app).threads.sweep_all()
            assert saver.holds(secret)
        await purge(app)
        assert not saver.holds(secret)


async def test_what_cannot_be_deleted_now_is_deleted_later_and_never_shown_again(
    app: Served, saver: Saver
) -> None:
    session, secret = canary(), canary()
    async with client(app.url, SHOP, "memory") as shop:
        await shop.say(secret, session)
        saver.is_away = True
        assert (await shop.say("/forget everything", session)).status == 200
        refused = await shop.say("What do you know?", session)
        assert refused.status == 502
        assert secret.encode() not in refused.body
        assert b"cannot be removed now" in refused.body
        saver.is_away = False
        assert saver.holds(secret)
        await services(app).threads.sweep_all()
        assert not saver.holds(secret)
        assert (await shop.say("Hi", session)).json["response"].startswith("You said: ")


async def test_a_graph_remembers_nothing_of_those_of_whom_nothing_is_kept(
    app: Served, saver: Saver
) -> None:
    kept, stateless, ephemeral = canary(), canary(), canary()
    async with client(app.url, SHOP, "memory") as shop:
        await shop.say(kept, canary())
        body: dict[str, Any] = {
            "model": "memory",
            "messages": [{"role": "user", "content": stateless}],
        }
        assert stateless in (await shop.ask("POST", "/v1/chat/completions", body)).body.decode()
    async with Browser(app.url, cookies=False) as stranger:
        tab = await stranger.open()
        assert ephemeral in last_text((await tab.send(ephemeral)).values[-1][0])
        assert "second" in last_text((await tab.send("second")).values[-1][0])
    assert saver.holds(kept)
    assert not saver.holds(stateless)
    assert not saver.holds(ephemeral)


async def test_two_owners_delete_everything_at_once_while_a_third_goes_on(
    app: Served, saver: Saver
) -> None:
    sessions = [canary() for _ in range(3)]
    async with client(app.url, SHOP, "memory") as shop:
        await asyncio.gather(*(shop.say(f"secret of {name}", name) for name in sessions))
        await asyncio.gather(
            *(shop.say("/forget everything", name) for name in sessions[:2]),
            shop.say("more", sessions[2]),
        )
    held = [saver.holds(f"secret of {name}") for name in sessions]
    assert held == [False, False, True]

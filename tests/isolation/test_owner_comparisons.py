"""Isolation: each comparison of two owners in the code, called directly with another owner's data.

Earlier checks keep other owners' data away from these comparisons, so that no request reaches them:
the functions are called directly.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from cmw_agent.channels.common.callers import Caller, Callers
from cmw_agent.channels.whatsapp.answering import Progress, WhatsAppAnswerer, owner_of
from cmw_agent.channels.whatsapp.approvals import WakeSignal
from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.inbound import InboundMessage
from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.core.errors import UnknownSessionError
from cmw_agent.identity.principals import Identities, Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.event_server import EventServer
from cmw_agent.web.login.accounts import Accounts
from memory.queues.inbox import InboxMessage
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, settings_for
from tests.rows import count
from tests.service import all_events, answer_text, running_app, session_of, turn_end

IDENTITIES = Identities(("s" * 32,))
ALICE, BOB = Principal("v" + "a" * 32, "visitor"), Principal("v" + "b" * 32, "visitor")


def accounts_of(runtime: Runtime) -> Accounts:
    """Return the accounts of a process whose pages have no streams."""

    async def nothing(*_: object) -> None:
        """Nobody is admitted and no page closes here."""

    events = EventServer(
        {},
        refusal=lambda *_: None,
        admit=nothing,
        page_closed=nothing,
        budgets=runtime.budgets,
        changes=runtime.changes,
    )
    return Accounts(runtime, events, ["s" * 32])


async def waiting_for(runtime: Runtime, owner: str, conversation: str) -> asyncio.Task[None]:
    """Wait as an owner for a conversation's answers; whether there are any shows at once."""
    task = asyncio.create_task(runtime.chat.stored(owner, conversation))
    await asyncio.sleep(0)
    return task


async def test_no_caller_gets_the_session_of_another(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        callers = Callers(runtime, IDENTITIES)
        hers = Caller(ALICE, "main", "conversation", "rest")
        with pytest.raises(UnknownSessionError):
            await callers.session(BOB, hers)
        assert (runtime.registry.of(ALICE), runtime.registry.of(BOB)) == ([], [])
        assert (await callers.session(ALICE, hers)).principal == ALICE


async def test_a_message_stored_for_another_is_not_answered(tmp_path: Path) -> None:
    incoming = InboundMessage("m1", "491511@c.us", "491511@c.us", "hello", "text", "bridge")
    settings = settings_for(tmp_path)
    principal = owner_of(incoming, settings.whatsapp_agent)
    async with running_app(settings) as runtime, aiohttp.ClientSession() as http:
        wire, bell = WhatsAppClient(settings, http), WakeSignal()
        answerer = WhatsAppAnswerer(runtime, Callers(runtime, IDENTITIES), wire, bell)
        foreign = InboxMessage("m1", "p-another", incoming.as_json())
        with pytest.raises(UnknownSessionError):
            await answerer.answer(foreign, Progress(), can_ask=False)
        assert count(tmp_path) == (0, 0, 0)
        own = InboxMessage("m1", principal.id, incoming.as_json())
        assert await answerer.answer(own, Progress(), can_ask=False)


async def test_a_running_turn_is_joined_and_stopped_by_its_owner_alone(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running_app(settings) as runtime:
            chat, alice = runtime.chat, await session_of(runtime, "alice")
            conversation = str(alice.conversation_id)
            async with chat.turn(alice, "hello", key="k", outlives_readers=True):
                await endpoint.wait_held()
            bob = await session_of(runtime, "bob", conversation=conversation)
            assert chat.join(bob) is None
            assert not chat.is_running(bob.owner, conversation)
            assert await chat.answering(bob, conversation) is None
            await chat.stop(bob.owner, conversation)
            await chat.stop_login(bob.principal)
            assert not bob.readers
            again = await session_of(runtime, "alice", conversation=conversation, page="2")
            joined = chat.join(again)
            assert joined is not None
            endpoint.release_all()
            events = [event async for event in joined]
            assert answer_text(events) == "You said: hello"
            assert turn_end(events).outcome == "complete"
            assert endpoint.request_count == 1


async def test_nobody_waits_until_another_s_answer_is_stored(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running_app(settings) as runtime:
            alice, bob = await session_of(runtime, "alice"), await session_of(runtime, "bob")
            conversation = str(alice.conversation_id)
            running = asyncio.create_task(all_events(runtime.chat.turn(alice, "hello", key="k")))
            await endpoint.wait_held()
            with contextlib.closing(sqlite3.connect(tmp_path / "chat.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                endpoint.release_all()
                # The answer is over, and cannot be stored as long as another writes.
                while (  # noqa: ASYNC110 (there is no event to wait for)
                    hers := await waiting_for(runtime, alice.owner, conversation)
                ).done():
                    await asyncio.sleep(0.01)
                assert (await waiting_for(runtime, bob.owner, conversation)).done()
                assert not hers.done()
                other.rollback()
            await asyncio.wait_for(hers, WAIT)
            assert turn_end(await running).outcome == "complete"


async def test_signing_out_ends_the_sessions_of_one_login_alone(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        here, elsewhere = (Principal("a" * 33, "account", login) for login in ("1" * 32, "2" * 32))
        for principal, letter in ((here, "c"), (elsewhere, "d")):
            await runtime.logins.begin(principal.id, str(principal.login))
            await runtime.registry.session(SessionKey(letter * 64), principal)
        await accounts_of(runtime).sign_out(here)
        assert [s.principal.login for s in runtime.registry.of(here)] == [elsewhere.login]


class EndlessTurn:
    """A turn that runs until it is stopped."""

    key = "k"

    def __init__(self) -> None:
        self.is_stopped = False
        self.over = asyncio.Event()

    def stop(self) -> None:
        self.is_stopped = True
        self.over.set()

    async def ended(self) -> None:
        await self.over.wait()


async def test_turns_are_stopped_for_their_owner_their_conversation_and_their_login_alone() -> None:
    first, second = (Principal("a" * 33, "account", login) for login in ("1" * 32, "2" * 32))
    running = RunningTurns()
    turns = {
        (principal, conversation): EndlessTurn()
        for principal in (ALICE, BOB, first)
        for conversation in ("one", "two")
    } | {(second, "three"): EndlessTurn()}
    for (principal, conversation), turn in turns.items():
        running.add(principal, conversation, turn)

    def stopped() -> set[tuple[str, str | None, str]]:
        return {
            (principal.id, principal.login, conversation)
            for (principal, conversation), turn in turns.items()
            if turn.is_stopped
        }

    await running.stop(ALICE.id, "one")
    assert stopped() == {(ALICE.id, None, "one")}
    await running.stop_login(second)
    assert stopped() == {(ALICE.id, None, "one"), (second.id, second.login, "three")}
    await running.stop(BOB.id)
    assert {owner for owner, _, _ in stopped()} == {ALICE.id, BOB.id, second.id}
    assert not turns[first, "one"].is_stopped
    assert not turns[ALICE, "two"].is_stopped


async def test_nobody_waits_for_the_end_of_another_s_turns() -> None:
    running, hers, his = RunningTurns(), EndlessTurn(), EndlessTurn()
    running.add(ALICE, "one", hers)
    running.add(BOB, "one", his)
    waiting = asyncio.create_task(running.ended(ALICE.id))
    await asyncio.sleep(0)
    assert not waiting.done()
    hers.stop()
    running.remove(hers)
    await asyncio.wait_for(waiting, WAIT)
    assert running.find(BOB.id, "one") is his
    assert running.find(ALICE.id, "one") is None

"""The registry of live sessions: owners, capacity and expiry."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import ToolLoop
from cmw_agent.chat.turn import Turn
from cmw_agent.conversations import sessions
from cmw_agent.conversations.sessions import PER_PRINCIPAL, LiveSession, SessionRegistry
from cmw_agent.core.errors import OverloadedError, UnknownSessionError
from cmw_agent.identity.principals import Identities, Principal, SessionKey
from cmw_agent.llm.demo_model import DemoModel
from memory.engine.database import Database, migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, new_conversation_id
from tests.harness import WAIT

IDENTITIES = Identities(("k" * 32,))
A, B = (Principal("v" + digit * 32, "visitor") for digit in "ab")
ROOM = 8
IDLE = 100.0


class SlowToForget(ConversationMemoryManager):
    """A store whose deletions take until they are let go on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.forgetting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def forget(self, owner: str) -> int:
        self.forgetting.set()
        await self.go_on.wait()
        return await super().forget(owner)


@dataclass(slots=True)
class Maker:
    """Makes sessions of real parts and counts them."""

    loop: ToolLoop
    store: SlowToForget
    made: list[str] = field(default_factory=list)

    def agent(self, principal: Principal) -> CmwAgent:
        self.made.append(principal.id)
        return CmwAgent(
            self.loop, owner=principal.id, model=DemoModel(pause=0), instructions="Answer."
        )

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        return self.store


@dataclass(slots=True)
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


LOOP = ToolLoop()


@pytest.fixture
async def maker() -> AsyncIterator[Maker]:
    database = open_database("sqlite:///:memory:")
    await migrate(database)
    yield Maker(LOOP, SlowToForget(database))
    await database.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(maker: Maker, clock: Clock) -> SessionRegistry:
    return SessionRegistry(maker, capacity=ROOM, idle_seconds=IDLE, clock=clock)


def key(principal: Principal, name: object) -> SessionKey:
    return IDENTITIES.session_key(principal, str(name))


def nobody(number: int) -> Principal:
    return IDENTITIES.ephemeral(f"invented{number}", "192.0.2.1")


async def page(registry: SessionRegistry, principal: Principal, name: object = 0) -> LiveSession:
    return await registry.session(key(principal, name), principal)


def running(session: LiveSession, unread_seconds: float | None = 0.0) -> Turn:
    """Let a turn run until it is stopped, which `session` reads."""
    turn = Turn("key", "text", is_new=True, unread_seconds=unread_seconds)

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    turn.start(work()).add_done_callback(lambda _: turn.release_sessions())
    turn.read(session)
    return turn


# -- whose a session is -----------------------------------------------------------------------


async def test_a_session_is_made_once_and_found_again(
    registry: SessionRegistry, maker: Maker
) -> None:
    made = await page(registry, A)
    assert (made.owner, made.agent.owner) == (A.id, A.id)
    assert await page(registry, A) is made
    assert registry.find(made.key, A) is made
    assert maker.made == [A.id]


async def test_many_requests_at_once_make_one_session(
    registry: SessionRegistry, maker: Maker
) -> None:
    found = await asyncio.gather(*(page(registry, A) for _ in range(50)))
    assert len({id(session) for session in found}) == 1
    assert maker.made == [A.id]


async def test_many_requests_at_once_make_one_session_in_a_full_registry(
    registry: SessionRegistry, maker: Maker
) -> None:
    for number in range(ROOM):
        await page(registry, nobody(number))
    found = await asyncio.gather(*(page(registry, A) for _ in range(20)))
    assert len({id(session) for session in found}) == 1
    assert maker.made.count(A.id) == 1
    assert len(registry) == ROOM


async def test_another_s_key_is_an_unknown_session(registry: SessionRegistry) -> None:
    made = await page(registry, A)
    used = made.used_at
    with pytest.raises(UnknownSessionError):
        await registry.session(made.key, B)
    with pytest.raises(UnknownSessionError):
        await registry.session(made.key, Principal(A.id, "ephemeral"))
    assert registry.find(made.key, B) is None
    assert made.used_at == used
    assert len(registry) == 1


async def test_another_releases_nothing(registry: SessionRegistry) -> None:
    made = await page(registry, A)
    running(made)
    readers = set(made.readers)
    assert not await registry.release(made.key, B)
    assert not await registry.release(key(B, 0), B)
    assert made.readers == readers
    assert made.key in registry
    await registry.close()


async def test_tabs_of_one_user_are_sessions_of_their_own(registry: SessionRegistry) -> None:
    one, two = await page(registry, A, 1), await page(registry, A, 2)
    assert one is not two
    assert one.agent is not two.agent
    await registry.release(one.key, A)
    assert two.key in registry


# -- how many there may be --------------------------------------------------------------------


async def test_one_user_s_pages_take_the_place_of_that_user_s_oldest(maker: Maker) -> None:
    registry = SessionRegistry(maker, capacity=1_000, idle_seconds=IDLE)
    other = await page(registry, B)
    for number in range(PER_PRINCIPAL + 5):
        await page(registry, A, number)
    assert len(registry) == PER_PRINCIPAL + 1
    assert other.key in registry
    assert key(A, 4) not in registry
    assert key(A, 5) in registry


async def test_a_full_registry_lets_those_go_first_who_prove_nothing(
    registry: SessionRegistry,
) -> None:
    first = await page(registry, A)
    for number in range(3 * ROOM):
        await page(registry, nobody(number))
        assert len(registry) <= ROOM
    assert first.key in registry


async def test_a_full_registry_lets_the_longest_unused_go(registry: SessionRegistry) -> None:
    visitors = [IDENTITIES.new_visitor() for _ in range(ROOM)]
    for visitor in visitors:
        await page(registry, visitor)
    await page(registry, visitors[0])
    await page(registry, A)
    assert key(visitors[0], 0) in registry
    assert key(visitors[1], 0) not in registry


async def test_a_flood_at_once_never_gets_over_the_cap(
    registry: SessionRegistry, maker: Maker
) -> None:
    await page(registry, A)
    for number in range(ROOM - 1):
        await page(registry, nobody(number))
    maker.store.go_on.clear()
    flood = [asyncio.create_task(page(registry, nobody(number))) for number in range(100, 150)]
    await asyncio.wait_for(maker.store.forgetting.wait(), WAIT)
    maker.store.go_on.set()
    await asyncio.wait_for(asyncio.gather(*flood), WAIT)
    assert len(registry) == ROOM
    assert key(A, 0) in registry


async def test_a_registry_of_busy_sessions_takes_no_further_one(
    registry: SessionRegistry,
) -> None:
    busy = [await page(registry, IDENTITIES.new_visitor()) for _ in range(ROOM)]
    for session in busy:
        running(session)
    with pytest.raises(OverloadedError):
        await page(registry, A)
    assert all(session.key in registry for session in busy)
    await registry.close()


async def test_a_running_turn_keeps_its_session_in(registry: SessionRegistry) -> None:
    mine = await page(registry, nobody(0))
    running(mine)
    for number in range(1, 3 * ROOM):
        await page(registry, nobody(number))
    assert mine.key in registry
    assert len(mine.readers) == 1
    await registry.close()


# -- when they go -----------------------------------------------------------------------------


async def test_a_session_goes_when_it_was_idle_for_so_long(
    registry: SessionRegistry, clock: Clock
) -> None:
    one = await page(registry, A)
    clock.now += IDLE / 2
    two = await page(registry, B)
    assert await registry.expire() == 0
    clock.now += IDLE / 2
    assert await registry.expire() == 1
    assert one.key not in registry
    assert two.key in registry


async def test_use_keeps_a_session_in(registry: SessionRegistry, clock: Clock) -> None:
    for _ in range(5):
        clock.now += IDLE * 0.9
        await page(registry, A)
        assert await registry.expire() == 0


async def test_an_idle_session_stays_while_its_turn_runs(
    registry: SessionRegistry, clock: Clock
) -> None:
    mine = await page(registry, A)
    turn = running(mine)
    clock.now += 10 * IDLE
    assert await registry.expire() == 0
    turn.stop()
    await turn.ended()
    assert await registry.expire() == 1


async def test_a_session_that_is_used_during_the_sweep_stays(
    registry: SessionRegistry, maker: Maker, clock: Clock
) -> None:
    await page(registry, nobody(0))
    mine = await page(registry, A)
    clock.now += IDLE
    maker.store.go_on.clear()
    sweep = asyncio.create_task(registry.expire())
    await asyncio.wait_for(maker.store.forgetting.wait(), WAIT)
    clock.now += 1
    assert await page(registry, A) is mine
    maker.store.go_on.set()
    assert await asyncio.wait_for(sweep, WAIT) == 1
    assert registry.find(mine.key, A) is mine


async def test_a_closed_page_leaves_its_turn_first(registry: SessionRegistry) -> None:
    mine = await page(registry, A)
    turn = running(mine)
    assert await asyncio.wait_for(registry.release(mine.key, A), WAIT)
    assert turn.is_over  # this one runs no longer than it is read
    assert not mine.readers
    assert mine.key not in registry
    assert not await registry.release(mine.key, A)


async def test_a_turn_that_outlives_its_readers_keeps_no_session_in(
    registry: SessionRegistry,
) -> None:
    mine = await page(registry, A)
    turn = running(mine, unread_seconds=None)
    assert await asyncio.wait_for(registry.release(mine.key, A), WAIT)
    assert not turn.is_over
    turn.stop()
    await turn.ended()


async def test_a_page_that_opens_again_gets_a_session_of_its_own(
    registry: SessionRegistry,
) -> None:
    mine = await page(registry, A)
    await registry.release(mine.key, A)
    again = await page(registry, A)
    assert again is not mine
    assert again.conversation_id is None


async def test_the_end_leaves_every_turn_and_lets_all_go(registry: SessionRegistry) -> None:
    turns = [running(await page(registry, IDENTITIES.new_visitor())) for _ in range(4)]
    await page(registry, A)
    await asyncio.wait_for(registry.close(), WAIT)
    assert len(registry) == 0
    assert all(turn.is_over for turn in turns)


# -- what stays of them -------------------------------------------------------------------------


async def wrote(session: LiveSession) -> str:
    """Store a message in a conversation of this session's owner; return its id."""
    conversation = new_conversation_id()
    await session.memory.begin_turn(
        session.owner, NewTurn(conversation, "text", key="k", origin=ConversationOrigin())
    )
    return conversation


async def kept(session: LiveSession) -> int:
    return len(await session.memory.conversations(session.owner))


@pytest.mark.parametrize("way", ["release", "expire", "evict", "close"])
async def test_what_an_unproven_caller_wrote_goes_with_the_session(
    way: str, registry: SessionRegistry, clock: Clock
) -> None:
    unproven, visitor = await page(registry, nobody(0)), await page(registry, A)
    for session in (unproven, visitor):
        await wrote(session)
    match way:
        case "release":
            await registry.release(unproven.key, unproven.principal)
            await registry.release(visitor.key, A)
        case "expire":
            clock.now += IDLE
            assert await registry.expire() == 2
        case "evict":
            for number in range(1, ROOM):
                await page(registry, nobody(number))
        case "close":
            await registry.close()
    assert unproven.key not in registry
    assert await kept(unproven) == 0
    assert await kept(visitor) == 1


async def test_an_unproven_caller_s_rows_stay_while_it_has_another_session(
    registry: SessionRegistry,
) -> None:
    owner = nobody(0)
    one, two = await page(registry, owner, 1), await page(registry, owner, 2)
    await wrote(one)
    await registry.release(one.key, owner)
    assert await kept(two) == 1
    await registry.release(two.key, owner)
    assert await kept(two) == 0


async def test_a_store_that_fails_keeps_no_session_alive(
    registry: SessionRegistry, maker: Maker
) -> None:
    mine = await page(registry, nobody(0))
    await maker.store._database.dispose()
    assert await registry.release(mine.key, mine.principal)
    assert len(registry) == 0


async def test_no_session_leaves_a_trace_in_the_registry(registry: SessionRegistry) -> None:
    for number in range(3 * ROOM):
        await page(registry, nobody(number))
        await page(registry, IDENTITIES.new_visitor())
    await registry.close()
    assert not registry._sessions
    assert not registry._by_owner


def test_the_registry_knows_no_session_without_a_principal() -> None:
    assert not hasattr(sessions, "default_session")
    with pytest.raises(TypeError):
        LiveSession()  # type: ignore[call-arg]

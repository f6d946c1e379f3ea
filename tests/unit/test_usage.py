"""Usage of the last answer, its conversation and the day, for each owner alone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import orjson
import pytest

from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.conversations.service import ConversationService, UsageSummary
from cmw_agent.files.copies import FileCopies
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from memory.engine.database import Database, migrate, open_database
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, Usage, utcnow
from tests.harness import Browser, served, settings_for
from tests.rows import rows
from tests.service import running_app

ALICE = Principal("v" + "a" * 32, "visitor")
BOB = Principal("v" + "b" * 32, "visitor")
PASSING = Principal("e" + "c" * 32, "ephemeral")
NOTHING = Usage(0, None)
NOT_FOUND = b'{"detail":"This conversation was not found."}'


class Clock:
    """The time, which passes when a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite+aiosqlite:///{tmp_path / 'usage.db'}")
    await migrate(opened)
    yield opened
    await opened.dispose()


@pytest.fixture
def memory(database: Database, clock: Clock) -> ConversationMemoryManager:
    return ConversationMemoryManager(database, clock=clock)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with running_app(settings_for(tmp_path)) as running:
        yield running


@pytest.fixture
def history(
    memory: ConversationMemoryManager, runtime: Runtime, clock: Clock
) -> ConversationService:
    return history_of(memory, runtime, clock)


def history_of(
    memory: ConversationMemoryManager, runtime: Runtime, clock: Clock
) -> ConversationService:
    return ConversationService(
        lambda _: memory,
        runtime.registry,
        RunningTurns(),
        runtime.files,
        FileCopies(runtime.settings, lambda _: memory, runtime.budgets),
        runtime.imports,
        runtime.budgets,
        runtime.changes,
        clock=clock,
    )


async def answered(
    memory: ConversationMemoryManager,
    conversation: str,
    key: str,
    *,
    owner: Principal = ALICE,
    tokens: int | None = 10,
    cost: int | None = 100,
) -> None:
    ticket = await memory.begin_turn(
        owner.id, NewTurn(conversation, "hello", key=key, origin=ConversationOrigin())
    )
    await memory.finish_turn(
        owner.id,
        ticket.turn_id,
        status="complete",
        content="yes",
        tool_calls=[],
        tokens_used=tokens,
        latency_ms=1,
        model_used="m",
        error_id=None,
        cost_micros=cost,
    )


async def test_an_answer_its_conversation_and_the_day(
    memory: ConversationMemoryManager, history: ConversationService, clock: Clock
) -> None:
    await answered(memory, "yesterday", "k1", tokens=1_000, cost=5_000)
    clock.now += timedelta(minutes=29, seconds=59)
    await answered(memory, "both", "k2", tokens=100, cost=500)
    clock.now += timedelta(seconds=1)  # midnight
    assert (await history.usage(ALICE, "both")).today == NOTHING
    await answered(memory, "both", "k3", tokens=20, cost=50)
    await answered(memory, "other", "k4", tokens=3, cost=None)
    assert await history.usage(ALICE, "both") == UsageSummary(
        Usage(20, 50), Usage(120, 550), Usage(23, 50)
    )
    assert await history.usage(ALICE, "other") == UsageSummary(
        Usage(3, None), Usage(3, None), Usage(23, 50)
    )


async def test_a_day_begins_at_midnight_by_utc_wherever_the_clock_is(
    memory: ConversationMemoryManager, history: ConversationService, clock: Clock
) -> None:
    await answered(memory, "c", "k1")
    clock.now += timedelta(hours=1)
    assert (await history.usage(ALICE, "c")).today == NOTHING
    clock.now = clock.now.astimezone(timezone(timedelta(hours=-9)))  # still the same day there
    assert (await history.usage(ALICE, "c")).today == NOTHING


async def test_an_answer_without_numbers_has_none(
    memory: ConversationMemoryManager, history: ConversationService
) -> None:
    await answered(memory, "c", "k1", tokens=None, cost=None)
    assert await history.usage(ALICE, "c") == UsageSummary(NOTHING, NOTHING, NOTHING)


async def both(
    history: ConversationService, owner: Principal, conversation: str
) -> tuple[Usage, Usage]:
    used = await history.usage(owner, conversation)
    return used.answer, used.conversation


async def test_another_s_conversation_is_one_that_is_not_there(
    memory: ConversationMemoryManager, history: ConversationService
) -> None:
    await answered(memory, "hers", "k1")
    await answered(memory, "his", "k1", owner=BOB, tokens=7, cost=7)
    for conversation in ("hers", "nobodys", "", "\0", "x" * 5_000, "hers "):
        assert await both(history, BOB, conversation) == (NOTHING, NOTHING)
        if conversation != "hers":
            assert await both(history, ALICE, conversation) == (NOTHING, NOTHING)
    assert await history.usage(BOB, "his") == UsageSummary(Usage(7, 7), Usage(7, 7), Usage(7, 7))


async def test_who_is_not_kept_has_the_numbers_of_a_chat_of_their_own(
    memory: ConversationMemoryManager, history: ConversationService
) -> None:
    await answered(memory, "c", "k1", owner=PASSING)
    assert (await history.usage(PASSING, "c")).conversation == Usage(10, 100)


async def asked(browser: Browser, conversation: str) -> tuple[int, bytes]:
    params = {"c": conversation}
    async with browser.http.get(f"{browser.url}/usage", params=params) as answer:
        return answer.status, await answer.read()


async def test_the_route_tells_amounts_to_their_owner_alone(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url) as alice,
        Browser(app.url) as bob,
        Browser(app.url, cookies=False) as nobody,
    ):
        tab = await alice.open()
        await bob.open()
        now = utcnow()
        app.application.runtime.history._clock = lambda: now  # no midnight comes in between
        assert (await tab.send("hello")).error is None
        [row] = rows(tmp_path, "SELECT * FROM agent_sessions")
        owner, hers = Principal(row["owner_id"], "visitor"), row["session_id"]
        kept = app.application.runtime.memory
        await answered(kept, hers, "k2", owner=owner, tokens=1_234, cost=12_300)
        status, body = await asked(alice, hers)
        assert status == 200
        content = orjson.loads(body)
        assert content["answer"] == {"tokens": 1_234, "cost": "$0.0123"}
        assert content["conversation"]["cost"] == content["today"]["cost"] == "$0.0123"
        nothing = await asked(bob, "no-such")
        assert orjson.loads(nothing[1])["conversation"] == {"tokens": 0, "cost": None}
        assert await asked(bob, hers) == nothing
        for absent in ("no-such", ""):
            told = orjson.loads((await asked(alice, absent))[1])
            assert told["conversation"] == told["answer"] == {"tokens": 0, "cost": None}
        assert await asked(nobody, hers) == (404, NOT_FOUND)

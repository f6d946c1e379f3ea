"""A race between users, which comes once in many rounds, comes in each replay of its recording."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from cmw_agent import Agent
from cmw_agent.agent.own.runner import FunctionRunner
from cmw_agent.proof.replay.cassette import Cassette
from cmw_agent.proof.replay.order import (
    LeftTheRecordingError,
    Order,
    recorded_order,
    shuffled_order,
)
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble
from tests.replay.samples import NOWHERE, Careful, Careless, model_at
from tests.replay.stage import again, recorded, recording, running
from tests.service import all_events, answer_text, session_of
from tests.unit.test_commands import run as command

ROUNDS, ODDS = 50, 0.02
SEED = 6  # by which one round in fifty is slow


async def greeted(runtime: Runtime, name: str) -> str:
    session = await session_of(runtime, name)
    session.agent_id = "desk"
    return answer_text(await all_events(runtime.chat.turn(session, f"I am {name}", key=name)))


async def one_round(
    runtime: Runtime, endpoint: OpenAIDouble, number: int, chooser: random.Random
) -> bool:
    """Let two users write; return whether somebody was greeted by another's name.

    Mostly the first one's answer comes before the second one writes. Seldom it is slow, and the
    second one writes meanwhile.
    """
    names = [f"alice{number}", f"bob{number}"]
    is_slow = chooser.random() < ODDS
    begun, answers = endpoint.request_count, []
    for position, name in enumerate(names, start=1):
        answers.append(asyncio.create_task(greeted(runtime, name)))
        await endpoint.wait_requests(begun + position)
        if not is_slow:
            await endpoint.wait_held(name)
            endpoint.release(name)
            await answers[-1]
    for name in names if is_slow else ():
        await endpoint.wait_held(name)
        endpoint.release(name)
    texts = await asyncio.gather(*answers)
    return texts != [f"Hello, {name}!" for name in names]


async def live_rounds(folder: Path) -> tuple[list[int], list[Cassette]]:
    """Run the rounds live; return which failed, and the recordings of all."""
    chooser = random.Random(SEED)
    async with OpenAIDouble() as endpoint:
        desk = Agent(id="desk", graph=Careless(model_at(endpoint.base_url)))
        settings = recording(folder, openai_base_url=endpoint.base_url)
        async with running(settings, [desk]) as runtime:
            fails = [
                await one_round(runtime, endpoint, number, chooser) for number in range(ROUNDS)
            ]
    return [number for number, has_failed in enumerate(fails) if has_failed], recorded(folder)


def wrong(texts: Sequence[str], cassettes: Sequence[Cassette]) -> bool:
    """Whether somebody is greeted by another's name."""
    names = [each.question.removeprefix("I am ") for each in cassettes]
    return list(texts) != [f"Hello, {name}!" for name in names]


async def test_a_race_that_fails_once_in_fifty_rounds_fails_in_each_replay(tmp_path: Path) -> None:
    failed, cassettes = await live_rounds(tmp_path)
    assert len(failed) == 1, failed
    assert len(cassettes) == 2 * ROUNDS
    race = cassettes[2 * failed[0] : 2 * failed[0] + 2]
    runners = {"desk": FunctionRunner(Careless(NOWHERE))}
    replays = [await again(race, tmp_path, runners) for _ in range(50)]
    assert all(wrong([each.text for each in replayed], race) for replayed in replays)
    assert all(each.is_same for replayed in replays for each in replayed)

    quiet = cassettes[:2] if failed[0] else cassettes[2:4]
    replays = [await again(quiet, tmp_path, runners) for _ in range(50)]
    assert not any(wrong([each.text for each in replayed], quiet) for replayed in replays)

    mended = await again(race, tmp_path, {"desk": FunctionRunner(Careful(NOWHERE))})
    assert not wrong([each.text for each in mended], race)
    assert [each.subject for one in mended for each in one.differences] == ["the answer"]

    orders = range(20)
    by_seed = [await again(race, tmp_path, runners, seed=seed) for seed in orders]
    outcomes = [wrong([each.text for each in replayed], race) for replayed in by_seed]
    assert set(outcomes) == {True, False}, "a seed's order decides whether it fails"
    once_more = [await again(race, tmp_path, runners, seed=seed) for seed in orders]
    assert outcomes == [wrong([each.text for each in replayed], race) for replayed in once_more]

    for position, each in enumerate(race):
        (tmp_path / "race").mkdir(exist_ok=True)
        each.path.rename(tmp_path / "race" / f"{position}.jsonl")
    done = await command(
        tmp_path, "replay", "race", "--times", "50", "--agent", "tests.replay.samples:careless"
    )
    assert (done.code, done.err) == (0, ""), done
    assert done.out.count("same as recorded 50 of 50") == 2
    done = await command(tmp_path, "replay", "race", "--agent", "tests.replay.samples:careful")
    assert done.code == 1
    assert "+Hello, alice" in done.out
    assert (await command(tmp_path, "replay", "race")).code == 2


async def test_the_built_in_loop_s_users_come_again_in_their_order(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        model = 'tool:calculate:{"expression": "6*7"}'
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model=model)
        async with running(settings) as runtime:
            sessions = [await session_of(runtime, f"user{number}") for number in range(6)]
            await asyncio.gather(
                *(
                    all_events(runtime.chat.turn(session, f"From {session.owner}", key="one"))
                    for session in sessions
                )
            )
    cassettes = recorded(tmp_path)
    assert len({each.header["owner"] for each in cassettes}) == 6
    for seed in (None, 1, 2):
        for replayed in await again(cassettes, tmp_path, seed=seed):
            assert replayed.is_same, replayed.differences


async def test_an_event_that_does_not_come_ends_the_replay_with_what_came(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running(settings) as runtime:
            await greeted_by_loop(runtime)
    first, second = recorded(tmp_path)
    order = Order(recorded_order([first, second]), patience=0.01)
    driver = asyncio.create_task(order.run())
    await order.reach(first.given["seq"])
    with pytest.raises(LeftTheRecordingError, match="did not come"):
        await driver


async def greeted_by_loop(runtime: Runtime) -> None:
    for name in ("alice", "bob"):
        session = await session_of(runtime, name)
        await all_events(runtime.chat.turn(session, f"I am {name}", key=name))


async def test_an_order_by_a_seed_keeps_each_conversation_s_own(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with running(settings) as runtime:
            await greeted_by_loop(runtime)
    cassettes = recorded(tmp_path)
    orders = [shuffled_order(cassettes, seed) for seed in range(10)]
    assert len({tuple(order) for order in orders}) > 1
    for cassette in cassettes:
        own = recorded_order([cassette])
        for order in orders:
            assert [seq for seq in order if seq in own] == own
    assert orders == [shuffled_order(cassettes, seed) for seed in range(10)]

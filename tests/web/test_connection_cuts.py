"""A page whose connection is cut, in each phase of a turn, loses nothing and sends nothing twice."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaigns import campaign
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import relay
from tests.harness import Served, served, settings_for
from tests.web.conftest import People
from tests.web.cuts import Lane, Round

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = campaign("CMW_CONNECTION_CUTS")
SEED = campaign("CMW_SEED")
IS_LONG = ROUNDS >= 100
LANES = 3
REAL_LANES = 4 if IS_LONG else 1  # where nobody's clock is advanced
REAL_SHARE = 12  # one round of so many
BROKEN = ("net::ERR", "http 50[0-9]: .*/(readyz|queue/join)", "status of 50[0-9]")


async def run_lane(
    app: Served,
    people: People,
    model: OpenAIDouble,
    folder: Path,
    storing: asyncio.Lock,
    rounds: list[Round],
    *,
    is_real: bool,
) -> None:
    """Open a page behind a relay of its own, and let it go through rounds."""
    async with relay(app.url) as network:
        page = await people.at(network.url, own_clock=not is_real)
        lane = Lane(page, network, model, folder, is_real, storing)
        for planned in rounds:
            try:
                await lane.play(planned)
            except BaseException as error:
                error.add_note(f"CMW_SEED={SEED}, {'real time, ' * is_real}{planned}")
                raise
        await page.page.context.close()


@pytest.mark.timeout(300 + 20 * ROUNDS)
async def test_a_page_whose_connection_is_cut_stores_each_message_once_and_shows_each_answer_whole(
    model: OpenAIDouble, people: People, tmp_path: Path
) -> None:
    people.watch.tolerates(*BROKEN)
    settings = settings_for(
        tmp_path, openai_base_url=model.base_url, model="stage", log_level="ERROR"
    )
    rounds = [Round.chosen(SEED, number) for number in range(ROUNDS)]
    real = [each for each in rounds if each.number % REAL_SHARE == 0]
    quick = [each for each in rounds if each.number % REAL_SHARE]
    if not IS_LONG:
        # A page waits 40 seconds before it gives up a connection through which nothing comes.
        real = [replace(each, seconds=2, way="freeze") for each in real]
    began = time.monotonic()
    async with served(settings) as app, asyncio.TaskGroup() as group:
        shared = (app, people, model, tmp_path, asyncio.Lock())
        for number in range(REAL_LANES):
            group.create_task(run_lane(*shared, real[number::REAL_LANES], is_real=True))
        for number in range(LANES):
            group.create_task(run_lane(*shared, quick[number::LANES], is_real=False))
    count = Counter(f"{each.phase} {each.way} {each.seconds}" for each in rounds)
    print(f"{len(rounds)} cuts with seed {SEED} in {time.monotonic() - began:.0f} s: {dict(count)}")  # noqa: T201

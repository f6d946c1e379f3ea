"""Two replicas behind nginx: one dies and the other is drained while users chat."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.conftest import postgres_server
from tests.harness import WAIT, Browser, Event, RefusedError, last_text, texts
from tests.isolation.storm import canaries
from tests.processes import Process
from tests.redis import redis_url
from tests.replicas.world import HELD, PART, TURNS_PER_MINUTE, Person, Replicas, house, people

__all__ = ["postgres_server", "redis_url"]  # a fixture is found by its name here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]

PEOPLE = 30


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_url: str
) -> AsyncIterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    async with house(folder, postgres_server, redis_url) as made:
        yield made


async def test_a_rolling_restart_loses_no_turn_and_doubles_none(world: Replicas) -> None:
    async with (
        world.replica(0) as first,
        world.replica(1) as second,
        people(world.url, PEOPLE) as crowd,
    ):
        await asyncio.gather(*(person.say(person.note()) for person in crowd))
        lost = await after_a_death(world, first, crowd)
        async with world.replica(0):
            spared = [person for person in crowd if person not in lost]
            await drained(world, second, spared, crowd)
            retried = await gone_on(world, lost)
            # These are the pages that stood open all the time.
            await asyncio.gather(*(person.say(person.note()) for person in crowd))
        await check(world, crowd, retried)


async def after_a_death(world: Replicas, first: Process, crowd: list[Person]) -> list[Person]:
    """Let a replica die in the middle of answers; return the people whose answer broke off."""
    await asyncio.gather(*(person.begin(person.note(HELD), person.key) for person in crowd))
    await world.endpoint.wait_held("", PEOPLE)
    part = "SELECT count(*) = $1 FROM agent_messages WHERE content = $2"
    await world.until(part, PEOPLE, PART)  # it is stored every few seconds
    await first.kill()
    await world.hold_leases()
    world.endpoint.release_all()
    whole = await asyncio.gather(*(person.ended() for person in crowd))
    lost = [person for person, complete in zip(crowd, whole, strict=True) if not complete]
    assert 0 < len(lost) < PEOPLE  # both replicas had their people
    await asyncio.gather(*(reloaded(person) for person in lost))
    refused = await lost[0].tab.run("retry", [""])
    assert "try again in ten seconds" in str(refused.error)
    await world.let_leases_end()
    return lost


async def gone_on(world: Replicas, lost: list[Person]) -> set[str]:
    """Let people go on where a replica has died; return what was answered once more."""
    over = (
        "SELECT count(*) = 0 FROM agent_turns WHERE state = 'running' AND lease_expires_at > now()"
    )
    await world.until(over)
    patient, hasty = lost[::2], lost[1::2]
    await asyncio.gather(*(once_more(world, person) for person in patient))
    await asyncio.gather(*(repeated(person) for person in hasty))
    return {person.asked for person in patient}


async def reloaded(person: Person) -> None:
    """Load the page as its script does when its connection is lost, and see what came.

    The answer counts as running until the lease of the replica that has died ends.
    """
    opened = await person.open()
    assert opened.values[-1][1].endswith("*")
    event = Event(await person.tab.join("join", []))
    async with (
        asyncio.timeout(WAIT),
        contextlib.aclosing(person.tab.follow(event)) as updates,  # type: ignore[type-var]
    ):
        async for update in updates:
            if last_text(update.value) == PART:
                break
    assert texts(event.value, "user") == person.said


async def once_more(world: Replicas, person: Person) -> None:
    """Press Retry and see the whole answer."""
    retrying = asyncio.create_task(person.tab.run("retry", [""]))
    await world.endpoint.wait_held(person.asked)
    world.endpoint.release(person.asked)
    event = await retrying
    assert event.error is None
    assert last_text(event.value) == f"{PART}You said: {person.asked}"


async def repeated(person: Person) -> None:
    """Send the same request again, which answers nothing anew, and go on."""
    event = await person.tab.send(person.asked, person.key)
    assert event.error is None
    assert PART in texts(event.value, "assistant")
    person.repeated = True
    await person.say(person.note())


async def drained(
    world: Replicas, second: Process, spared: list[Person], crowd: list[Person]
) -> None:
    """Drain the other replica in the middle of answers, all of which come to their end."""
    await asyncio.gather(*(person.begin(person.note(HELD)) for person in spared))
    await world.endpoint.wait_held("", len(spared))
    os.kill(second.pid, signal.SIGTERM)
    await world.until_draining(1)
    # nginx leaves out the replica that has died for some seconds, and takes it in again then.
    away = [person for person in crowd if person not in spared]
    await asyncio.gather(*(person.until_ready() for person in away))
    statuses = Counter(await asyncio.gather(*(beside(person) for person in crowd)))
    assert statuses == {200: len(away), 503: len(spared)}
    world.endpoint.release_all()
    assert all(await asyncio.gather(*(person.ended() for person in spared)))
    assert await second.code() == 0


async def beside(person: Person) -> int:
    """Ask something in a further tab; return HTTP's status."""
    tab = person.browser.tab()
    person.others.append(tab)
    await tab.open()
    text = person.note()
    try:
        event = await tab.send(text)
    except RefusedError as error:
        person.said.remove(text)
        person.refused.append(text)
        return error.status
    assert last_text(event.value) == f"You said: {text}"
    return 200


async def check(world: Replicas, crowd: list[Person], retried: set[str]) -> None:
    """Check that everything is there once, and everybody has their own and nothing else."""
    said = {text for person in crowd for text in person.said}
    for person in crowd:
        own = canaries(" ".join(person.said))
        assert own <= person.received() <= own | canaries(" ".join(person.refused))
    stored = await world.rows("SELECT owner_id, content FROM agent_messages WHERE role = 'user'")
    assert Counter(row["content"] for row in stored) == Counter(said)
    for person in crowd:
        assert len({row["owner_id"] for row in stored if row["content"] in person.said}) == 1
    assert len({row["owner_id"] for row in stored}) == PEOPLE
    assert Counter(request.last_user for request in world.endpoint.requests) == Counter(
        {text: 2 if text in retried else 1 for text in said}
    )
    turns = await world.rows("SELECT state, session_id, idempotency_key FROM agent_turns")
    assert len({(turn["session_id"], turn["idempotency_key"]) for turn in turns}) == len(turns)
    assert len(turns) == len(said) + len(retried)
    assert {turn["state"] for turn in turns} == {"complete", "interrupted"}
    unfinished = [turn for turn in turns if turn["state"] == "interrupted"]
    assert len(unfinished) == len(retried) + sum(person.repeated for person in crowd)


async def test_replicas_count_together(world: Replicas) -> None:
    async with (
        world.replica(0),
        world.replica(1),
        Browser(world.direct(0)) as here,
        Browser(world.direct(1)) as there,
    ):
        tab = await here.open()
        # cookies know no ports, so the other browser is the same visitor
        there.http.cookie_jar.update_cookies(
            {cookie.key: cookie.value for cookie in here.http.cookie_jar}
        )
        tabs = [tab, await there.open()]
        statuses = []
        for number in range(TURNS_PER_MINUTE + 2):
            try:
                await tabs[number % 2].send(f"note {number}")
                statuses.append(200)
            except RefusedError as error:
                statuses.append(error.status)
        assert statuses == [200] * TURNS_PER_MINUTE + [429, 429]

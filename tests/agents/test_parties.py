"""Channels of the operator's own: each person reaches their own conversation, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cmw_agent import Agent, UserError
from tests.agents import samples
from tests.harness import Served, canary, served, settings_for
from tests.rest import KEYS, client
from tests.service import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    agents = [
        Agent(id="echo", graph=samples.echo),
        Agent(id="deleting", graph=samples.deleting),
        Agent(id="raising", graph=samples.raising),
        Agent(id="hanging", graph=samples.hanging),
        Agent(id="staff", graph=samples.echo, access="signed-in"),
    ]
    settings = settings_for(tmp_path_factory.mktemp("parties"), api_keys=KEYS, turns_per_minute=5)
    async with served(settings, agents=agents) as running:
        yield running


async def test_a_person_is_the_same_by_channel_id_and_agent_and_nobody_else(app: Served) -> None:
    party, secret = app.application.party, canary()
    assert secret in await party("mail", "kim").say(secret)
    assert secret in await party("mail", "kim").say("more")
    others = [
        party("mail", "lee"),
        party("post", "kim"),
        party("mail", "Kim"),
        party("mail", "kim "),
    ]
    for other in (*others, party("mail", "kim", "deleting")):
        assert secret not in await other.say("What was said?")
    people = [party("mail", "kim"), *others, party("mail", "kim", "deleting")]
    assert len({person.owner for person in people}) == len(people)
    async with client(app.url, agent="echo") as shop:
        assert secret not in (await shop.say("What?", "kim")).body.decode()


async def test_people_who_write_at_once_get_their_own_answers(app: Served) -> None:
    secrets = {f"person-{number}": canary() for number in range(20)}
    answers = await asyncio.gather(
        *(app.application.party("mail", name).say(secret) for name, secret in secrets.items())
    )
    assert answers == [f"You said: {secret}" for secret in secrets.values()]


async def test_a_message_that_is_delivered_again_is_answered_once(app: Served) -> None:
    person = app.application.party("mail", canary())
    first = await person.say("one", key="m1")
    assert await person.say("one", key="m1") == first == "You said: one"
    assert await person.say("two", key="m2") == "You said: one, two"


async def test_deleting_everything_is_of_one_person(app: Served) -> None:
    mine, theirs = (app.application.party("mail", canary()) for _ in range(2))
    for person in (mine, theirs):
        await person.say("one")
    await mine.say("/forget everything")
    assert await mine.say("two") == "You said: two"
    assert await theirs.say("two") == "You said: one, two"


async def test_nobody_is_asked_in_an_own_channel(app: Served) -> None:
    assert await app.application.party("mail", canary(), "deleting").say("Go") == "Left alone."


async def test_what_goes_wrong_is_one_sentence(app: Served) -> None:
    party = app.application.party
    broken = await party("mail", canary(), "raising").say("Hello")
    assert broken.startswith("Half of \n\nThe agent failed; please try again.")
    person = party("mail", canary())
    for _ in range(5):
        await person.say("Hello")
    with pytest.raises(UserError) as limited:
        await person.say("Hello")
    assert (limited.value.status, limited.value.retry_after is None) == (429, False)
    with pytest.raises(UserError):
        await party("mail", canary()).say("")
    busy = party("mail", canary(), "hanging")
    running = asyncio.create_task(busy.say("Hello"))
    await wait_until(lambda: app.application.runtime.running_turns == 1)
    with pytest.raises(UserError, match="still being written"):
        await busy.say("Another")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await wait_until(lambda: app.application.runtime.running_turns == 0)


async def test_an_agent_that_is_not_for_everyone_is_not_there(app: Served) -> None:
    for agent in ("staff", "nobody", "../echo"):
        with pytest.raises(UserError, match="not found"):
            app.application.party("mail", "kim", agent)


@pytest.mark.parametrize(
    ("channel", "party_id"), [("", "kim"), ("Mail", "kim"), ("mail", ""), ("mail", "k" * 513)]
)
async def test_a_name_that_can_be_none_is_refused(channel: str, party_id: str, app: Served) -> None:
    with pytest.raises(ValueError, match="has 1 to"):
        app.application.party(channel, party_id)

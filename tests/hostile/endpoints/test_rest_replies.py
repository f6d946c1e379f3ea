"""Every case by the REST interface: what is answered, stored and sent next."""

import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from tests.doubles.raw_endpoint import RawRequest
from tests.harness import canary
from tests.hostile.endpoints import cases
from tests.hostile.endpoints.case import Case
from tests.hostile.endpoints.house import House, Player, opened
from tests.rest import client

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEXT = "And now?"
QUESTIONS = (["user", "user"], ["user"])  # two, or one where a model's template wants that


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Player]:
    async with (
        opened(tmp_path_factory.mktemp("replies"), cases.ALL) as house,
        contextlib.aclosing(Player(partial(_play, house), cases.ALL)) as player,
    ):
        yield player


@pytest.mark.parametrize("case", cases.ALL, ids=lambda case: case.name)
async def test_a_reply_reaches_rest_as_what_it_is(played: Player, case: Case) -> None:
    await played.result(case)


async def _play(house: House, case: Case) -> None:
    secret = canary()
    async with client(house.app.url, agent=case.name) as program:
        reply = await program.say(f"Please {secret}", "mine-" + secret)
        if case.status == "failed":
            assert reply.status in (502, 503), reply.body
            sentence = reply.json["detail"]
            assert reply.json["error_id"]
        else:
            assert reply.status == 200, reply.body
            assert reply.json["response"] == case.text
            metadata = reply.json["metadata"]
            assert metadata["status"] == case.status
            assert metadata["finish_reason"] == case.finish
            sentence = metadata.get("notice") or ""
            assert bool(sentence) == (case.status != "complete" or bool(case.notice))
            if case.status != "complete":
                assert len(house.book.naming(metadata["error_id"])) == 1
        assert case.notice.lower() in sentence.lower()
        requests = house.requests_of(case, secret)
        assert len(requests) == case.requests
        if case.check is not None:
            case.check(requests)
        house.check_stored(case, secret)
        await program.say(NEXT, "mine-" + secret)
    following = [r for r in house.endpoint.naming(secret) if NEXT in r.last_user]
    if case in cases.REPEATABLE:
        assert len(following) == case.requests - case.learns
    _check_next(case, following[0])


def _check_next(case: Case, request: RawRequest) -> None:
    """Check what the model sees in the turn after."""
    conversation = [m for m in request.body["messages"] if m["role"] != "system"]
    roles = [message["role"] for message in conversation]
    assert roles == ["user", "assistant", "user"] or (not case.text and roles in QUESTIONS)
    answers = [m["content"] for m in conversation if m["role"] == "assistant"]
    assert answers == ([case.text] if case.text else [])
    if case.thinking:
        assert case.thinking not in json.dumps(request.body)

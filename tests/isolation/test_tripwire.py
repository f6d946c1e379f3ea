"""The tripwire stops an answer that a mixed-up model's server gives to the wrong user."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cmw_agent.core.logs import get_logger
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text, Thoughts, ToolCalls, text_of
from tests.harness import served, settings_for
from tests.metrics import breaches
from tests.rest import BANK, KEYS, SHOP, Client, Reply, client

CANARY = re.compile(r"cmwx[a-z2-7]{26}")
EVENTS = "text/event-stream"


@dataclass(slots=True)
class MixedUpModel:
    """A model's server that gives the last other user's instructions to whoever asks for them."""

    marks: list[str] = field(default_factory=list)  # of the requests, in their order

    def answer(self, request: Request) -> Sequence[Step]:
        said = request.last_user
        if request.tool_results:
            return [Text([f"The tool said {request.tool_results[-1]}"])]
        system = text_of(request.messages[0]["content"])
        self.marks += CANARY.findall(system)[-1:]
        other = next((mark for mark in self.marks if mark != self.marks[-1]), "nothing")
        match said:
            case "own":
                return [Text([*f"It is {self.marks[-1]} indeed"])]
            case "leak":
                return [Text([*f"It is {other} indeed"])]
            case "leaked thought":
                return [Thoughts([*f"It is {other}"]), Text(["Well."])]
            case "leaked call":
                return [ToolCalls([("calculate", json.dumps({"expression": other}))])]
        return [Text(["Fine."])]


@dataclass(slots=True)
class Stage:
    """An app with two users, Shop and Bank, and the model that mixes them."""

    url: str
    shop: Client
    bank: Client
    model: MixedUpModel

    async def breaches(self) -> float:
        return await breaches(self.url)


@asynccontextmanager
async def stage(folder: Path, *, tripwire: bool = True) -> AsyncIterator[Stage]:
    model = MixedUpModel()
    async with OpenAIDouble(scripts={"mixed": model.answer}) as endpoint:
        settings = settings_for(
            folder,
            openai_base_url=endpoint.base_url,
            model="mixed",
            api_keys=KEYS,
            tripwire=tripwire,
            titles="off",
        )
        async with (
            served(settings) as app,
            client(app.url, SHOP) as shop,
            client(app.url, BANK) as bank,
        ):
            yield Stage(app.url, shop, bank, model)


def streamed(reply: Reply) -> str:
    """Return the text of an answer that came as events."""
    return "".join(data["text"] for name, data in reply.events if name == "delta")


async def test_every_user_has_a_canary_of_their_own_in_the_instructions(tmp_path: Path) -> None:
    async with stage(tmp_path) as there:
        for one in (there.shop, there.bank, there.shop):
            await one.say("hello", "theirs")
        first, second, third = there.model.marks
        assert first == third != second


async def test_without_the_setting_no_instructions_are_marked(tmp_path: Path) -> None:
    async with stage(tmp_path, tripwire=False) as there:
        await there.shop.say("hello")
        assert there.model.marks == []


@pytest.mark.parametrize("said", ["leak", "leaked thought", "leaked call"])
async def test_nothing_of_another_users_canary_leaves_and_the_operator_is_told(
    said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(tmp_path) as there:
        await there.shop.say("hello")
        reply = await there.bank.say(said, "theirs", Accept=EVENTS)
        assert streamed(reply) in ("It is ", "")
        assert reply.events[-1][0] == "error"
        assert "something of another user" in reply.body.decode()
        history = await there.bank.at("theirs")
        assert not CANARY.search(history.body.decode())
        assert not CANARY.search(there.bank.received.decode())
        assert await there.breaches() == 1
        assert len(there.model.marks) == 2, "the model was asked again"
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    assert not CANARY.search(caplog.text)


async def test_ones_own_canary_is_left_out_of_an_answer_that_repeats_the_instructions(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as there:
        reply = await there.shop.say("own", Accept=EVENTS)
        assert streamed(reply) == "It is  indeed"
        assert reply.events[-1][0] == "done"
        assert await there.breaches() == 0


async def test_a_log_line_with_a_canary_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(tmp_path) as there:
        await there.shop.say("hello")
        get_logger("cmw_agent.test").warning("a text: %s", there.model.marks[0], seconds=1)
        assert await there.breaches() == 1
        get_logger("cmw_agent.test").warning("a text", found=there.model.marks[0])
        assert await there.breaches() == 2
    assert caplog.text.count("a log line held a user's canary and was left out error_id=") == 2
    assert "a text" not in caplog.text
    assert not CANARY.search(caplog.text)

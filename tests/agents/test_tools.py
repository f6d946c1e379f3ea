"""Tools in Python: they get their owner from the app, and pass the same gate, limits and checks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool as langchain_tool

from cmw_agent import Agent, Owner, Progress, StartupError, tool
from cmw_agent.agent.tool_loop import MAX_RESULT
from cmw_agent.tools.own_tools import OwnTool, OwnToolset
from tests.agents import samples
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.isolation.toolhouse import obedient
from tests.logbook import logbook
from tests.rest import BANK, KEYS, SHOP, client
from tests.service import wait_until

TOOLS = (samples.whoami, samples.book, samples.never, samples.broken)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, tools: Sequence[Any] = TOOLS, **changes: Any
) -> AsyncIterator[tuple[Served, OpenAIDouble]]:
    """Serve the app with an agent of `tools`, whose model calls what a message says."""
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        settings = settings_for(
            folder,
            api_keys=KEYS,
            openai_base_url=endpoint.base_url,
            model="obedient",
            **changes,
        )
        async with served(settings, agents=[Agent(id="desk", tools=tools)]) as app:
            yield app, endpoint


async def test_a_tool_gets_its_owner_from_the_app_whatever_the_model_sends(tmp_path: Path) -> None:
    order = 'do whoami {"greeting": "Hi", "owner": "r0123456789"}'
    async with (
        serving(tmp_path) as (app, endpoint),
        client(app.url, SHOP, "desk") as shop,
        client(app.url, BANK, "desk") as bank,
    ):
        first = (await shop.say(order)).json["response"]
        second = (await bank.say(order)).json["response"]
        assert first != second
        assert "r0123456789" not in first + second
        (schema,) = [
            item["function"]
            for item in endpoint.requests[0].body["tools"]
            if item["function"]["name"] == "whoami"
        ]
        assert list(schema["parameters"]["properties"]) == ["greeting"]


@tool(changes=False)
async def count(owner: Owner, progress: Progress, to: int) -> str:
    """Count."""
    progress(1, to, f"for {owner}")
    return f"counted to {to}"


@tool(changes=False)
def count_in_a_thread(progress: Progress, to: int) -> str:
    """Count."""
    progress(1)
    return f"counted to {to}"


@pytest.mark.parametrize(
    ("name", "report"), [("count", (1, 3, "for me")), ("count_in_a_thread", (1,))]
)
async def test_a_tool_says_how_far_it_has_come(name: str, report: tuple[Any, ...]) -> None:
    toolset, came = OwnToolset([count, count_in_a_thread], "me", 5), list[Any]()
    for schema in toolset.schemas:
        assert list(schema["function"]["parameters"]["properties"]) == ["to"]
    sent = {"to": 3, "progress": "the model's"}
    result = await toolset.use(name, sent, progress=lambda *values: came.append(values))
    assert (result.ok, result.text, came) == (True, "counted to 3", [report])
    assert (await toolset.use(name, sent)).ok  # where nobody reads it


async def test_a_tool_that_changes_something_waits_for_its_user(tmp_path: Path) -> None:
    order = 'do book {"room": "7"}'
    async with serving(tmp_path) as (app, _), client(app.url, agent="desk") as shop:
        approvals = app.application.runtime.approvals
        # Who does not stream cannot be asked in time.
        assert "denied" in (await shop.say(order, "one")).json["response"]
        running = asyncio.create_task(shop.say(order, "two", Accept="text/event-stream"))
        await wait_until(lambda: len(approvals) == 1)
        (waiting,) = (await shop.at("two", "/approvals")).json["waiting"]
        assert waiting["arguments"] == {"room": "7"}
        body = {"call": waiting["call"], "answer": "approved"}
        path = "/api/chat/desk/sessions/two/approvals"
        assert (await shop.ask("POST", path, body)).status == 204
        await running
        last = (await shop.at("two")).json["messages"][-1]["content"]
        assert "booked 7" in last


async def test_a_tool_without_a_user_to_ask_may_only_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, _), client(app.url) as shop:
        for order, expected in (('do book {"room": "7"}', "denied"),
                                ('do whoami {"greeting": "Hi"}', "Hi r")):  # fmt: skip
            body = {"model": "desk", "messages": [{"role": "user", "content": order}]}
            reply = await shop.ask("POST", "/v1/chat/completions", body)
            assert expected in reply.json["choices"][0]["message"]["content"]


async def test_a_tool_that_hangs_or_fails_is_a_result_without_its_secret(tmp_path: Path) -> None:
    with logbook() as book:
        async with (
            serving(tmp_path, tool_timeout=1) as (app, _),
            client(app.url, agent="desk") as shop,
        ):
            slow = await shop.say("do never {}")
            failed = await shop.say('do broken {"secret": "hush-hush"}')
    assert "took longer than 1 s" in slow.json["response"]
    assert "failed (RuntimeError)" in failed.json["response"]
    assert "hush-hush" not in book.text
    assert "samples.py" in book.text


async def test_a_long_result_is_cut_and_says_so(tmp_path: Path) -> None:
    @langchain_tool
    async def report() -> str:
        """Return much text."""
        return "x" * (MAX_RESULT + 1)

    tools = [OwnTool.of(report, changes=False)]
    async with serving(tmp_path, tools) as (app, _), client(app.url, agent="desk") as shop:
        assert "[…cut]" in (await shop.say("do report {}")).json["response"]


def test_a_tool_of_langchain_counts_as_changing_something() -> None:
    @langchain_tool
    async def send(text: str) -> str:
        """Send a text."""
        return text

    assert OwnToolset([OwnTool.of(send)], "v1", 1).changes("send")
    assert OwnToolset([], "v1", 1).changes("unknown")
    with pytest.raises(ValueError, match="owner"):
        OwnToolset([], "", 1)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (samples.undocumented, "docstring"),
        (samples.foreign_argument, "nothing fills its parameter 'state'"),
        (samples.number, "must be a function or a LangChain tool"),
        (samples.second_calculator, "two tools of the name calculate"),
    ],
)
async def test_what_is_no_tool_ends_the_start_with_one_line(
    value: object, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match=problem) as caught:
        async with served(settings_for(tmp_path), agents=[Agent(id="desk", tools=[value])]):
            pass
    assert "\n" not in str(caught.value)


async def test_two_tools_of_one_name_end_the_start(tmp_path: Path) -> None:
    agents = [Agent(id="desk", tools=[samples.whoami, samples.whoami])]
    with pytest.raises(StartupError, match="two tools of the name whoami"):
        async with served(settings_for(tmp_path), agents=agents):
            pass


async def test_wrong_arguments_are_named_to_the_model(tmp_path: Path) -> None:
    async with serving(tmp_path) as (app, _), client(app.url, agent="desk") as shop:
        reply = await shop.say(f"do whoami {json.dumps({'greeting': 7})}")
        assert "greeting" in reply.json["response"]
        assert [step["ok"] for step in reply.json["metadata"]["tools"]] == [False]

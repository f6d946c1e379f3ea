"""The tool loop: what the model's server is sent after calls, and how calls run beside each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import MAX_RESULT, NO_MORE_CALLS, ToolLoop
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import AgentEvent, ToolFinished, ToolStarted
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.factory import open_model
from memory.errors import DatabaseUnavailableError
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text, ToolCalls
from tests.harness import WAIT, settings_for

HISTORY = [HistoryMessage("user", "go")]


@contextlib.asynccontextmanager
async def house(
    folder: Path, calls: Sequence[tuple[str, str]], loop: ToolLoop, *, always: bool = False
) -> AsyncIterator[tuple[CmwAgent, OpenAIDouble]]:
    """An agent whose model makes `calls` once, or in `always` each of its answers."""

    def script(request: Request) -> Sequence[Step]:
        return [Text(["done"])] if request.tool_results and not always else [ToolCalls(calls)]

    async with OpenAIDouble(scripts={"caller": script}) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model="caller")
        async with open_model(settings, FlushInterval(0.01)) as model:
            yield CmwAgent(loop, owner="v1", model=model, instructions="Be kind."), endpoint


def tool(name: str, work: Any) -> BaseTool:
    return StructuredTool.from_function(coroutine=work, name=name, description="Does it.")


async def test_calls_of_one_answer_run_at_once_and_are_told_in_their_order(tmp_path: Path) -> None:
    second_ran = asyncio.Event()

    async def first() -> str:
        async with asyncio.timeout(WAIT):
            await second_ran.wait()
        return "one"

    async def second() -> str:
        second_ran.set()
        return "two"

    loop = ToolLoop([tool("first", first), tool("second", second)])
    events: list[AgentEvent] = []
    async with house(tmp_path, [("first", "{}"), ("second", "{}")], loop) as (agent, endpoint):
        await agent.run(HISTORY, events.append)
    assert endpoint.requests[-1].tool_results == ["one", "two"]
    names = [event.name for event in events if isinstance(event, ToolStarted | ToolFinished)]
    assert names == ["first", "second", "second", "first"]


async def test_a_run_that_is_stopped_stops_its_tools(tmp_path: Path) -> None:
    begun, ended = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def endless() -> str:
        begun.release()
        try:
            await asyncio.Event().wait()
        finally:
            ended.release()
        return ""

    loop = ToolLoop([tool("endless", endless)])
    async with house(tmp_path, [("endless", "{}")] * 2, loop) as (agent, endpoint):
        running = asyncio.create_task(agent.run(HISTORY, lambda _: None))
        async with asyncio.timeout(WAIT):
            for _ in range(2):
                await begun.acquire()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            for _ in range(2):
                await ended.acquire()
    assert endpoint.request_count == 1


async def test_a_run_ends_with_the_failure_of_a_call_and_not_with_a_group_of_failures(
    tmp_path: Path,
) -> None:
    async def work() -> str:
        return ""

    def emit(event: AgentEvent) -> None:
        if isinstance(event, ToolStarted):
            raise DatabaseUnavailableError

    loop = ToolLoop([tool("work", work)])
    async with house(tmp_path, [("work", "{}")] * 2, loop) as (agent, _):
        with pytest.raises(DatabaseUnavailableError):
            await agent.run(HISTORY, emit)


async def test_the_model_reads_what_was_wrong_with_its_calls(tmp_path: Path) -> None:
    async def echo(word: str) -> str:
        return word * MAX_RESULT

    calls = [
        ("echo", '{"word":"ab"}'),
        ("echo", '{"word":["a"]}'),
        ("nothing", '{"a":1}'),
        ("echo", '{"word":'),
    ]
    loop = ToolLoop([tool("echo", echo)])
    async with house(tmp_path, calls, loop) as (agent, endpoint):
        await agent.run(HISTORY, lambda _: None)
    (malformed, *results) = endpoint.requests[-1].tool_results
    assert malformed.startswith("Tool call echo with id call_")
    assert malformed.endswith(
        "could not be executed - the arguments are not a JSON object. "
        'Its arguments were: {"word": Please fix the call and try again.'
    )
    wrong = (
        "Error invoking tool 'echo' with kwargs {'word': ['a']} with error:\n"
        " word: Input should be a valid string\n Please fix the error and try again."
    )
    assert results == [
        ("ab" * MAX_RESULT)[:MAX_RESULT] + " […cut]",
        wrong,
        "Error: nothing is not a valid tool, try one of [echo].",
    ]


async def test_calls_beyond_the_limits_are_not_made(tmp_path: Path) -> None:
    runs: list[str] = []

    async def note(word: str) -> str:
        runs.append(word)
        return word

    calls = [("note", f'{{"word":"{word}"}}') for word in "abc"]
    loop = ToolLoop([tool("note", note)], model_calls=3, tool_calls=4)
    events: list[AgentEvent] = []
    async with house(tmp_path, calls, loop, always=True) as (agent, endpoint):
        with pytest.raises(ModelFailedError, match="called tools again and again") as failed:
            await agent.run(HISTORY, events.append)
    assert failed.value.kind == "too_many_steps"
    assert runs == ["a", "b", "c", "a"]
    assert sum(isinstance(event, ToolStarted) for event in events) == 4
    assert endpoint.request_count == 3
    results = endpoint.requests[-1].tool_results
    assert results == ["a", "b", "c", NO_MORE_CALLS, NO_MORE_CALLS, "a"]

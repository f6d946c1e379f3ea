"""The tool loop: what the model's server is sent after calls, and how calls run beside each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from cmw_agent.agent.agent import Ask, CmwAgent
from cmw_agent.agent.tool_loop import MAX_RESULT, NO_MORE_CALLS, ToolLoop
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import (
    AgentEvent,
    EventSink,
    TextDelta,
    ThinkingDelta,
    ToolAccount,
    ToolFinished,
    ToolStarted,
)
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.factory import open_model
from cmw_agent.tools.approvals import Decision, UserQuestions
from cmw_agent.tools.toolset import ProgressSink, ToolResult, parameters_in
from memory.errors import DatabaseUnavailableError
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Raw, Request, Step, Stop, Text, ToolCalls
from tests.doubles.openai_wire import encode, event
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


# -- what the endpoint's messages come to ----------------------------------------------------


class Mail:
    """A toolset with one tool that changes something."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    @property
    def schemas(self) -> list[dict[str, Any]]:
        parameters = {
            "type": "object",
            "properties": {"to": {"type": "string"}},
            "required": ["to"],
        }
        return [{"type": "function", "function": {"name": "SEND", "parameters": parameters}}]

    @property
    def names(self) -> list[str]:
        return ["SEND"]

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        return parameters_in(self.schemas, name)

    def changes(self, name: str) -> bool:
        return True

    async def account(self, name: str) -> ToolAccount | None:
        return None

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        self.sent.append(arguments)
        return ToolResult("sent", ok=True)


class Gate:
    """Approves each call, and keeps what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def needed(self, name: str, *, changes: bool) -> bool:
        return changes

    async def ask(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        emit: EventSink,
        account: ToolAccount | None = None,
    ) -> Decision:
        self.asked.append(arguments)
        return Decision("approved", arguments)


def events_of(delta: Mapping[str, Any], finish: str) -> Raw:
    """Return the events of a message of one delta."""
    chunks: list[tuple[Mapping[str, Any], str | None]] = [(delta, None), ({}, finish)]
    choices = [{"index": 0, "delta": dict(d), "finish_reason": reason} for d, reason in chunks]
    return Raw(b"".join(event(encode({"choices": [choice]})) for choice in choices))


@contextlib.asynccontextmanager
async def saying(
    folder: Path, *messages: Raw, loop: ToolLoop | None = None
) -> AsyncIterator[tuple[CmwAgent, OpenAIDouble]]:
    """An agent whose model sends these messages, one for each request of a turn."""

    def script(request: Request) -> Sequence[Step]:
        turns = sum(message["role"] == "assistant" for message in request.messages)
        return [messages[min(turns, len(messages) - 1)], Stop()]

    async with OpenAIDouble(scripts={"raw": script}) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model="raw")
        async with open_model(settings, FlushInterval(0.01)) as model:
            agent = CmwAgent(loop or ToolLoop(), owner="v1", model=model, instructions="Be kind.")
            yield agent, endpoint


def call(name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}, **fields}]}


DONE = events_of({"content": "Done."}, "stop")


async def test_what_the_endpoint_sent_with_a_call_is_sent_back_beside_the_call(
    tmp_path: Path,
) -> None:
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    first = events_of(
        {"reasoning_content": "hm", **call("calculate", {"expression": "12+3"}, **signed)}, "stop"
    )
    picture: list[dict[str, Any]] = [
        {"type": "text", "text": "go"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
    ]
    for history in (HISTORY, [HistoryMessage("user", picture)]):
        async with saying(tmp_path, first, DONE) as (agent, endpoint):
            assert await agent.run(history, lambda _: None) == "stop"
        (system, user, assistant, result) = endpoint.requests[-1].messages
        assert (system["role"], user) == ("system", {"role": "user", "content": history[0].content})
        assert assistant["reasoning_content"] == "hm"
        (sent,) = assistant["tool_calls"]
        assert sent.pop("id") == result["tool_call_id"]
        assert sent == {
            "type": "function",
            "function": {"name": "calculate", "arguments": '{"expression": "12+3"}'},
            **signed,
        }
        assert result["content"] == "15"


async def test_a_call_that_was_cut_is_not_made_and_the_run_says_so(tmp_path: Path) -> None:
    for arguments in ('{"expression": "12+3', '{"expression": "12+3"}'):
        events: list[AgentEvent] = []
        cut = events_of(call("calculate", arguments), "length")
        async with saying(tmp_path, cut) as (agent, endpoint):
            with pytest.raises(ModelFailedError) as failed:
                await agent.run(HISTORY, events.append)
        assert failed.value.kind == "cut_call"
        assert endpoint.request_count == 1
        assert not [event for event in events if isinstance(event, ToolStarted)]


async def test_the_model_may_try_again_where_its_call_was_no_json(tmp_path: Path) -> None:
    cut = events_of(call("calculate", '{"expression": "12+3'), "tool_calls")
    events: list[AgentEvent] = []
    async with saying(tmp_path, cut, cut, DONE) as (agent, endpoint):
        assert await agent.run(HISTORY, events.append) == "stop"
    assert endpoint.request_count == 3
    last = endpoint.requests[-1]
    assert [m["tool_calls"][0]["function"]["arguments"] for m in last.messages[2::2]] == ["{}"] * 2
    assert all('{"expression": "12+3' in result for result in last.tool_results)
    assert not [event for event in events if isinstance(event, ToolStarted)]


async def test_a_model_that_calls_wrongly_for_ever_is_stopped(tmp_path: Path) -> None:
    wrong = events_of(call("calculate", "nonsense"), "tool_calls")
    async with saying(tmp_path, wrong, loop=ToolLoop(model_calls=3)) as (agent, endpoint):
        with pytest.raises(ModelFailedError) as failed:
            await agent.run(HISTORY, lambda _: None)
    assert failed.value.kind == "too_many_steps"
    assert endpoint.request_count == 3


async def test_an_empty_answer_after_a_tool_is_a_failure(tmp_path: Path) -> None:
    first = events_of(call("calculate", '{"expression": "12+3"}'), "tool_calls")
    blank = events_of({"content": ""}, "stop")
    async with saying(tmp_path, first, blank) as (agent, _):
        with pytest.raises(ModelFailedError) as failed:
            await agent.run(HISTORY, lambda _: None)
    assert failed.value.kind == "blank"


async def test_an_answer_that_was_cut_is_told_to_be(tmp_path: Path) -> None:
    cut = events_of({"content": "Once upon"}, "length")
    async with saying(tmp_path, cut) as (agent, _):
        assert await agent.run(HISTORY, lambda _: None) == "length"


@pytest.mark.parametrize("arguments", ['{"to": 7}', "{}", '{"to": "a'])
async def test_nobody_is_asked_about_a_call_that_does_not_fit_its_tool(
    arguments: str, tmp_path: Path
) -> None:
    mail, gate = Mail(), Gate()
    first = events_of(call("SEND", arguments), "tool_calls")
    async with saying(tmp_path, first, DONE) as (agent, endpoint):
        await agent.run(HISTORY, lambda _: None, Ask(toolset=mail, gate=gate))
    assert not gate.asked
    assert not mail.sent
    (result,) = endpoint.requests[-1].tool_results
    assert "lease fix the" in result


async def test_a_call_that_fits_its_tool_is_asked_about_and_made(tmp_path: Path) -> None:
    mail, gate = Mail(), Gate()
    first = events_of(call("SEND", '{"to": "ada"}'), "tool_calls")
    async with saying(tmp_path, first, DONE) as (agent, _):
        await agent.run(HISTORY, lambda _: None, Ask(toolset=mail, gate=gate))
    assert gate.asked == mail.sent == [{"to": "ada"}]


async def test_a_model_that_starts_inside_its_thoughts_is_known_by_its_next_message(
    tmp_path: Path,
) -> None:
    inside = events_of({"content": "hm</think>Hi"}, "stop")
    events: list[AgentEvent] = []
    async with saying(tmp_path, inside) as (agent, _):
        await agent.run(HISTORY, lambda _: None)
        await agent.run(HISTORY, events.append)
    assert events[:2] == [ThinkingDelta("hm"), TextDelta("Hi")]

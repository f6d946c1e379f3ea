"""Tools in an agent's own graph are answered from the cassette where their function is recorded."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from cmw_agent import Agent
from cmw_agent import recorded as recorded_item
from cmw_agent.agent.own.runner import runner_of
from tests.doubles.openai_server import OpenAIDouble
from tests.isolation.toolhouse import obedient
from tests.replay.samples import NOWHERE, model_at
from tests.replay.stage import again, recorded, recording, running, say
from tests.service import answer_text


class Till:
    """The tools of a shop, which count how often each runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def graph(self, model: BaseChatModel) -> Any:
        """Return an agent with the tools, of which all but `look` are recorded."""

        @tool
        def price(item: str, state: Annotated[Any, InjectedState], config: RunnableConfig) -> str:
            """Return a price."""
            self.ran.append("price")
            assert state["messages"]
            assert config
            return f"{item} costs {len(self.ran)}"

        @tool
        async def stock(item: str) -> dict[str, Any]:
            """Return how many there are."""
            self.ran.append("stock")
            return {"item": item, "left": [len(self.ran)]}

        @tool(response_format="content_and_artifact")
        async def picture(item: str) -> tuple[str, dict[str, int]]:
            """Return a picture."""
            self.ran.append("picture")
            return f"a picture of {item}", {"width": len(self.ran)}

        @tool
        async def closed(item: str) -> str:
            """Fail in a way that the model is to read."""
            self.ran.append("closed")
            raise ToolException(f"no {item} today, {len(self.ran)}")

        @tool
        async def leave(item: str, call: Annotated[str, InjectedToolCallId]) -> Command[Any]:
            """Return what is no JSON."""
            self.ran.append("leave")
            return Command(update={"messages": [ToolMessage(f"left {item}", tool_call_id=call)]})

        @tool
        async def broken(item: str) -> str:
            """Fail in a way that ends the run."""
            self.ran.append("broken")
            raise ValueError(item)

        @tool
        async def look(item: str) -> str:
            """Look, without being recorded."""
            self.ran.append("look")
            return f"saw {item}"

        closed.handle_tool_error = True
        own: list[BaseTool] = [price, stock, picture, closed, leave, broken]
        tools = [*(recorded_item(each) for each in own), look]
        return create_agent(recorded_item(model), tools=tools)


@pytest.mark.parametrize(
    "order",
    [
        'do price {"item": "tea"}',
        'do stock {"item": "tea"}',
        'do picture {"item": "tea"}',
        'do closed {"item": "tea"}',
        'do price {"item": "tea"} and stock {"item": "milk"} and price {"item": "salt"}',
    ],
)
async def test_a_recorded_tool_of_a_graph_is_not_run_again(order: str, tmp_path: Path) -> None:
    till, later = Till(), Till()
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        agents = [Agent(id="desk", graph=till.graph(model_at(endpoint.base_url, "obedient")))]
        async with running(recording(tmp_path, openai_api_key=None), agents) as runtime:
            events = await say(runtime, order, agent="desk")
    assert till.ran
    cassettes = recorded(tmp_path)
    assert '"state"' not in cassettes[0].path.read_text()
    [replayed] = await again(cassettes, tmp_path, {"desk": runner_of(later.graph(NOWHERE), "desk")})
    assert replayed.is_same, replayed.differences
    assert replayed.text == answer_text(events)
    assert "The tools said" in replayed.text
    assert later.ran == []


@pytest.mark.parametrize("name", ["look", "leave", "broken"])
async def test_a_tool_that_is_not_recorded_or_gives_no_json_runs_anew(
    name: str, tmp_path: Path
) -> None:
    till, later = Till(), Till()
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        agents = [Agent(id="desk", graph=till.graph(model_at(endpoint.base_url, "obedient")))]
        async with running(recording(tmp_path, openai_api_key=None), agents) as runtime:
            await say(runtime, f'do {name} {{"item": "tea"}}', agent="desk")
    runners = {"desk": runner_of(later.graph(NOWHERE), "desk")}
    [replayed] = await again(recorded(tmp_path), tmp_path, runners)
    assert replayed.is_same, replayed.differences
    assert (till.ran, later.ran) == ([name], [name])


def test_what_is_neither_a_model_nor_a_tool_of_a_function_cannot_be_recorded() -> None:
    with pytest.raises(TypeError, match="int is no chat model"):
        recorded_item(7)  # type: ignore[call-overload]

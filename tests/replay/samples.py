"""Agents that answer by themselves: one that keeps its user in a place of its own, one that does not."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from cmw_agent import recorded


def model_at(url: str, name: str = "gated-0") -> ChatOpenAI:
    return ChatOpenAI(
        model_name=name,
        openai_api_base=url,
        openai_api_key=SecretStr("none"),
        max_retries=0,
    )


class Careless:
    """Greets whoever wrote last, which is somebody else where two write at once."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = recorded(model)
        self.name = "nobody"

    async def __call__(self, messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
        self.name = str(messages[-1].content).removeprefix("I am ")
        async for _ in self.model.astream(messages, run.config):
            pass
        yield f"Hello, {self.name}!"


class Careful:
    """Greets the user of its run."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = recorded(model)

    async def __call__(self, messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
        async for _ in self.model.astream(messages, run.config):
            pass
        yield f"Hello, {str(messages[-1].content).removeprefix('I am ')}!"


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


def graph_of(model: BaseChatModel) -> Any:
    """Return LangChain's own agent, a graph whose model calls tools."""
    return create_agent(recorded(model), tools=[add])


NOWHERE = model_at("http://127.0.0.1:9/v1")
careless, careful = Careless(NOWHERE), Careful(NOWHERE)

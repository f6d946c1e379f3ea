"""Agents with one planted fault each, which mix their users."""

import asyncio
import functools
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState

from cmw_agent import Run
from tests.agents.samples import one_node, say_what_was_said

HISTORY: list[str] = []


async def global_list(state: MessagesState) -> dict[str, Any]:
    """Keep everybody's messages in one list of the module."""
    HISTORY.append(str(state["messages"][-1].text))
    return {"messages": [AIMessage("So far: " + ", ".join(HISTORY))]}


by_global = one_node(global_list)
shared_memory = one_node(say_what_was_said, checkpointer=InMemorySaver())


async def in_one_thread(messages: list[BaseMessage], run: Run) -> str:
    """Give everybody the thread `default`."""
    config: RunnableConfig = {"configurable": {"thread_id": "default"}}
    result = await shared_memory.ainvoke({"messages": messages[-1:]}, config)
    return str(result["messages"][-1].text)


session_memory = one_node(say_what_was_said, checkpointer=InMemorySaver())


async def by_session_alone(messages: list[BaseMessage], run: Run) -> str:
    """Name the thread by the conversation alone."""
    config: RunnableConfig = {"configurable": {"thread_id": run.conversation_id}}
    result = await session_memory.ainvoke({"messages": messages[-1:]}, config)
    return str(result["messages"][-1].text)


class Notes:
    """Keeps what it hears in an attribute of the class."""

    heard: ClassVar[list[str]] = []

    async def __call__(self, messages: list[BaseMessage], run: Run) -> str:
        self.heard.append(str(messages[-1].text))
        return " / ".join(self.heard)


by_class = Notes()


@functools.lru_cache
def greeting(question: str, owner: "Anybody") -> str:
    """Return the greeting of whoever asked this first."""
    return f"You are {owner.name}."


class Anybody:
    """An owner that equals any other, as a key that forgets who asks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anybody)

    def __hash__(self) -> int:
        return 0


async def by_cache(messages: list[BaseMessage], run: Run) -> str:
    """Answer from a cache that knows the question alone."""
    return greeting(str(messages[-1].text), Anybody(run.owner))


class Current:
    """Keeps who is being answered in the agent, over an await."""

    def __init__(self) -> None:
        self.message: BaseMessage = HumanMessage("")

    async def __call__(self, messages: list[BaseMessage], run: Run) -> str:
        self.message = messages[-1]
        await asyncio.sleep(0)
        return f"You said: {self.message.text}"


by_attribute = Current()

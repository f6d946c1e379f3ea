"""Agents as an operator writes them, for the tests: right ones, broken ones, leaking ones."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import InjectedToolArg
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from cmw_agent import Owner, Run, TextDelta, ThinkingDelta, tool


def one_node(node: Any, schema: Any = MessagesState, **compiled: Any) -> Any:
    """Return a compiled graph of one node."""
    graph = StateGraph(schema)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(**compiled)


def streaming(text: str) -> GenericFakeChatModel:
    """Return a model that streams `text` word by word."""
    return GenericFakeChatModel(messages=iter([AIMessage(text)]))


async def say_what_was_said(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """Answer with all that the user has said, through a model that streams."""
    said = ", ".join(str(m.text) for m in state["messages"] if m.type == "human")
    model = streaming(f"You said: {said}")
    return {"messages": [await model.ainvoke(state["messages"], config)]}


async def say_the_last(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """Answer with the user's last message, through a model that streams."""
    model = streaming(f"You said: {state['messages'][-1].text}")
    return {"messages": [await model.ainvoke(state["messages"], config)]}


echo = one_node(say_what_was_said)
last = one_node(say_the_last, checkpointer=InMemorySaver())
remembering = one_node(say_what_was_said, checkpointer=InMemorySaver())


@dataclass
class Context:
    """The run context of a graph that wants its owner."""

    owner: str


async def name_the_owner(state: MessagesState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with the owner that the run context holds."""
    return {"messages": [AIMessage(f"owner {runtime.context.owner}")]}


def _owner_graph() -> Any:
    graph = StateGraph(MessagesState, context_schema=Context)
    graph.add_node("node", name_the_owner)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile()


owner_graph = _owner_graph()


async def look_and_answer(state: MessagesState) -> dict[str, Any]:
    """Report progress, then answer."""
    get_stream_writer()({"name": "looking", "rows": 3})
    return {"messages": [AIMessage("Three rows.")]}


nested = one_node(one_node(look_and_answer))


async def ask_colour(state: MessagesState) -> dict[str, Any]:
    """Ask the user a question and answer with what they say."""
    colour = interrupt({"question": "Which colour?"})
    return {"messages": [AIMessage(f"Painted {colour}.")]}


async def ask_leave(state: MessagesState) -> dict[str, Any]:
    """Ask the user whether something may be done."""
    may = interrupt({"action": "delete", "rows": 3})
    return {"messages": [AIMessage("Deleted." if may else "Left alone.")]}


colours = one_node(ask_colour)
deleting = one_node(ask_leave)


def count(prompt: ChatPromptValue) -> str:
    """Return how many messages a prompt has, and the last one."""
    return f"{len(prompt.messages)}: {prompt.messages[-1].text}"


chain: Runnable[Any, Any] = ChatPromptTemplate.from_messages(
    [("placeholder", "{chat_history}"), ("human", "{input}")]
) | RunnableLambda(count)  # type: ignore[arg-type]


async def words(messages: list[BaseMessage], run: Run) -> AsyncIterator[object]:
    """Think, then answer word by word."""
    yield ThinkingDelta("hm")
    for word in f"You said: {messages[-1].text}".split(" "):
        yield TextDelta(word + " ")
    yield f"for {run.owner}"


async def whole(messages: list[BaseMessage], run: Run) -> str:
    """Return the answer at once."""
    return f"Whole: {messages[-1].text}"


async def asking(messages: list[BaseMessage], run: Run) -> str:
    """Ask the user a question."""
    return f"You chose {await run.ask('Which one?')}."


async def cut(messages: list[BaseMessage], run: Run) -> AsyncIterator[BaseMessage]:
    """Answer with a message that its model's limit has cut."""
    yield AIMessage("Half", response_metadata={"finish_reason": "length"})


# -- tools ---------------------------------------------------------------------------------------


@tool(changes=False)
async def whoami(owner: Owner, greeting: str) -> str:
    """Say who the user is.

    Args:
        greeting: Stands before the name.
    """
    return f"{greeting} {owner}"


NOTES: dict[str, list[str]] = {}  # of each owner


@tool(changes=False)
async def note(owner: Owner, text: str) -> str:
    """Note a text for its owner, and repeat it.

    Args:
        text: The text.
    """
    NOTES.setdefault(owner, []).append(text)
    return f"You said: {text}"


@tool(changes=True)
def book(room: str) -> str:
    """Book a room."""
    return f"booked {room}"


@tool(changes=False)
async def never() -> str:
    """Never return."""
    await asyncio.Event().wait()
    return ""


@tool(changes=False)
async def broken(secret: str) -> str:
    """Fail."""
    raise RuntimeError(secret)


def undocumented(room: str) -> str:
    return room


async def foreign_argument(state: Annotated[dict[str, Any], InjectedToolArg]) -> str:
    """Need something that the app does not give."""
    return str(state)


@tool(changes=False, name="calculate")
async def second_calculator() -> str:
    """Have the name of a tool that is there."""
    return ""


# -- broken agents -------------------------------------------------------------------------------


async def raising(messages: list[BaseMessage], run: Run) -> AsyncIterator[str]:
    """Fail in the middle of an answer."""
    yield "Half of "
    raise RuntimeError(f"a secret of {messages[-1].text}")


async def hanging(messages: list[BaseMessage], run: Run) -> AsyncIterator[str]:
    """Never go on."""
    yield "Wait"
    await asyncio.Event().wait()


async def rubbish(messages: list[BaseMessage], run: Run) -> AsyncIterator[object]:
    """Yield what is no answer."""
    yield object()


async def silent(messages: list[BaseMessage], run: Run) -> AsyncIterator[str]:
    """Yield nothing."""
    for _ in ():
        yield ""


async def endless(messages: list[BaseMessage], run: Run) -> AsyncIterator[str]:
    """Yield without an end, and never wait."""
    while True:
        yield "x"


not_compiled = StateGraph(MessagesState)
number = 3

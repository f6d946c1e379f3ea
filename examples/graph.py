"""A LangGraph graph with a sub-graph, a step of its own, and a question to the user."""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from cmw_agent import Agent, create_app


async def look_up(state: MessagesState) -> dict[str, Any]:
    """Report progress; the page shows it as a step."""
    get_stream_writer()({"name": "look_up", "found": 3})
    return {}


async def choose(state: MessagesState) -> dict[str, Any]:
    """Ask the user; the run waits, through a reload too."""
    size = interrupt({"question": "Which size do you want?"})
    return {"messages": [AIMessage(f"You will get size {size}.")]}


search = StateGraph(MessagesState)
search.add_node("look_up", look_up)
search.add_edge(START, "look_up")
search.add_edge("look_up", END)

shop = StateGraph(MessagesState)
shop.add_node("search", search.compile())
shop.add_node("choose", choose)
shop.add_edge(START, "search")
shop.add_edge("search", "choose")
shop.add_edge("choose", END)
graph = shop.compile()

app = create_app(
    agents=[Agent(id="shop", name="Shop", graph=graph, welcome="What do you look for?")]
)

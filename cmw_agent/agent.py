"""CmwAgent: one session's agent.

All sessions share one compiled LangGraph graph, which costs milliseconds and
kilobytes to build and holds nothing of anybody. What is personal (owner, model,
instructions) goes in as run context with each run, as an argument, and a run without
it fails. See ``docs/adr/0003-one-graph-personal-run-context.md``.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatResult
from langchain_core.tools import ToolException
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt.tool_node import ToolCallRequest

from cmw_agent.events import AgentEvent, TextDelta, ToolFinished, ToolStarted, UsageReported
from cmw_agent.tools import BUILT_IN

MAX_STEPS = 24  # graph steps of one turn: about twelve rounds of tools
MAX_RESULT = 20_000  # characters of a tool's result that the model and the page get

Graph = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What is personal in one run."""

    owner: str
    model: BaseChatModel = field(repr=False)
    system_message: SystemMessage = field(repr=False)


class MissingContext(Exception):
    """The graph was run without a `RunContext`: a defect, never a user's doing."""


class _NoModel(BaseChatModel):
    """Stands where a shared model would: each run brings its own."""

    @property
    def _llm_type(self) -> str:
        return "none"

    def _generate(
        self,
        messages: list[Any],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise MissingContext


class PersonalRun(AgentMiddleware[Any, RunContext, Any]):
    """Puts the run's own model and instructions in, and reports its tool calls."""

    async def awrap_model_call(
        self,
        request: ModelRequest[RunContext],
        handler: Callable[[ModelRequest[RunContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model of the run's owner."""
        context = _context(request.runtime)
        return await handler(
            request.override(model=context.model, system_message=context.system_message)
        )

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[Any]],
    ) -> Any:
        """Run a tool; a failure becomes its result, so that the model can react to it."""
        _context(request.runtime)
        call = request.tool_call
        call_id, name = call["id"] or "", call["name"]
        write = request.runtime.stream_writer
        write(ToolStarted(call_id, name, dict(call["args"])))
        started = time.perf_counter()
        message = await self._outcome(request, handler)
        seconds = time.perf_counter() - started
        if isinstance(message, ToolMessage):
            ok = message.status != "error"
            write(ToolFinished(call_id, name, str(message.text), ok, seconds))
        return message

    async def _outcome(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        call = request.tool_call
        try:
            message = await handler(request)
        except ToolException as error:
            return _tool_error(call["id"] or "", call["name"], str(error))
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            text = f"The tool {call['name']} failed ({type(error).__name__})."
            return _tool_error(call["id"] or "", call["name"], text)
        if isinstance(message, ToolMessage) and len(str(message.text)) > MAX_RESULT:
            message.content = str(message.text)[:MAX_RESULT] + " […cut]"
        return message


def _context(runtime: Any) -> RunContext:
    context = runtime.context
    if not isinstance(context, RunContext):
        raise MissingContext
    return context


def _tool_error(call_id: str, name: str, text: str) -> ToolMessage:
    return ToolMessage(content=text, name=name, tool_call_id=call_id, status="error")


def build_graph() -> Graph:
    """Return the compiled graph that all sessions of a process share."""
    return create_agent(
        model=_NoModel(),
        tools=list(BUILT_IN),
        middleware=[PersonalRun()],
        context_schema=RunContext,
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """One earlier message of a conversation, as the model is to see it."""

    role: str
    content: str


class CmwAgent:
    """One session's agent: a few references, no state of a conversation.

    Args:
        graph: The shared graph.
        owner: The principal's id; reaches tools as run context, never from the model.
        model: The chat model of this session.
        instructions: The system prompt.
    """

    __slots__ = ("_context", "_graph")

    def __init__(
        self, graph: Graph, *, owner: str, model: BaseChatModel, instructions: str
    ) -> None:
        if not owner:
            raise ValueError("an agent needs an owner")
        self._graph = graph
        self._context = RunContext(owner, model, SystemMessage(instructions))

    @property
    def owner(self) -> str:
        """The id of the principal this agent works for."""
        return self._context.owner

    async def stream(self, history: Sequence[Exchange]) -> AsyncIterator[AgentEvent]:
        """Answer the last message of `history` and yield what happens on the way.

        Cancelling the consumer aborts the request upstream. Errors of the model
        are raised as its client raises them; `models.explain` says what they mean.
        """
        run: Any = self._graph.astream(
            {"messages": [_as_message(item) for item in history]},
            context=self._context,
            stream_mode=["messages", "custom"],
            config={"recursion_limit": MAX_STEPS},
        )
        async with contextlib.aclosing(run):
            speaking: str | None = None
            async for mode, item in run:
                if mode == "custom":
                    yield item
                    continue
                chunk, metadata = item
                if metadata.get("langgraph_node") != "model" or not isinstance(chunk, AIMessage):
                    continue
                if text := str(chunk.text):
                    # A further model call of the same turn begins a paragraph of its own.
                    gap = "\n\n" if speaking is not None and speaking != chunk.id else ""
                    speaking = chunk.id
                    yield TextDelta(gap + text)
                if isinstance(chunk, AIMessageChunk) and (usage := chunk.usage_metadata):
                    yield UsageReported(usage["input_tokens"], usage["output_tokens"])


def _as_message(item: Exchange) -> AnyMessage:
    return HumanMessage(item.content) if item.role == "user" else AIMessage(item.content)

"""Runs a compiled LangGraph graph, with its interrupts as questions to the run's user."""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, Interrupt
from pydantic import BaseModel

from cmw_agent.agent.own.events import RunDrawing
from cmw_agent.agent.own.inputs import InputForm
from cmw_agent.agent.own.run import Run
from cmw_agent.agent.own.runner import OwnRunner
from cmw_agent.agent.tool_loop import TOO_MANY_STEPS
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.tools.approvals import QUESTION, Decision

MODES = ["messages", "updates", "custom"]
INTERRUPTED = "__interrupt__"
MAX_INTERRUPTS = 50  # of one run
APPROVAL = "approval"


class GraphRunner(OwnRunner):
    """Runs a compiled graph.

    A graph with a checkpointer of its own keeps a thread for each stored conversation of each owner,
    and gets what is new; one without gets the conversation's window each time, and so does every
    graph where nothing is stored.

    Args:
        graph: The compiled graph.
        form: What it takes.
    """

    def __init__(self, graph: Any, form: InputForm) -> None:
        self._graph = graph
        self._form = form
        saver = graph.checkpointer
        self._saver = saver if isinstance(saver, BaseCheckpointSaver) else None

    @property
    def keeps_threads(self) -> bool:
        """Whether the graph has a checkpointer of its own."""
        return self._saver is not None

    @property
    def keeps_threads_elsewhere(self) -> bool:
        """Whether the checkpointer keeps them outside this process."""
        return self.keeps_threads and not isinstance(self._saver, InMemorySaver)

    async def forget(self, thread_id: str) -> None:
        """Delete the checkpoints of a thread."""
        if self._saver is not None:
            await self._saver.adelete_thread(thread_id)

    async def _values(
        self, run: Run, messages: list[BaseMessage], drawing: RunDrawing
    ) -> AsyncGenerator[object]:
        graph = self._graph
        remembers = self._saver is not None and run.conversation_id is not None
        if not remembers:  # interrupts need a checkpointer, and this one ends with the run
            graph = graph.copy(update={"checkpointer": InMemorySaver()})
        config: dict[str, Any] = {**run.config}
        given: Any = self._form.of(
            *await _unseen(graph, config, run, messages, remembers=remembers)
        )
        more = self._run_context(run)
        try:
            for _ in range(MAX_INTERRUPTS):
                interrupts: list[Interrupt] = []
                stream = graph.astream(given, config, stream_mode=MODES, subgraphs=True, **more)
                async with contextlib.aclosing(stream) as parts:
                    async for _, mode, part in parts:
                        interrupts += _drawn(mode, part, drawing)
                        yield None  # drawn already; the caller gives others of the loop their turn
                if not interrupts:
                    break
                unique = {each.id: each for each in interrupts}
                given = Command(resume={id_: await _ask(run, i) for id_, i in unique.items()})
            else:
                raise ModelFailedError(TOO_MANY_STEPS, kind="too_many_interrupts")
        except GraphRecursionError as error:
            raise ModelFailedError(TOO_MANY_STEPS, kind="too_many_steps") from error
        if not drawing.has_text:
            state = await graph.aget_state(config)
            answer = self._form.answer(state.values)
            if isinstance(answer, (str, AIMessage)):
                yield answer

    def _run_context(self, run: Run) -> dict[str, Any]:
        """Return the run context, with those of the run's fields that the graph's schema has."""
        schema = self._graph.context_schema
        if schema is None:
            return {"context": run.fields}
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            names = set(schema.model_fields)
        elif dataclasses.is_dataclass(schema):
            names = {item.name for item in dataclasses.fields(schema)}
        else:
            names = set(getattr(schema, "__annotations__", run.fields))
        return {"context": {key: value for key, value in run.fields.items() if key in names}}


async def _unseen(
    graph: Any,
    config: dict[str, Any],
    run: Run,
    messages: list[BaseMessage],
    *,
    remembers: bool,
) -> tuple[Sequence[BaseMessage], str]:
    """Return what a graph has not seen of a conversation, and the summary of what came before."""
    if remembers and (await graph.aget_state(config)).values:
        return messages[-1:], ""
    return messages, run.summary


def _drawn(mode: str, part: Any, drawing: RunDrawing) -> list[Interrupt]:
    """Draw a part of the graph's stream; return the interrupts in it."""
    if mode == "messages":
        message, _metadata = part
        if not isinstance(message, SystemMessage):
            drawing.message(message)
        return []
    if mode == "custom":
        drawing.step(part)
        return []
    found: list[Interrupt] = []
    for node, update in part.items():
        if node == INTERRUPTED:
            found += update
        elif isinstance(update, Mapping):
            messages = update.get("messages")
            drawing.steps(messages if isinstance(messages, list) else [messages])
    return found


async def _ask(run: Run, interrupt: Interrupt) -> Any:
    """Ask the run's user what a graph's interrupt asks, and return what it is resumed with.

    The forms: `action_requests` of LangChain's human-in-the-loop middleware, each a card; a mapping
    with a `question`, which the user answers with a text; everything else is approved (True) or
    denied (False).
    """
    value = interrupt.value
    if isinstance(value, Mapping) and isinstance(value.get("action_requests"), list):
        requests = value["action_requests"]
        return {"decisions": [await _decide(run, request) for request in requests]}
    if isinstance(value, Mapping) and isinstance(value.get(QUESTION), str):
        return await run.ask(value[QUESTION])
    arguments = dict(value) if isinstance(value, Mapping) else {"value": str(value)}
    decision = await run.approve(APPROVAL, arguments)
    return decision.answer == "approved"


async def _decide(run: Run, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's decision about one call, as LangChain's middleware takes it."""
    name, arguments = str(request.get("name", "tool")), dict(request.get("args") or {})
    decision: Decision = await run.approve(name, arguments)
    if decision.answer != "approved":
        return {"type": "reject", "message": "The user denied this call."}
    if dict(decision.arguments) == arguments:
        return {"type": "approve"}
    edited = {"name": name, "args": dict(decision.arguments)}
    return {"type": "edit", "edited_action": edited}

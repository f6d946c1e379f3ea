"""What is personal in one run of the shared graph, and the middleware that brings it in."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.tools import ToolException
from langgraph.prebuilt.tool_node import ToolCallRequest

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import ToolFinished, ToolStarted
from cmw_agent.llm.chat_model import NO_FIELDS, Fields, ToolSchema, complete
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.tools.approvals import ApprovalGate
from cmw_agent.tools.toolset import Toolset

MAX_RESULT = 20_000  # characters of a tool's result that the model and the page get
DENIED = "The user denied this call. Do not try it again unless they ask for it."
EXPIRED = "The user did not approve this call in time, so it was not made."


@dataclass(frozen=True, slots=True)
class RunContext:
    """What is personal in one run.

    `first` holds the model's first message where the run has it already; without a `gate`
    connected tools that change something do not run. `call_ids` holds the ids that events have
    used, each with the number that its last repetition got.
    """

    owner: str
    model: BaseChatModel = field(repr=False)
    system_message: SystemMessage = field(repr=False)
    voice: RunEvents = field(repr=False)
    fields: Fields = field(default_factory=lambda: NO_FIELDS, repr=False)
    box: Toolset | None = field(default=None, repr=False)
    gate: ApprovalGate | None = field(default=None, repr=False)
    first: list[AIMessage] = field(default_factory=list, repr=False)
    call_ids: dict[str, int] = field(default_factory=dict, repr=False)

    def named(self, call_id: str) -> str:
        """Return what events call a call: another id where the endpoint has used its id before."""
        name, number = call_id, self.call_ids.get(call_id, 1)
        while name in self.call_ids:
            number += 1
            name = f"{call_id}~{number}"
        self.call_ids[call_id] = number
        self.call_ids.setdefault(name, 1)
        return name


class MissingContextError(Exception):
    """The graph was run without a `RunContext`: a defect, never a user's doing."""


class PersonalRun(AgentMiddleware[Any, RunContext, Any]):
    """Puts the run's own model, instructions and tools in, and reports its tool calls."""

    async def awrap_model_call(
        self,
        request: ModelRequest[RunContext],
        handler: Callable[[ModelRequest[RunContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Call the model of the run's owner; its text goes to the run's own listener."""
        context = context_of(request.runtime)
        if context.first:
            return ModelResponse(result=[context.first.pop()])
        tools = offered(request.tools, context.box)
        messages = [context.system_message, *request.messages]
        message = await complete(context.model, messages, tools, context.voice, context.fields)
        return ModelResponse(result=[message])

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[Any]],
    ) -> Any:
        """Run a tool; a failure becomes its result, so that the model can react to it."""
        context = context_of(request.runtime)
        call = request.tool_call
        call_id, name = context.named(call["id"] or ""), call["name"]
        context.voice.emit(ToolStarted(call_id, name, dict(call["args"])))
        started = time.perf_counter()
        box = context.box
        if request.tool is None and box is not None and name in box.names:
            message, link = await _connected(context, box, call, call_id)
        else:
            message, link = await _built_in(request, handler), None
        seconds = time.perf_counter() - started
        if isinstance(message, ToolMessage):
            ok = message.status != "error"
            text = str(message.text)
            context.voice.emit(ToolFinished(call_id, name, text, ok, seconds, link))
        return message


def offered(tools: Sequence[Any], box: Toolset | None) -> list[ToolSchema]:
    """Return what the model may call: the tools of all and those of the run's user."""
    return [*tools, *(box.schemas if box is not None else ())]


def context_of(runtime: Any) -> RunContext:
    """Return the run's context.

    Raises:
        MissingContextError: There is none.
    """
    context = runtime.context
    if not isinstance(context, RunContext):
        raise MissingContextError
    return context


async def _connected(
    context: RunContext, box: Toolset, call: ToolCall, shown_id: str
) -> tuple[ToolMessage, str | None]:
    call_id, name = call["id"] or "", call["name"]
    arguments: Mapping[str, Any] = dict(call["args"])
    changes, gate = box.changes(name), context.gate
    if gate is None and changes:
        return _error(call_id, name, DENIED), None
    if gate is not None and gate.needed(name, changes=changes):
        try:
            decision = await gate.ask(shown_id, name, arguments, context.voice.emit)
        except UserError as error:
            return _error(call_id, name, error.sentence), None
        arguments = decision.arguments
        if decision.answer != "approved":
            return _error(call_id, name, DENIED if decision.answer == "denied" else EXPIRED), None
    try:
        used = await box.use(name, arguments)
    except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
        return _failed(call_id, name, error), None
    status = "success" if used.ok else "error"
    text = _cut(used.text)
    return ToolMessage(text, name=name, tool_call_id=call_id, status=status), used.link


async def _built_in(
    request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
) -> Any:
    call = request.tool_call
    try:
        message = await handler(request)
    except ToolException as error:
        return _error(call["id"] or "", call["name"], str(error))
    except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
        return _failed(call["id"] or "", call["name"], error)
    if isinstance(message, ToolMessage) and len(str(message.text)) > MAX_RESULT:
        message.content = _cut(str(message.text))
    return message


def _cut(text: str) -> str:
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " […cut]"


def _failed(call_id: str, name: str, error: Exception) -> ToolMessage:
    return _error(call_id, name, f"The tool {name} failed ({type(error).__name__}).")


def _error(call_id: str, name: str, text: str) -> ToolMessage:
    return ToolMessage(content=text, name=name, tool_call_id=call_id, status="error")

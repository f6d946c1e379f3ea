"""The tool loop: asks a run's model, runs the tools that it calls, and asks again with their results."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, ToolException
from pydantic import ValidationError

from cmw_agent.core.errors import ModelFailedError, UserError
from cmw_agent.core.events import FinishReason, ToolFinished, ToolStarted
from cmw_agent.llm.chat_model import (
    ChatModel,
    HistoryMessage,
    complete,
    complete_history,
)
from cmw_agent.llm.message_end import finish_reason_of
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.tools.approvals import ApprovalGate
from cmw_agent.tools.argument_checks import ArgumentChecker
from cmw_agent.tools.builtin import BUILT_IN
from cmw_agent.tools.toolset import Toolset

MODEL_CALLS, TOOL_CALLS = 12, 25  # of one run
MAX_RESULT = 20_000  # characters of a tool's result that the model and the page get
MAX_QUOTED = 1_000  # characters of malformed arguments that the model is shown
DENIED = "The user denied this call. Do not try it again unless they ask for it."
EXPIRED = "The user did not approve this call in time, so it was not made."
TOO_MANY_STEPS = (
    "The model called tools again and again without an answer; please ask in another way."
)
NO_MORE_CALLS = "Tool call limit exceeded. Do not make additional tool calls."


@dataclass(frozen=True, slots=True)
class RunContext:
    """What is personal in one run.

    Args:
        owner: Id of the principal that the run works for.
        model: The chat model.
        instructions: The system prompt.
        events: Takes the run's events.
        toolset: The owner's connected tools.
        gate: Asks the owner before a call that may change something outside; without one such
            calls are denied.
        call_ids: The ids that events have used, each with the number of its last repetition.

    Raises:
        ValueError: The owner is empty.
    """

    owner: str
    model: ChatModel = field(repr=False)
    instructions: str = field(repr=False)
    events: RunEvents = field(repr=False)
    toolset: Toolset | None = field(default=None, repr=False)
    gate: ApprovalGate | None = field(default=None, repr=False)
    call_ids: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.owner:
            raise ValueError("a run needs an owner")

    def event_id(self, call_id: str) -> str:
        """Return the id of a call in events: another one where the endpoint repeats its id."""
        name, number = call_id, self.call_ids.get(call_id, 1)
        while name in self.call_ids:
            number += 1
            name = f"{call_id}~{number}"
        self.call_ids[call_id] = number
        self.call_ids.setdefault(name, 1)
        return name


class ToolLoop:
    """Answers with a run's own model and tools; all sessions share it, and it holds nothing of anybody.

    Args:
        tools: Tools that every run has. A tool finds its `RunContext` in its `RunnableConfig`, as
            ``config["configurable"]["context"]``.
        model_calls: Calls of the model in one run, at most.
        tool_calls: Tool calls in one run, at most.
    """

    def __init__(
        self,
        tools: Sequence[BaseTool] = BUILT_IN,
        *,
        model_calls: int = MODEL_CALLS,
        tool_calls: int = TOOL_CALLS,
    ) -> None:
        self.tools = tuple(tools)
        self._by_name = {tool.name: tool for tool in tools}
        self._model_calls = model_calls
        self._tool_calls = tool_calls
        self._checker = ArgumentChecker()

    async def run(self, context: RunContext, history: Sequence[HistoryMessage]) -> FinishReason:
        """Answer the last message of `history`; the answer reaches the run's events.

        Returns:
            How the answer's last message ended.

        Raises:
            ModelFailedError: The model gave no answer, or has used up its calls and asks for
                tools still.
            UpstreamError: The model's server failed. Other models raise their own errors.
        """
        model, events = context.model, context.events
        own = context.toolset.schemas if context.toolset is not None else ()
        tools = [*self.tools, *own]
        answer = await complete_history(model, context.instructions, history, tools, events)
        if not _asks_for_tools(answer):
            return finish_reason_of(answer)
        messages: list[BaseMessage] = [SystemMessage(context.instructions)]
        messages += [exchange.message() for exchange in history]
        model_calls, tool_calls = 1, 0
        while _asks_for_tools(answer):
            room = max(0, self._tool_calls - tool_calls)
            tool_calls += len(answer.tool_calls)
            messages += [answer, *_malformed(answer)]
            messages += [_error(call, NO_MORE_CALLS) for call in answer.tool_calls[room:]]
            messages += await self._call_tools(context, answer.tool_calls[:room])
            if model_calls >= self._model_calls:
                raise ModelFailedError(TOO_MANY_STEPS, kind="too_many_steps")
            answer = await complete(model, messages, tools, events)
            model_calls += 1
        return finish_reason_of(answer)

    async def _call_tools(
        self, context: RunContext, calls: Sequence[ToolCall]
    ) -> list[ToolMessage]:
        """Run calls at once; return their results in the calls' order."""
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self.call_tool(context, call)) for call in calls]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # whoever ran the turn knows it by its type
        return [task.result() for task in running]

    async def call_tool(self, context: RunContext, call: ToolCall) -> ToolMessage:
        """Run one call and report it; a failure is its result, so that the model can react to it."""
        name, event_id = call["name"], context.event_id(call["id"] or "")
        context.events.emit(ToolStarted(event_id, name, dict(call["args"])))
        started = time.perf_counter()
        tool, toolset, link = self._by_name.get(name), context.toolset, None
        if tool is not None:
            message = await _call_shared(context, tool, call)
        elif toolset is not None and name in toolset.names:
            faults = await self._checker.faults(_parameters(toolset, name), call["args"])
            if faults:
                message = _error(call, _wrong(call, faults))
            else:
                message, link = await _call_connected(context, toolset, call, event_id)
        else:
            known = ", ".join(self._by_name)
            message = _error(call, f"Error: {name} is not a valid tool, try one of [{known}].")
        seconds = time.perf_counter() - started
        ok = message.status != "error"
        context.events.emit(ToolFinished(event_id, name, str(message.text), ok, seconds, link))
        return message


async def _call_shared(context: RunContext, tool: BaseTool, call: ToolCall) -> ToolMessage:
    try:
        message = await tool.ainvoke(
            {**call, "type": "tool_call"}, {"configurable": {"context": context}}
        )
    except ValidationError as error:
        return _error(call, _wrong_arguments(call, error))
    except ToolException as error:
        return _error(call, str(error))
    except Exception as error:  # noqa: BLE001 (its type becomes the call's result)
        return _failed(call, error)
    if not isinstance(message, ToolMessage):  # the tool made something of its own of it
        return _failed(call, TypeError())
    text = str(message.text)
    if len(text) > MAX_RESULT:
        message.content = _cut(text)
    return message


async def _call_connected(
    context: RunContext, toolset: Toolset, call: ToolCall, event_id: str
) -> tuple[ToolMessage, str | None]:
    """Return a connected tool's result, and the link that its user is to be shown."""
    name, gate = call["name"], context.gate
    arguments: Mapping[str, Any] = dict(call["args"])
    changes = toolset.changes(name)
    if gate is None and changes:
        return _error(call, DENIED), None
    if gate is not None and gate.needed(name, changes=changes):
        try:
            decision = await gate.ask(event_id, name, arguments, context.events.emit)
        except UserError as error:
            return _error(call, error.sentence), None
        arguments = decision.arguments
        if decision.answer != "approved":
            return _error(call, DENIED if decision.answer == "denied" else EXPIRED), None
    try:
        result = await toolset.use(name, arguments)
    except Exception as error:  # noqa: BLE001 (its type becomes the call's result)
        return _failed(call, error), None
    status = "success" if result.ok else "error"
    text = _cut(result.text)
    message = ToolMessage(text, name=name, tool_call_id=call["id"] or "", status=status)
    return message, result.link


def _asks_for_tools(answer: AIMessage) -> bool:
    """Return whether a message needs another one: it has calls, be they valid or not."""
    return bool(answer.tool_calls or answer.invalid_tool_calls)


def _parameters(toolset: Toolset, name: str) -> Any:
    """Return the JSON schema of a connected tool's arguments; None where there is none."""
    schemas = (schema.get("function") for schema in toolset.schemas)
    functions = (item for item in schemas if isinstance(item, Mapping))
    return next((item.get("parameters") for item in functions if item.get("name") == name), None)


def _wrong_arguments(call: ToolCall, error: ValidationError) -> str:
    """Return the model's error text for arguments that do not fit, without the library's own text."""
    faults = (
        ".".join(map(str, fault["loc"])) + ": " + fault["msg"]
        for fault in error.errors()
        if fault["loc"]
    )
    return _wrong(call, "\n".join(faults))


def _wrong(call: ToolCall, faults: str) -> str:
    return (
        f"Error invoking tool '{call['name']}' with kwargs {call['args']} with error:\n"
        f" {faults}\n Please fix the error and try again."
    )


def _malformed(answer: AIMessage) -> list[ToolMessage]:
    """Return results for calls that cannot be run as they are: each call needs a result."""
    return [
        ToolMessage(
            f"Tool call {call['name'] or 'unknown'} with id {call['id']} could not be executed - "
            f"{call['error'] or 'its arguments were malformed or truncated'}. "
            f"Its arguments were: {_quoted(call['args'])} Please fix the call and try again.",
            name=call["name"] or "unknown",
            tool_call_id=call["id"] or "",
            status="error",
        )
        for call in answer.invalid_tool_calls
    ]


def _quoted(arguments: str | None) -> str:
    text = arguments or "(none)"
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + " […cut]"


def _failed(call: ToolCall, error: Exception) -> ToolMessage:
    return _error(call, f"The tool {call['name']} failed ({type(error).__name__}).")


def _error(call: ToolCall, text: str) -> ToolMessage:
    return ToolMessage(_cut(text), name=call["name"], tool_call_id=call["id"] or "", status="error")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " […cut]"

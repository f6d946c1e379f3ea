"""The tool loop: asks a run's model, runs the tools that it calls, and asks again with their results."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from cmw_agent.agent.client_tools import ClientTools
from cmw_agent.agent.progress import ToolProgress
from cmw_agent.agent.questions import RunQuestions
from cmw_agent.core.errors import ModelFailedError, UserError
from cmw_agent.core.events import ClientToolsCalled, FinishReason, ToolFinished, ToolStarted
from cmw_agent.language import wording
from cmw_agent.llm.chat_model import (
    ChatModel,
    HistoryMessage,
    complete,
    complete_history,
)
from cmw_agent.llm.message_end import finish_reason_of
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.recording.tape import RunTape
from cmw_agent.tools.approvals import ApprovalGate
from cmw_agent.tools.argument_checks import ArgumentChecker
from cmw_agent.tools.builtin import BUILT_IN
from cmw_agent.tools.search import named_call
from cmw_agent.tools.toolset import ToolResult, Toolset

MODEL_CALLS, TOOL_CALLS = 12, 25  # of one run
MAX_RESULT = 20_000  # characters of a tool's result that the model and the page get
MAX_QUOTED = 1_000  # characters of malformed arguments that the model is shown
DENIED = "The user denied this call. Do not try it again unless they ask for it."
EXPIRED = "The user did not approve this call in time, so it was not made."
TOO_MANY_STEPS = wording(
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
        client_tools: Tools that the caller runs itself.
        conversation_id: The conversation; None where nothing is stored.
        request_id: Names the request in the logs.
        summary: Summary of what was said before the history; empty without one.
        call_ids: The ids that events have used, each with the number of its last repetition.
        tape: Takes what the run is given, sends and gets; None where nothing is recorded.

    Raises:
        ValueError: The owner is empty.
    """

    owner: str
    model: ChatModel = field(repr=False)
    instructions: str = field(repr=False)
    events: RunEvents = field(repr=False)
    toolset: Toolset | None = field(default=None, repr=False)
    gate: ApprovalGate | None = field(default=None, repr=False)
    client_tools: ClientTools = field(default_factory=ClientTools, repr=False)
    conversation_id: str | None = None
    request_id: str = "-"
    summary: str = field(default="", repr=False)
    call_ids: dict[str, int] = field(default_factory=dict, repr=False)
    tape: RunTape | None = field(default=None, repr=False)

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


class AgentRunner(Protocol):
    """Answers the last message of a conversation."""

    async def run(self, context: RunContext, history: Sequence[HistoryMessage]) -> FinishReason:
        """Answer; the answer reaches the run's events."""


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

        An answer that calls tools of the caller's ends the run, and none of its calls is run here.

        Returns:
            How the answer's last message ended.

        Raises:
            ModelFailedError: The model gave no answer, or has used up its calls and asks for
                tools still.
            UpstreamError: The model's server failed. Other models raise their own errors.
        """
        model, events = context.model, context.events
        tools = self._offered(context)
        if context.tape is not None:
            context.tape.given(
                context.instructions, context.summary, history, list(map(_schema, tools))
            )
        answer = await complete_history(model, context.instructions, history, tools, events)
        if not _asks_for_tools(answer):
            return finish_reason_of(answer)  # most answers: no message need be made for LangChain
        messages: list[BaseMessage] = [SystemMessage(context.instructions)]
        messages += [exchange.message() for exchange in history]
        model_calls, tool_calls = 1, 0
        while _asks_for_tools(answer):
            if returned := context.client_tools.calls_in(answer):
                events.emit(ClientToolsCalled(returned))
                break
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

    def _offered(self, context: RunContext) -> list[Any]:
        toolset = context.toolset
        own: list[Any] = [*self.tools, *(toolset.schemas if toolset is not None else ())]
        if not context.client_tools.schemas:
            return own
        names = [*self._by_name, *(toolset.names if toolset is not None else ())]
        return context.client_tools.offered(own, names)

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
        call = named_call(call, context.toolset)
        name, event_id = call["name"], context.event_id(call["id"] or "")
        context.events.emit(ToolStarted(event_id, name, dict(call["args"])))
        if context.tape is not None:
            context.tape.tool_started(event_id, name, call["args"])
        started = time.perf_counter()
        message, result = await self._result(context, call, event_id)
        seconds = time.perf_counter() - started
        ok = message.status != "error"
        link, account = (result.link, result.account) if result is not None else (None, None)
        if context.tape is not None:
            context.tape.tool_finished(event_id, str(message.text), ok=ok, link=link)
        context.events.emit(
            ToolFinished(event_id, name, str(message.text), ok, seconds, link, account)
        )
        return message

    async def _result(
        self, context: RunContext, call: ToolCall, event_id: str
    ) -> tuple[ToolMessage, ToolResult | None]:
        """Return the message for the model, and the result of the connected tool, if one ran."""
        name, toolset = call["name"], context.toolset
        if (tool := self._by_name.get(name)) is not None:
            return await _call_shared(context, tool, call), None
        if toolset is None or name not in toolset.names:
            known = ", ".join((*self._by_name, *context.client_tools.names))
            unknown = f"Error: {name} is not a valid tool, try one of [{known}]."
            return _error(call, unknown), None
        faults = await self._checker.faults(toolset.parameters(name), call["args"])
        if faults:
            return _error(call, _wrong(call, faults)), None
        return await _call_connected(context, toolset, call, event_id)


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
        message.content = cut_result(text)
    return message


async def _call_connected(
    context: RunContext, toolset: Toolset, call: ToolCall, event_id: str
) -> tuple[ToolMessage, ToolResult | None]:
    """Return the message for the model, and the tool's own result; None where it did not run."""
    name, gate = call["name"], context.gate
    arguments: Mapping[str, Any] = dict(call["args"])
    account = None
    changes = toolset.changes(name)
    if gate is None and changes:
        return _error(call, DENIED), None
    if gate is not None and gate.needed(name, changes=changes):
        account = await toolset.account(name)
        try:
            decision = await gate.ask(event_id, name, arguments, context.events.emit, account)
        except UserError as error:
            return _error(call, error.sentence), None
        arguments = decision.arguments
        if decision.answer != "approved":
            return _error(call, DENIED if decision.answer == "denied" else EXPIRED), None
    progress = ToolProgress(event_id, name, context.events.emit)
    questions = RunQuestions(context.gate, context.events)
    try:
        result = await toolset.use(name, arguments, questions, progress.report, account)
    except Exception as error:  # noqa: BLE001 (its type becomes the call's result)
        return _failed(call, error), None
    finally:
        progress.close()
    status = "success" if result.ok else "error"
    text = cut_result(result.text)
    message = ToolMessage(text, name=name, tool_call_id=call["id"] or "", status=status)
    return message, result


def _schema(tool: BaseTool | dict[str, Any]) -> dict[str, Any]:
    return tool if isinstance(tool, dict) else convert_to_openai_tool(tool)


def _asks_for_tools(answer: AIMessage) -> bool:
    """Return whether a message needs another one: it has calls, be they valid or not."""
    return bool(answer.tool_calls or answer.invalid_tool_calls)


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
    return ToolMessage(
        cut_result(text), name=call["name"], tool_call_id=call["id"] or "", status="error"
    )


def cut_result(text: str) -> str:
    """Return a tool's result as the model and the page get it: longer text is cut, with a mark."""
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " […cut]"

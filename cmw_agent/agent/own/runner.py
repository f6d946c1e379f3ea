"""Runs what answers in place of the built-in loop: a graph, a runnable or a function."""

import asyncio
import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from cmw_agent.agent.own.events import NO_ANSWER, RunDrawing
from cmw_agent.agent.own.inputs import InputForm
from cmw_agent.agent.own.run import Run
from cmw_agent.agent.tool_loop import RunContext
from cmw_agent.core.errors import ModelFailedError, StartupError, UserError
from cmw_agent.core.events import FinishReason
from cmw_agent.language import wording
from cmw_agent.llm.chat_model import HistoryMessage

FAILED = wording("The agent failed; please try again.")
PAUSE_AFTER = 32  # values, after which others of the loop have their turn
MODEL_CLIENTS = ("openai", "httpx", "httpcore", "aiohttp")


class OwnRunner(ABC):
    """Has an agent of the operator's answer; holds nothing of anybody."""

    @property
    def keeps_threads(self) -> bool:
        """Whether the agent remembers conversations by itself, each under its thread's id."""
        return False

    @property
    def keeps_threads_elsewhere(self) -> bool:
        """Whether other processes that load the agent reach what it remembers."""
        return False

    async def forget(self, thread_id: str) -> None:
        """Delete what the agent remembers of a conversation.

        Raises:
            Exception: As the agent's own memory raises it.
        """
        del thread_id  # most remember nothing

    async def run(self, context: RunContext, history: Sequence[HistoryMessage]) -> FinishReason:
        """Answer the last message of `history`.

        Raises:
            ModelFailedError: The agent failed, gave nothing, or more than an answer may hold.
            Exception: As a model's client raises it.
        """
        drawing = RunDrawing(context.events)
        messages: list[BaseMessage] = [exchange.message() for exchange in history]
        if context.tape is not None:
            context.tape.given(context.instructions, context.summary, history, ())
        try:
            async with contextlib.aclosing(
                self._values(Run.of(context), messages, drawing)
            ) as all_:
                number = 0
                async for value in all_:
                    if value is not None:
                        drawing.add(value)
                    number += 1
                    if number % PAUSE_AFTER == 0:
                        await asyncio.sleep(0)
        except UserError:
            raise
        except Exception as error:
            if type(error).__module__.partition(".")[0] in MODEL_CLIENTS:
                raise
            raise ModelFailedError(FAILED, kind="agent_failed") from error
        if not drawing.has_text:
            raise ModelFailedError(NO_ANSWER, kind="agent_silent")
        return drawing.finish

    @abstractmethod
    def _values(
        self, run: Run, messages: list[BaseMessage], drawing: RunDrawing
    ) -> AsyncGenerator[object]:
        """Yield what the agent streams, and None for what `drawing` has got already."""


class FunctionRunner(OwnRunner):
    """Runs an async function ``answer(messages, run)``.

    Args:
        function: Yields text and events, or returns the text.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def _values(
        self, run: Run, messages: list[BaseMessage], drawing: RunDrawing
    ) -> AsyncGenerator[object]:
        result = self._function(messages, run)
        if inspect.isawaitable(result):
            result = await result
        if not hasattr(result, "__aiter__"):
            yield "" if result is None else result
            return
        async for value in result:
            yield "" if value is None else value


class RunnableRunner(OwnRunner):
    """Runs a LangChain runnable that is no graph.

    Args:
        runnable: Streams text, messages, or mappings with the answer.
        form: What it takes.
    """

    def __init__(self, runnable: Runnable[Any, Any], form: InputForm) -> None:
        self._runnable = runnable
        self._form = form

    async def _values(
        self, run: Run, messages: list[BaseMessage], drawing: RunDrawing
    ) -> AsyncGenerator[object]:
        given = self._form.of(messages, run.summary)
        async for value in self._runnable.astream(given, run.config):
            answer = self._form.answer(value)
            if answer is not None:
                yield answer


def runner_of(value: object, subject: str) -> OwnRunner:
    """Return what runs `value`.

    Args:
        value: A compiled graph, another runnable, or an async function.
        subject: Names the agent in errors.

    Raises:
        StartupError: It is none of these.
    """
    if isinstance(value, Runnable):
        form = InputForm.of_runnable(value, subject)
        if hasattr(value, "aget_state"):
            # LangGraph takes a tenth of a second, which an app without a graph saves.
            from cmw_agent.agent.own.graph import GraphRunner  # noqa: PLC0415

            return GraphRunner(value, form)
        return RunnableRunner(value, form)
    if hasattr(value, "compile") and hasattr(value, "add_node"):
        raise StartupError(f"{subject}: the graph is not compiled; give what .compile() returns")
    if inspect.isasyncgenfunction(value) or inspect.iscoroutinefunction(value):
        return FunctionRunner(value)
    call = getattr(value, "__call__", None)  # noqa: B004 (an object with an async method)
    if inspect.isasyncgenfunction(call) or inspect.iscoroutinefunction(call):
        return FunctionRunner(call)
    raise StartupError(
        f"{subject}: its graph must be a compiled graph, a LangChain runnable or an async "
        f"function, not {type(value).__name__}"
    )

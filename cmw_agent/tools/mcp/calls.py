"""One call of an MCP server: its time-out, which pauses during questions to the user, and the questions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    ElicitRequest,
    ElicitRequestParams,
    ElicitResult,
    InputRequiredResult,
    InputResponses,
)

from cmw_agent.core.events import ToolAccount
from cmw_agent.language import Language
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.mcp.elicitation import elicited
from cmw_agent.tools.toolset import ProgressSink

MAX_ROUNDS = 10  # of questions in one call
PAUSE_SECONDS = 0.1  # before the request is repeated to a server that only wants time
Answer = TypeVar("Answer")
Send = Callable[[InputResponses | None, str | None], Awaitable[Answer | InputRequiredResult]]


class TooManyRoundsError(Exception):
    """A server asks again and again."""


class McpCall:
    """A call that runs.

    Args:
        server: The server's name.
        seconds: How long the server may take.
        conversation: In which the call runs; None where nothing is stored.
        questions: Asks the call's user; None where nobody can be asked.
        language: The user's.
        progress: Takes what the server reports of the call; None where nobody reads it.
    """

    def __init__(
        self,
        server: str,
        seconds: float,
        conversation: str | None,
        questions: UserQuestions | None,
        language: Language,
        progress: ProgressSink | None = None,
    ) -> None:
        self.conversation: object = conversation or object()  # what is not stored is like no other
        self._server = server
        self._questions = questions
        self._language = language
        self._progress = progress
        self.clock = asyncio.timeout(seconds)
        self.account: ToolAccount | None = None  # the session in which it runs
        self._asking = asyncio.Lock()

    async def elicit(self, params: ElicitRequestParams) -> ElicitResult:
        """Ask the user what the server wants to know; the clock stands meanwhile."""
        if self._questions is None:
            return ElicitResult(action="decline")
        async with self._asking:  # one question after the other
            loop, end = asyncio.get_running_loop(), self.clock.when()
            left = max(0.0, end - loop.time()) if end is not None else None
            self.clock.reschedule(None)
            try:
                return await elicited(self._server, params, self._questions, self._language)
            finally:
                if left is not None and not self.clock.expired():
                    self.clock.reschedule(loop.time() + left)

    @property
    def reports(self) -> ProgressFnT | None:
        """Takes the server's notifications of progress; without it none are asked for."""
        return self._reported if self._progress is not None else None

    async def _reported(self, progress: float, total: float | None, message: str | None) -> None:
        if self._progress is not None:
            self._progress(progress, total, message)

    async def settled(self, send: Send[Answer]) -> Answer:
        """Send a request, and again with the user's answers, until the server has all it needs.

        Args:
            send: Sends the request, with answers and the state that the server gave.

        Raises:
            TooManyRoundsError: The server asks again and again.
        """
        result = await send(None, None)
        for _ in range(MAX_ROUNDS):
            if not isinstance(result, InputRequiredResult):
                return result
            answers: InputResponses = {}
            for key, request in (result.input_requests or {}).items():
                if not isinstance(request, ElicitRequest):
                    raise TooManyRoundsError  # the app has declared no other
                answers[key] = await self.elicit(request.params)
            if not answers:
                await asyncio.sleep(PAUSE_SECONDS)
            result = await send(answers or None, result.request_state)
        raise TooManyRoundsError

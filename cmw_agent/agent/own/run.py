"""What an agent of the operator's gets of a run, and how it asks the run's user."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig

from cmw_agent.agent.own.tapes import TapeHandler
from cmw_agent.agent.questions import RunQuestions
from cmw_agent.agent.tool_loop import RunContext
from cmw_agent.tools.approvals import Decision


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an agent, for one user.

    Attributes:
        owner: Id of the principal that the run works for.
        conversation_id: The conversation; None where nothing is stored.
        request_id: Names the request in the logs.
        thread_id: Names the conversation and its owner together; a new one for each run where
            nothing is stored.
        summary: Summary of what was said before the messages; empty without one.
    """

    owner: str
    conversation_id: str | None
    request_id: str
    thread_id: str
    summary: str = ""
    _context: RunContext | None = field(default=None, repr=False)

    @classmethod
    def of(cls, context: RunContext) -> "Run":
        """Return the run of a context."""
        return cls(
            context.owner,
            context.conversation_id,
            context.request_id,
            thread_id(context.owner, context.conversation_id),
            context.summary,
            context,
        )

    @property
    def config(self) -> RunnableConfig:
        """The configuration with which the agent calls LangChain's runnables, its models above all."""
        config: RunnableConfig = {"configurable": self.fields}
        if self._context is not None and self._context.tape is not None:
            config["callbacks"] = [TapeHandler(self._context.tape)]
        return config

    @property
    def fields(self) -> dict[str, Any]:
        """What identifies the run, for a graph's configuration and run context."""
        return {
            "owner": self.owner,
            "conversation_id": self.conversation_id,
            "request_id": self.request_id,
            "thread_id": self.thread_id,
        }

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> Decision:
        """Ask the user whether something may be done, and return the decision.

        Where nobody can be asked, it is a denial.

        Args:
            name: What is to be done, as a tool's name.
            arguments: With which arguments; the user may edit them.

        Raises:
            UserError: Too many questions wait.
        """
        if self._context is None:
            return Decision("denied", dict(arguments))
        questions = RunQuestions(self._context.gate, self._context.events)
        return await questions.approve(name, arguments)

    async def ask(self, question: str) -> str | None:
        """Ask the user a question and return the answer; None where they gave none."""
        if self._context is None:
            return None
        return await RunQuestions(self._context.gate, self._context.events).ask(question)


def thread_id(owner: str, conversation_id: str | None) -> str:
    """Return a name for a conversation that depends on its owner too.

    Two owners' conversations never share it, whatever their ids are. Without a conversation it is
    a new one each time.
    """
    if conversation_id is None:
        return secrets.token_hex(16)
    return hashlib.sha256(f"{owner}\0{conversation_id}".encode()).hexdigest()[:32]

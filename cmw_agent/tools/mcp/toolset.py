"""Toolset of MCP servers' tools, bound to one user."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cmw_agent.core.events import ToolAccount
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.language import Language
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.mcp.listing import McpTool
from cmw_agent.tools.toolset import NamedTools, ProgressSink, ToolResult

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.sessions import McpSessions


class McpToolset(NamedTools):
    """The tools of MCP servers in one run, bound to the run's owner.

    Args:
        sessions: The sessions of all owners.
        owner: Id of the principal that the run works for.
        tools: The tools that the run may use.
        conversation: The run's conversation; None where nothing is stored.
        language: The owner's.

    Raises:
        ValueError: The owner is empty.
    """

    __slots__ = ("_conversation", "_language", "_owner", "_sessions", "_tools")

    def __init__(
        self,
        sessions: "McpSessions",
        owner: str,
        tools: Sequence[McpTool],
        conversation: str | None,
        language: Language,
    ) -> None:
        if not owner:
            raise ValueError("tools need an owner")
        self._tools = {tool.name: tool for tool in tools}
        super().__init__(self._tools)
        self._sessions = sessions
        self._owner = owner
        self._conversation = conversation
        self._language = language

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's owner, once.

        Raises:
            KeyError: There is no such tool.
        """
        tool = self._tools[name]
        # A call must not run with other arguments than those that the user was shown.
        if sanitize_json(dict(arguments)) != arguments:
            return ToolResult(f"{name} was not run: its arguments cannot be sent.", ok=False)
        return await self._sessions.use(
            self._owner,
            tool,
            arguments,
            conversation=self._conversation,
            questions=questions,
            language=self._language,
            progress=progress,
        )

"""Toolset of connected tools: schemas shared by all users, bound to one user."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import ToolAccount
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.composio.catalog import ConnectedTool
from cmw_agent.tools.composio.connecting import ConnectionOrigin, ConnectionService
from cmw_agent.tools.composio.tool_calls import NotConnectedError, ToolOutcome
from cmw_agent.tools.toolset import ProgressSink, ToolResult, parameters_in

CONNECT = "connect_account"
NO_COOKIE = (
    "Your browser keeps no cookie here, so no account can be connected; please open the chat in "
    "a tab of its own."
)
NOT_HERE = "Nothing was done: the user has not connected this app. Tell them to write"
NO_CONNECTIONS = f"Nothing was done. Tell the user: {NO_COOKIE}"


class ComposioToolset:
    """The connected tools of one run, bound to one principal.

    Args:
        connecting: Connected accounts of all users.
        principal: Owner of the accounts; an ephemeral principal has none.
        tools: The tools that the run may use.
        toolkits: Slugs of the toolkits that the user may connect.
        origin: Where the user reads the answer; None if no link can be shown there.
        connected: The toolkits that the user has connected. Tools of others are not shown to the
            model; those that need no account are.
    """

    def __init__(
        self,
        connecting: ConnectionService,
        principal: Principal,
        tools: Sequence[ConnectedTool],
        toolkits: Sequence[str],
        origin: ConnectionOrigin | None,
        connected: Collection[str],
    ) -> None:
        self._connecting = connecting
        self._principal = principal
        self._toolkits = tuple(toolkits)
        self._tools = {tool.name: tool for tool in tools}
        self._shown = [
            tool for tool in tools if tool.toolkit in connected or not tool.needs_account
        ]
        self._origin = origin

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""
        if not self._toolkits:
            return []
        shared: list[Any] = [tool.schema for tool in self._shown]
        return [*shared, _connect_schema(self._toolkits)]

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [*self._tools, CONNECT] if self._toolkits else []

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""
        return (
            parameters_in([tool.schema], name)
            if (tool := self._tools.get(name)) is not None
            else parameters_in(self.schemas, name)
        )

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""
        if name == CONNECT:
            return False  # it only offers a link
        tool = self._tools.get(name)
        return tool is None or tool.changes

    async def account(self, name: str) -> ToolAccount | None:
        """Return the account that a call of a tool would use now, where the user has several."""
        tool = self._tools.get(name)
        if tool is None or not self._principal.is_stored:
            return None
        try:
            used = await self._connecting.account(self._principal, tool)
        except (NotConnectedError, UserError):
            return None  # the call says so itself
        return used.shown if used is not None and used.is_one_of_several else None

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        if not self._principal.is_stored:
            return ToolResult(NO_CONNECTIONS, ok=False)
        if name == CONNECT:
            return await self._offer(str(arguments.get("toolkit") or ""))
        tool, shown = self._tools[name], None
        try:
            used = await self._connecting.account(self._principal, tool, account)
            shown = used.shown if used is not None else None
            outcome: ToolOutcome = await self._connecting.run(
                self._principal, tool, arguments, used
            )
        except NotConnectedError as error:
            return await self._offer(error.toolkit)
        except UserError as error:
            return ToolResult(str(error), ok=False, account=shown)
        return ToolResult(outcome.text, outcome.ok, account=shown)

    async def _offer(self, toolkit: str) -> ToolResult:
        if self._origin is None:
            return ToolResult(f"{NOT_HERE} `/connect {toolkit}`.", ok=False)
        try:
            link = await self._connecting.offer(self._principal, self._origin, toolkit)
        except UserError as error:
            return ToolResult(str(error), ok=False)
        text = (
            f"The user has not connected {toolkit} yet. They are shown a button that connects "
            "it; ask them to use it and to say when they are done."
        )
        return ToolResult(text, ok=False, link=link)


def _connect_schema(toolkits: Sequence[str]) -> dict[str, Any]:
    slugs = json.dumps(list(toolkits))
    return {
        "type": "function",
        "function": {
            "name": CONNECT,
            "description": "Show the user a button with which they connect an account of theirs. "
            f"Use it when they ask to connect one of {slugs}, or when a tool says that it is "
            "not connected.",
            "parameters": {
                "type": "object",
                "properties": {"toolkit": {"type": "string", "enum": list(toolkits)}},
                "required": ["toolkit"],
                "additionalProperties": False,
            },
        },
    }

"""The connected tools of one run: schemas that all users share, and the one user they run for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmw_agent.errors import UserError
from cmw_agent.tools.catalog import ConnectedTool
from cmw_agent.tools.composio import Connections, ConnectionUser, NotConnected, Outcome

CONNECT = "connect_account"
MOST_TOOLS = 100  # of one request; endpoints take 128
NO_COOKIE = (
    "Your browser keeps no cookie here, so no account can be connected; please open the chat in "
    "a tab of its own."
)
NO_CONNECTIONS = f"Nothing was done. Tell the user: {NO_COOKIE}"


@dataclass(frozen=True, slots=True)
class Used:
    """What came of a tool call: text for the model, and a link that the user is to be shown."""

    text: str
    ok: bool
    link: str | None = None


class Toolbox:
    """See the module's text.

    Args:
        connections: The process's client.
        user: Whose accounts the tools use; None for a visitor who can have none.
        tools: Those that the run may use.
        toolkits: Slugs of what may be connected.
        callback_url: Where the browser goes after an account was connected.
    """

    def __init__(
        self,
        connections: Connections,
        user: ConnectionUser | None,
        tools: Sequence[ConnectedTool],
        toolkits: Sequence[str],
        callback_url: str,
    ) -> None:
        self._connections = connections
        self._user = user
        self._toolkits = tuple(toolkits)
        self._tools = {tool.name: tool for tool in tools[: MOST_TOOLS - 1]}
        self._callback_url = callback_url

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """What the model is told of the tools."""
        if not self._toolkits:
            return []
        shared: list[Any] = [tool.schema for tool in self._tools.values()]
        return [*shared, _connect(self._toolkits)]

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [*self._tools, CONNECT] if self._toolkits else []

    def changes(self, name: str) -> bool:
        """Whether a tool may change something outside; True also for one that is not known."""
        if name == CONNECT:
            return False  # it makes a link, which the user may follow or not
        tool = self._tools.get(name)
        return tool is None or tool.changes

    async def use(self, name: str, arguments: Mapping[str, Any]) -> Used:
        """Run a tool for this box's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        if self._user is None:
            return Used(NO_CONNECTIONS, ok=False)
        if name == CONNECT:
            return await self._offer(self._user, str(arguments.get("toolkit") or ""))
        tool = self._tools[name]
        try:
            outcome: Outcome = await self._connections.run(self._user, tool, arguments)
        except NotConnected as error:
            return await self._offer(self._user, error.toolkit)
        return Used(outcome.text, outcome.ok)

    async def _offer(self, user: ConnectionUser, toolkit: str) -> Used:
        try:
            link = await self._connections.link(user, toolkit, self._callback_url)
        except UserError as error:
            return Used(str(error), ok=False)
        told = (
            f"The user has not connected {toolkit} yet. They are shown a button that connects "
            "it; ask them to use it and to say when they are done."
        )
        return Used(told, ok=False, link=link)


def _connect(toolkits: Sequence[str]) -> dict[str, Any]:
    known = json.dumps(list(toolkits))
    return {
        "type": "function",
        "function": {
            "name": CONNECT,
            "description": "Show the user a button with which they connect an account of theirs. "
            f"Use it when they ask to connect one of {known}, or when a tool says that it is "
            "not connected.",
            "parameters": {
                "type": "object",
                "properties": {"toolkit": {"type": "string", "enum": list(toolkits)}},
                "required": ["toolkit"],
                "additionalProperties": False,
            },
        },
    }

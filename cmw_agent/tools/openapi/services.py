"""The services that agents may use, for as long as the process runs."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from cmw_agent.tools.openapi.client import ApiClient, open_api_client
from cmw_agent.tools.openapi.loading import LoadedService
from cmw_agent.tools.openapi.toolset import ApiToolset
from cmw_agent.tools.search import ToolIndex


class ApiServices:
    """Gives agents the operations of the services that they may use; holds no user's data.

    Args:
        services: The services.
        client: Sends their requests.
        seconds: How long a call may take.
    """

    def __init__(
        self, services: Sequence[LoadedService], client: ApiClient, seconds: float
    ) -> None:
        self._services = services
        self._client = client
        self._seconds = seconds

    def indexes(self, agent_id: str) -> list[ToolIndex]:
        """Return what finds the operations that an agent may use."""
        return [one.index for one in self._services_of(agent_id)]

    def toolset(self, agent_id: str, allows: Callable[[str], bool]) -> ApiToolset | None:
        """Return the operations that an agent may use; None where there are none.

        Args:
            agent_id: The agent.
            allows: Whether it may use a tool, by the tool's name.
        """
        tools = [
            tool
            for one in self._services_of(agent_id)
            for tool in one.tools
            if allows(tool.operation.name)
        ]
        return ApiToolset(tools, self._client, self._seconds) if tools else None

    def _services_of(self, agent_id: str) -> list[LoadedService]:
        return [one for one in self._services if one.configured.serves(agent_id)]


@contextlib.asynccontextmanager
async def open_api_services(
    services: Sequence[LoadedService], seconds: float
) -> AsyncIterator[ApiServices]:
    """Open the connections to services for the block.

    Args:
        services: The services.
        seconds: How long a call may take.
    """
    async with open_api_client(one.service for one in services) as client:
        yield ApiServices(services, client, seconds)

"""Toolset of services' operations: the same for all users, and with nobody's account."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from cmw_agent.core.events import ToolAccount
from cmw_agent.core.logs import get_logger
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.openapi.client import ApiClient, ApiService, RedirectedError
from cmw_agent.tools.openapi.operations import ApiOperation
from cmw_agent.tools.openapi.requests import WrongArgumentError, request_of
from cmw_agent.tools.toolset import NamedTools, ProgressSink, ToolResult

log = get_logger(__name__)

REDIRECTED: Final = "The service redirects to another address, which is not followed."


@dataclass(frozen=True, slots=True)
class ApiTool:
    """An operation, and the service that has it.

    Attributes:
        service: The service.
        operation: The operation.
    """

    service: ApiService
    operation: ApiOperation


class ApiToolset(NamedTools):
    """The operations of services that an agent may use; holds no user's data.

    Args:
        tools: The operations.
        client: Sends their requests.
        seconds: How long a call may take.
    """

    __slots__ = ("_client", "_seconds", "_tools")

    def __init__(self, tools: Iterable[ApiTool], client: ApiClient, seconds: float) -> None:
        self._tools = {tool.operation.name: tool for tool in tools}
        super().__init__({name: tool.operation for name, tool in self._tools.items()})
        self._client = client
        self._seconds = seconds

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Call a service, once.

        Raises:
            KeyError: There is no such tool.
        """
        tool = self._tools[name]
        try:
            request = request_of(tool.operation, arguments)
            response = await self._client.send(tool.service, request, self._seconds)
        except WrongArgumentError as error:
            return ToolResult(str(error), ok=False)
        except RedirectedError:
            return ToolResult(REDIRECTED, ok=False)
        except TimeoutError:
            log.warning("service timed out", tool=name, seconds=self._seconds)
            return ToolResult(f"The tool {name} took longer than {self._seconds:g} s.", ok=False)
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            log.warning("service not reached", tool=name, cause=type(error).__name__)
            return ToolResult(
                f"The service {tool.service.name} cannot be reached ({type(error).__name__}).",
                ok=False,
            )
        if response.status >= 400:
            return ToolResult(f"HTTP {response.status}: {response.text}".strip(), ok=False)
        return ToolResult(response.text or f"HTTP {response.status}", ok=True)

"""What MCP servers offer their users beside tools: prompts for the message box, resources to attach."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from mcp import Client
from mcp_types import (
    GetPromptResult,
    PaginatedRequestParams,
    Prompt,
    Resource,
    TextResourceContents,
)

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.errors import NotFoundError, UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import one_line
from cmw_agent.identity.principals import Principal
from cmw_agent.identity.tripwire import Tripwire
from cmw_agent.language import wording
from cmw_agent.tools.mcp.directory import McpDirectory, ServerNotFoundError
from cmw_agent.tools.mcp.failures import NotSignedInError
from cmw_agent.tools.mcp.results import content_text, cut
from cmw_agent.tools.mcp.sessions import McpSessions

log = get_logger(__name__)

SECONDS = 10.0  # that a server may take
MAX_OF_SERVER = 200  # prompts, and resources
MAX_PAGES = 20
MAX_LINE = 200  # characters of a name or description
MAX_TEXT = 50_000  # characters of a prompt's text
MAX_URI = 2_000
NOT_OFFERED = wording("The server does not offer this any more.")
NO_ANSWER = wording("The server did not answer as it should; please try again.")
Result = TypeVar("Result")


class OfferError(UserError):
    """A server failed; the log has the details under the error's id."""

    status = 502
    sentence = NO_ANSWER


@dataclass(frozen=True, slots=True)
class Offer:
    """A prompt or a resource of a server.

    Attributes:
        server: Name of the server.
        key: Names it at the server: a prompt's name, a resource's URI.
        name: Its name for users.
        description: What it is; empty where the server does not say.
    """

    server: str
    key: str
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """The contents of a resource, as a file."""

    name: str
    media_type: str
    content: bytes


class McpOffers:
    """The prompts and resources of servers, in their users' own sessions.

    Args:
        directory: Finds servers.
        sessions: The sessions of all owners.
        tripwire: Looks at what servers give; None without one.
    """

    def __init__(
        self, directory: McpDirectory, sessions: McpSessions, tripwire: Tripwire | None = None
    ) -> None:
        self._tripwire = tripwire
        self._directory = directory
        self._sessions = sessions

    async def listed(
        self, principal: Principal, agents: Collection[str]
    ) -> tuple[list[Offer], list[Offer]]:
        """Return the prompts and the resources of the servers that a principal's agents may use.

        A server that does not answer, or at which the principal has not signed in, offers none.
        """
        servers = await self._directory.servers(principal.id, agents)
        found = await asyncio.gather(*(self._offers_of(principal, server) for server in servers))
        prompts = [offer for one, _ in found for offer in one]
        return prompts, [offer for _, one in found for offer in one]

    async def prompt(
        self, principal: Principal, agents: Collection[str], server: str, name: str
    ) -> str:
        """Return a prompt's text; what its user has to fill in stands in brackets.

        Raises:
            NotFoundError: No agent of the principal may use such a server, or there is no such prompt.
            OfferError: The server failed.
            IsolationBreachError: It gave something of another owner.
        """
        used = await self._server(principal, agents, server)

        async def work(client: Client) -> GetPromptResult:
            listed = await _prompts(client)
            prompt = next((item for item in listed if item.name == name), None)
            if prompt is None:
                raise NotFoundError(NOT_OFFERED)
            needed = (item.name for item in prompt.arguments or () if item.required)
            return await client.get_prompt(name, {key: f"[{key}]" for key in needed})

        result = await self._request(principal, used, work)
        texts = (content_text(message.content) for message in result.messages)
        text = cut("\n\n".join(filter(None, texts)), MAX_TEXT)
        return self._tripwire.clean(principal.id, text) if self._tripwire is not None else text

    async def resource(
        self, principal: Principal, agents: Collection[str], server: str, uri: str
    ) -> ResourceFile:
        """Return the contents of a resource.

        Raises:
            NotFoundError: No agent of the principal may use such a server, or it lists no such resource.
            OfferError: The server failed.
            IsolationBreachError: It gave something of another owner.
        """
        used = await self._server(principal, agents, server)

        async def work(client: Client) -> ResourceFile:
            listed = await _resources(client)
            found = next((item for item in listed if item.uri == uri), None)
            if found is None:
                raise NotFoundError(NOT_OFFERED)
            (contents, *_) = (await client.read_resource(uri)).contents
            name = _line(found.title or found.name).replace("/", "-") or "resource"
            if isinstance(contents, TextResourceContents):
                kind = contents.mime_type or found.mime_type or "text/plain"
                return ResourceFile(
                    _named(name, kind), kind, contents.text.encode("utf-8", "replace")
                )
            kind = contents.mime_type or found.mime_type or "application/octet-stream"
            return ResourceFile(name, kind, base64.b64decode(contents.blob, validate=True))

        file = await self._request(principal, used, work)
        if self._tripwire is not None:
            self._tripwire.check(principal.id, file.content)
        return file

    async def _server(self, principal: Principal, agents: Collection[str], name: str) -> McpServer:
        server = await self._directory.find(principal.id, name)
        if not any(map(server.serves, agents)):
            raise ServerNotFoundError
        return server

    async def _offers_of(
        self, principal: Principal, server: McpServer
    ) -> tuple[list[Offer], list[Offer]]:
        async def work(client: Client) -> tuple[list[Offer], list[Offer]]:
            prompts, resources = await _prompts(client), await _resources(client)
            return (
                [
                    _offer(server, one.name, one.title or one.name, one.description)
                    for one in prompts
                ],
                [
                    _offer(server, one.uri, one.title or one.name, one.description)
                    for one in resources
                ],
            )

        try:
            return await self._request(principal, server, work)
        except UserError:
            return [], []

    async def _request(
        self, principal: Principal, server: McpServer, work: Callable[[Client], Awaitable[Result]]
    ) -> Result:
        try:
            async with asyncio.timeout(SECONDS):
                return await work(await self._sessions.client(principal.id, server))
        except NotFoundError:
            raise
        except NotSignedInError:
            raise ServerNotFoundError from None
        except Exception as error:  # noqa: BLE001 (whatever a server gives is its failure)
            failure = OfferError()
            log.warning(
                "a server offers nothing",
                server=server.name,
                error_id=failure.error_id,
                cause=describe_exception(error),
            )
            raise failure from None


async def _prompts(client: Client) -> list[Prompt]:
    if client.server_capabilities.prompts is None:
        return []

    async def page(params: PaginatedRequestParams) -> tuple[list[Prompt], str | None]:
        found = await client.session.list_prompts(params=params)
        return found.prompts, found.next_cursor

    return await _all_pages(page)


async def _resources(client: Client) -> list[Resource]:
    if client.server_capabilities.resources is None:
        return []

    async def page(params: PaginatedRequestParams) -> tuple[list[Resource], str | None]:
        found = await client.session.list_resources(params=params)
        return [item for item in found.resources if len(item.uri) <= MAX_URI], found.next_cursor

    return await _all_pages(page)


async def _all_pages(
    page: Callable[[PaginatedRequestParams], Awaitable[tuple[list[Result], str | None]]],
) -> list[Result]:
    """Return what a server lists page by page, `MAX_OF_SERVER` at most."""
    found: list[Result] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        items, cursor = await page(PaginatedRequestParams(cursor=cursor))
        found += items
        if cursor is None or len(found) >= MAX_OF_SERVER:
            break
    return found[:MAX_OF_SERVER]


def _offer(server: McpServer, key: str, name: str, description: str | None) -> Offer:
    return Offer(server.name, key, _line(name), _line(description or ""))


def _line(text: str) -> str:
    return one_line(text, MAX_LINE)


def _named(name: str, kind: str) -> str:
    """Return a file's name with an ending, by which a text is known as one."""
    endings = {"text/markdown": ".md", "text/html": ".html", "application/json": ".json"}
    return name if "." in name else name + endings.get(kind, ".txt")

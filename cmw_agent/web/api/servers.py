"""What MCP servers offer in the menu of the message box, and users' own servers."""

import base64
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import Agents
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.mcp.directory import ServerNotFoundError
from cmw_agent.web.api.endpoint import body, guarded, text

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.accounts import McpAccounts
    from cmw_agent.tools.mcp.offers import McpOffers, Offer


class ServerRoutes:
    """The routes of servers' offers.

    Args:
        offers: Returns the offers, or None where no server is configured.
        accounts: Returns users' accounts and own servers, or None where there can be none.
        agents: Say which servers a user may use.
    """

    def __init__(
        self,
        offers: "Callable[[], McpOffers | None]",
        accounts: "Callable[[], McpAccounts | None]",
        agents: Agents,
    ) -> None:
        self._offers = offers
        self._accounts = accounts
        self._agents = agents

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="servers")
        return [
            Route("/servers/offers", answered(self.listed, nobody=lambda _: _answer([], []))),
            Route("/servers/prompt", answered(self.prompt), methods=["POST"]),
            Route("/servers/resource", answered(self.resource), methods=["POST"]),
            Route("/servers/add", answered(self.add), methods=["POST"]),
            Route("/servers/remove", answered(self.remove), methods=["POST"]),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """The prompts and resources that the caller may use."""
        offers = self._offers()
        if offers is None or not principal.is_stored:
            return _answer([], [])
        return _answer(*await offers.listed(principal, await self._usable(principal)))

    async def prompt(self, request: Request, principal: Principal) -> Response:
        """The text of a prompt."""
        offers, content = self._offers_for(principal), await body(request)
        server, name = text(content, "server"), text(content, "key")
        found = await offers.prompt(principal, await self._usable(principal), server, name)
        return JSONResponse({"text": found})

    async def resource(self, request: Request, principal: Principal) -> Response:
        """The contents of a resource, which the page uploads as the caller's file."""
        offers, content = self._offers_for(principal), await body(request)
        server, uri = text(content, "server"), text(content, "key")
        file = await offers.resource(principal, await self._usable(principal), server, uri)
        encoded = base64.b64encode(file.content).decode()
        return JSONResponse({"name": file.name, "type": file.media_type, "content": encoded})

    async def add(self, request: Request, principal: Principal) -> Response:
        """Add a server of the caller's own."""
        accounts, content = self._accounts(), await body(request)
        if accounts is None:
            raise ServerNotFoundError
        await accounts.add(principal, text(content, "name"), text(content, "url"))
        return JSONResponse({})

    async def remove(self, request: Request, principal: Principal) -> Response:
        """Delete a server of the caller's own."""
        accounts, content = self._accounts(), await body(request)
        if accounts is None:
            raise ServerNotFoundError
        return JSONResponse({"removed": await accounts.remove(principal, text(content, "name"))})

    async def _usable(self, principal: Principal) -> list[str]:
        return [profile.id for profile in await self._agents.usable_for(principal)]

    def _offers_for(self, principal: Principal) -> "McpOffers":
        offers = self._offers()
        if offers is None or not principal.is_stored:
            raise ServerNotFoundError
        return offers


def _answer(prompts: "list[Offer]", resources: "list[Offer]") -> Response:
    return JSONResponse(
        {"prompts": [_item(one) for one in prompts], "resources": [_item(one) for one in resources]}
    )


def _item(offer: "Offer") -> dict[str, Any]:
    return {
        "server": offer.server,
        "key": offer.key,
        "name": offer.name,
        "description": offer.description,
    }

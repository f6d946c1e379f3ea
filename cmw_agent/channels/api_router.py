"""Puts the REST interface together: its routes, what browsers ask first, and its description."""

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from cmw_agent.channels.common.api_keys import Keys
from cmw_agent.channels.common.callers import Callers
from cmw_agent.channels.openai.completions import Completions
from cmw_agent.channels.openai.relayed import RelayedRoutes
from cmw_agent.channels.openai.responses import Responses
from cmw_agent.channels.rest import openapi
from cmw_agent.channels.rest.dependencies import ConversationLookup
from cmw_agent.channels.rest.imports import RestImports
from cmw_agent.channels.rest.messages import Rest
from cmw_agent.channels.rest.sessions import RestSessions
from cmw_agent.channels.rest.shares import RestShares
from cmw_agent.channels.rest.versions import RestVersions
from cmw_agent.runtime.runtime import Runtime


def add_rest(app: FastAPI, services: Runtime, callers: Callers, keys: Keys) -> None:
    """Add the REST interface to the channels' app.

    Args:
        app: The channels' app.
        services: The live parts of the process.
        callers: Gives requests their sessions.
        keys: Those of the settings.
    """
    lookup = ConversationLookup(services, callers)
    rest = Rest(lookup)
    completions = Completions(lookup, rest)
    routers = (
        rest.router(keys),
        RestSessions(lookup).router(keys),
        RestImports(lookup).router(keys),
        RestShares(lookup).router(keys),
        RestVersions(lookup, rest).router(keys),
        completions.router(keys),
        Responses(completions).router(keys),
        RelayedRoutes(lookup).router(keys),
    )
    routes = [route for router in routers for route in router.routes]
    for router in (*routers, _preflights(keys, routers), openapi.router(routes)):
        app.include_router(router)


def _preflights(keys: Keys, routers: tuple[APIRouter, ...]) -> APIRouter:
    """Return the routes with which browsers ask whether another site's page may send a request."""

    async def preflight(request: Request) -> Response:
        return keys.preflight(request)

    router = APIRouter(include_in_schema=False)
    paths = dict.fromkeys(getattr(route, "path", "") for r in routers for route in r.routes)
    for path in paths:
        router.add_api_route(path, preflight, methods=["OPTIONS"])
    return router

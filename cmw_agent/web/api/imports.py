"""The page's route that imports conversations, for the principal that the guard has settled."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import Agents
from cmw_agent.channels.common.import_response import import_response
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.conversations.importing.service import NOT_KEPT, ImportService
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.web.api.endpoint import error_response, guarded

NO_AGENT = "No agent here is for you yet, so nothing can be imported; please sign in."


class ImportRoutes:
    """The route of imports.

    Args:
        imports: Returns the use case; raises `Unavailable` before the start and after the end.
        agents: The agents; imported conversations go to those that the importer may use.
    """

    def __init__(self, imports: Callable[[], ImportService], agents: Agents) -> None:
        self._imports = imports
        self._agents = agents

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="imports", render_error=_closing)
        upload = answered(self.upload, nobody=_no_visit)
        return [Route("/history/import", upload, methods=["POST"])]

    async def upload(self, request: Request, principal: Principal) -> Response:
        """Import the body, an export file, as conversations of one's own; `agent` is their agent."""
        usable = [profile.id for profile in await self._agents.usable_for(principal)]
        if not usable:
            raise InvalidMessageError(NO_AGENT, status=403)
        agent = request.query_params.get("agent", "")
        target = ImportTarget(agent if agent in usable else usable[0], frozenset(usable))
        address = request.client.host if request.client is not None else None
        return await import_response(
            self._imports().run(principal, target, request.stream(), address)
        )


def _closing(request: Request, error: UserError) -> Response:
    response = error_response(request, error)
    # What was not read must not be taken for the next request.
    response.headers["connection"] = "close"
    return response


def _no_visit() -> Response:
    return JSONResponse({"detail": NOT_KEPT}, 403, {"connection": "close"})

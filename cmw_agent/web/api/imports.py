"""The page's routes that import conversations, for the principal that the guard has settled."""

from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import Agents
from cmw_agent.channels.common.import_response import import_response
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.conversations.importing.service import NOT_KEPT, ImportService
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import body, error_response, guarded, text

NO_AGENT = wording("No agent here is for you yet, so nothing can be imported; please sign in.")


class ImportRoutes:
    """The routes of imports. An import goes on when its page is gone; any page of its owner shows it.

    Args:
        imports: Returns the use case; raises `Unavailable` before the start and after the end.
        agents: The agents; imported conversations go to those that the importer may use.
    """

    def __init__(self, imports: Callable[[], ImportService], agents: Agents) -> None:
        self._imports = imports
        self._agents = agents

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="imports")
        upload = answered(self.upload, nobody=_no_visit, render_error=_closing)
        return [
            Route("/history/import", answered(self.state, nobody=_empty)),
            Route("/history/import", upload, methods=["POST"]),
            Route("/history/import/dismiss", answered(self.dismiss), methods=["POST"]),
        ]

    async def state(self, request: Request, principal: Principal) -> Response:
        """How far the caller's newest import is, or its result; null where there is none."""
        return JSONResponse(self._imports().state(principal))

    async def dismiss(self, request: Request, principal: Principal) -> Response:
        """Stop the caller's import, or forget the result of one that has ended."""
        await self._imports().dismiss(principal, text(await body(request), "id"))
        return JSONResponse(self._imports().state(principal))

    async def upload(self, request: Request, principal: Principal) -> Response:
        """Import the body, an export file, as conversations of one's own; `agent` is their agent.

        The response is the progress; whoever leaves it early finds the result at `state`.
        """
        usable = [profile.id for profile in await self._agents.usable_for(principal)]
        if not usable:
            raise InvalidMessageError(NO_AGENT, status=403)
        agent = request.query_params.get("agent", "")
        target = ImportTarget(agent if agent in usable else usable[0], frozenset(usable))
        address = request.client.host if request.client is not None else None
        name = unquote(request.headers.get("x-file-name", ""), errors="replace")
        job = await self._imports().begin(principal, target, request.stream(), address, name)
        return await import_response(job.lines(), request_language(request.scope))


def _closing(request: Request, error: UserError) -> Response:
    response = error_response(request, error)
    # What was not read must not be taken for the next request.
    response.headers["connection"] = "close"
    return response


def _empty(_: Request) -> Response:
    return JSONResponse(None)


def _no_visit(_: Request) -> Response:
    return JSONResponse({"detail": NOT_KEPT}, 403, {"connection": "close"})

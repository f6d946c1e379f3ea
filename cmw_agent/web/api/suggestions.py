"""What the model suggests that a user may write next, for the page's script."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.chat.service import ChatService
from cmw_agent.identity.principals import Principal
from cmw_agent.web.api.endpoint import guarded


class SuggestionRoutes:
    """The route of suggestions.

    Args:
        chat: Returns the service that has them made; raises `Unavailable` before the start and
            after the end.
    """

    def __init__(self, chat: Callable[[], ChatService]) -> None:
        self._chat = chat

    def routes(self) -> list[Route]:
        """Return the route, for the app's own router."""
        return [Route("/suggestions", guarded(self.suggestions, "suggestions"))]

    async def suggestions(self, request: Request, principal: Principal) -> Response:
        """What is suggested after the last answer of a conversation of the one who asks.

        It waits for them. Another's conversation and one that is not there have none.
        """
        chat, conversation = self._chat(), request.query_params.get("c", "")
        await chat.stored(principal.id, conversation)
        found = await chat.suggester.suggestions(principal.id, conversation)
        return JSONResponse({"suggestions": found})

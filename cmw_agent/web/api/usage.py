"""The line below the chat: the tokens and costs of the last answer, conversation and day."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.conversations.service import ConversationService
from cmw_agent.identity.principals import Principal
from cmw_agent.llm.pricing import dollars
from cmw_agent.web.api.endpoint import guarded
from memory.records import Usage


class UsageRoutes:
    """The route of usage.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
    """

    def __init__(self, history: Callable[[], ConversationService]) -> None:
        self._history = history

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [Route("/usage", guarded(self.usage, "usage"))]

    async def usage(self, request: Request, principal: Principal) -> Response:
        """What a conversation of the one who asks took."""
        summary = await self._history().usage(principal, request.query_params.get("c", ""))
        return JSONResponse(
            {
                "answer": _item(summary.answer),
                "conversation": _item(summary.conversation),
                "today": _item(summary.today),
            }
        )


def _item(usage: Usage) -> dict[str, int | str | None]:
    cost = None if usage.cost_micros is None else dollars(usage.cost_micros)
    return {"tokens": usage.tokens, "cost": cost}

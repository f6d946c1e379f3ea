"""The look of the agent that answers in a conversation, and the conversation's title."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import VISITOR, Agents
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.conversations.service import ConversationService
from cmw_agent.core.errors import NotFoundError
from cmw_agent.identity.principals import Principal
from cmw_agent.web.api.endpoint import guarded
from cmw_agent.web.page.page_look import look_of


class LookRoutes:
    """The route of the look.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        agents: The agents; a look is told only to those who may use its agent.
        look: The look where nobody is to answer before a sign-in.
    """

    def __init__(
        self, history: Callable[[], ConversationService], agents: Agents, look: Look
    ) -> None:
        self._history = history
        self._agents = agents
        self._look = look

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [Route("/look", guarded(self.answer, "look", nobody=self._nobody))]

    async def answer(self, request: Request, principal: Principal) -> Response:
        """The title and agent of the caller's conversation `c`, else the look of agent `agent`.

        What is not there, or not for the caller, changes nothing: they get what the page of a new
        conversation has.
        """
        usable = await self._agents.usable_for(principal)
        wanted, title = request.query_params.get("agent"), None
        if conversation_id := request.query_params.get("c"):
            try:
                found = await self._history().conversation(principal, conversation_id)
                wanted, title = found.agent_id, found.title
            except NotFoundError:
                pass
        return JSONResponse(self._content(usable, wanted, title))

    def _nobody(self) -> Response:
        return JSONResponse(self._content(self._agents.usable(VISITOR), None, None))

    def _content(
        self, usable: list[AgentProfile], wanted: str | None, title: str | None
    ) -> dict[str, Any]:
        first = usable[0] if usable else None
        agent = next((item for item in usable if item.id == wanted), first)
        look = agent.look if agent is not None else self._look
        return {
            "title": title,
            "look": look_of(look, agent),
            "agents": [{"id": item.id, "name": item.name} for item in usable],
        }

"""The look of the agent that answers in a conversation, and the conversation's title."""

import gzip
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cmw_agent.agent.access import VISITOR, Agents
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.config.model_profiles import Models
from cmw_agent.conversations.service import ConversationService
from cmw_agent.core.errors import NotFoundError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import guarded
from cmw_agent.web.page.page_look import look_of


class LookRoutes:
    """The route of the look.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        agents: The agents; a look is told only to those who may use its agent.
        models: All models.
        look: The look where nobody is to answer before a sign-in.
    """

    def __init__(
        self,
        history: Callable[[], ConversationService],
        agents: Agents,
        models: Models,
        look: Look,
    ) -> None:
        self._history = history
        self._agents = agents
        self._models = models
        self._look = look

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [Route("/look", guarded(self.answer, "look", nobody=self._answer_without_principal))]

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
        language = request_language(request.scope)
        return _response(request, self._content(usable, wanted, title, language))

    def _answer_without_principal(self, request: Request) -> Response:
        language = request_language(request.scope)
        return _response(request, self._content(self._agents.usable(VISITOR), None, None, language))

    def _content(
        self, usable: list[AgentProfile], wanted: str | None, title: str | None, language: Language
    ) -> dict[str, Any]:
        first = usable[0] if usable else None
        agent = next((item for item in usable if item.id == wanted), first)
        look = agent.look if agent is not None else self._look
        return {
            "title": title,
            "look": look_of(look, agent, language),
            "is_demo": self._models.answers_as_demo(agent),
            "uses_model": agent is None or agent.uses_model,
            "closed_models": sorted(agent.closed_models - {agent.model})
            if agent is not None
            else [],
            "agents": [{"id": item.id, "name": language.translate(item.name)} for item in usable],
        }


def _response(request: Request, content: dict[str, Any]) -> Response:
    """Return a look as JSON, compressed where the client takes that: its style sheet is long."""
    body, headers = orjson.dumps(content), {"vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = gzip.compress(body, mtime=0), "gzip"
    return Response(body, headers=headers, media_type="application/json")

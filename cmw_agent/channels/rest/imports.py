"""REST: import of an export file into a session."""

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed, must_be_secret
from cmw_agent.channels.common.import_response import LINES, import_response
from cmw_agent.channels.rest.dependencies import (
    CHANNEL,
    ApiKeyHolder,
    ConversationLookup,
    counted_at,
    session_of,
)
from cmw_agent.channels.rest.messages import CHAT, PROBLEMS, problem_of
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.identity import channel_principals
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {"required": True, "content": {"application/json": BINARY, "application/zip": BINARY}}
PROGRESS = {
    "description": "One JSON object a line: `imported`, `skipped` (there already) and `refused`, "
    "conversations so far; the last one has `done`, a `sentence`, and up to 100 `problems`, each "
    "with a `title` and a `reason`.",
    "content": {LINES: {"schema": {"type": "string"}}},
}


class RestImports:
    """The route of imports.

    Args:
        lookup: Knows the services and the agents.
    """

    def __init__(self, lookup: ConversationLookup) -> None:
        self._services = lookup.services
        self._callers = lookup.callers

    def router(self, keys: Keys) -> APIRouter:
        """Return the route of imports, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, problem_of, "agents"),
            responses={**PROBLEMS, 200: PROGRESS},
            tags=["sessions"],
        )
        router.add_api_route(
            f"{CHAT}/sessions/{{session_id}}/import",
            self.upload,
            methods=["POST"],
            response_class=Response,
            openapi_extra={"requestBody": BODY},
            summary="Import conversations",
        )
        return router

    async def upload(
        self, agent_id: str, session_id: str, request: Request, holder: ApiKeyHolder
    ) -> Response:
        """Import an export file of this app, ChatGPT, Claude or Open WebUI into a session.

        The body is the file, as JSON or ZIP. Its conversations become earlier conversations of the
        session: the next message goes where it would have gone before. What is imported stays when
        the request is left early, and a repetition brings the rest: what is there already is
        skipped. One import of a session runs at a time. Not with a key that pages of websites may use.
        """
        must_be_secret(holder)
        self._callers.profile(agent_id, by_key(holder))
        target = ImportTarget(
            agent_id,
            frozenset({agent_id}),
            channel=CHANNEL,
            status="ended",
            tenant_id=channel_principals.tenant(holder.name),
            external_id=session_id,
        )
        principal = session_of(holder, agent_id, session_id)
        address = counted_at(holder, request)
        try:
            return await import_response(
                self._services.imports.run(principal, target, request.stream(), address),
                request_language(request.scope),
            )
        except UserError as error:
            response = problem_of(error, request_language(request.scope))
        except ClientDisconnect:
            response = problem_of(
                InvalidMessageError(wording("The upload ended early."), status=400),
                request_language(request.scope),
            )
        # What was not read must not be taken for the next request.
        response.headers["Connection"] = "close"
        return response

"""Forwards embedding and transcription requests to the first model's endpoint; stores nothing."""

import re
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.late_answers import expect_json
from cmw_agent.channels.openai.completions import (
    ERRORS,
    UnknownModelError,
    UserHeader,
    error_response,
    key_budget_of,
)
from cmw_agent.channels.openai.messages import cleaned
from cmw_agent.channels.openai.models import EmbeddingsRequest
from cmw_agent.channels.rest.dependencies import ApiKeyHolder, ConversationLookup, counted_at
from cmw_agent.config.agent_profiles import BUILT_IN
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import UserError
from cmw_agent.core.http_headers import media_type
from cmw_agent.identity import channel_principals
from cmw_agent.language import wording
from cmw_agent.llm.relay import EndpointRelay, RelayedAnswer
from cmw_agent.llm.visitor_keys import visitor_key

JSON = "application/json"
FORM = "multipart/form-data"
# Types of answers that are passed on; others are called bytes.
KNOWN_TYPES = frozenset({JSON, "text/plain", "text/vtt", "application/x-subrip"})
NEAR = 1_000  # bytes
TOKENS = re.compile(rb'"total_tokens": ?([0-9]{1,12})')
NOT_A_FORM = wording("Send the recording as a form: Content-Type: multipart/form-data.")
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "language": {"type": "string"},
                        "response_format": {"type": "string"},
                    },
                }
            }
        },
    }
}


class RelayedRoutes:
    """The routes whose requests the endpoint answers.

    Args:
        lookup: Knows the services.
    """

    def __init__(self, lookup: ConversationLookup) -> None:
        self._services = lookup.services
        self._relay = EndpointRelay(lookup.services.settings)

    def router(self, keys: Keys) -> APIRouter:
        """Return the routes, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, error_response, "v1"), responses=ERRORS, tags=["openai"]
        )
        router.add_api_route("/v1/embeddings", self.embeddings, methods=["POST"])
        router.add_api_route(
            "/v1/audio/transcriptions",
            self.transcription,
            methods=["POST"],
            openapi_extra=FORM_BODY,
        )
        return router

    async def embeddings(
        self,
        body: EmbeddingsRequest,
        request: Request,
        holder: ApiKeyHolder,
        forwarded_user: UserHeader = None,
    ) -> Response:
        """Return embeddings by a model of the endpoint's."""
        fields = body.model_dump(exclude={"user"}, exclude_none=True)
        sent = orjson.dumps(cleaned(fields))
        expect_json(request)
        answer = await self._send(
            request, holder, body.user or forwarded_user, "/embeddings", sent, JSON
        )
        return _response(answer)

    async def transcription(
        self, request: Request, holder: ApiKeyHolder, forwarded_user: UserHeader = None
    ) -> Response:
        """Return the transcript of a recording by a model of the endpoint's."""
        if media_type(request.headers) != FORM:
            raise UserError(NOT_A_FORM, status=415)
        sent, declared = await request.body(), request.headers["content-type"]
        path = "/audio/transcriptions"
        return _response(await self._send(request, holder, forwarded_user, path, sent, declared))

    async def _send(
        self,
        request: Request,
        holder: ApiKey,
        user: str | None,
        path: str,
        body: bytes,
        content_type: str,
    ) -> RelayedAnswer:
        if self._services.agents.find(BUILT_IN, by_key(holder)) is None:
            raise UnknownModelError  # as for the models of the endpoint's that chat
        principal = channel_principals.client(holder.name, BUILT_IN, f"\0{user or ''}")
        address, chat = counted_at(holder, request), self._services.chat
        key_budget = key_budget_of(holder, names_user=bool(user))
        await chat.admit(principal, address, key_budget)
        async with chat.slot(principal, address, key_budget):
            key = visitor_key(request.headers, self._services.settings)
            answer = await self._relay.send(path, body, content_type, key)
        await chat.charge(principal, _tokens(answer), key_budget)
        return answer


def _response(answer: RelayedAnswer) -> Response:
    kind = answer.media_type
    return Response(
        answer.body, media_type=kind if kind in KNOWN_TYPES else "application/octet-stream"
    )


def _tokens(answer: RelayedAnswer) -> int:
    """Return the tokens that an answer says it took; 0 where it does not say.

    They stand near its beginning or its end; reading all of its numbers would hold up others.
    """
    body = answer.body
    count = TOKENS.search(body[-NEAR:]) or TOKENS.search(body[:NEAR])
    return int(count[1]) if count is not None else 0

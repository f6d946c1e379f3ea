"""REST: a message to an agent, answered whole or as server-sent events."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common import turn_streams
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.callers import Caller, address_of, base_of
from cmw_agent.channels.common.late_answers import expect_json
from cmw_agent.channels.common.problems import problem
from cmw_agent.channels.common.turn_streams import EVENTS, TurnResponse
from cmw_agent.channels.rest.dependencies import (
    CHANNEL,
    METADATA,
    METADATA_SEQ,
    ApiKeyHolder,
    ConversationLookup,
    counted_at,
    session_of,
    to_user_error,
)
from cmw_agent.channels.rest.models import AnswerResponse, MessageRequest, Problem
from cmw_agent.chat.turn import TurnReader
from cmw_agent.config.validators import ApiKey
from cmw_agent.conversations.sessions import LiveSession, SessionOrigin
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.core.events import TurnEvent, TurnStarted
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.limiter import KeyBudget
from cmw_agent.llm.visitor_keys import visitor_key
from cmw_agent.observability.observers import request_id_of

CHAT = "/api/chat/{agent_id}"
NAMELESS = wording("Send a session_id with an Idempotency-Key.")
REUSED = wording("This Idempotency-Key came with another message before.")
NO_TURN: Mapping[str, Any] = {
    "status": "complete",
    "tokens": None,
    "tools": [],
    "finish_reason": None,
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        description="Names the request: repeated in the same session, while its conversation goes "
        "on, it gives the first answer again, without asking a model. A key that pages may use "
        "needs a `session_id` with it.",
    ),
]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request cannot be answered (RFC 9457)."},
    "5XX": {"model": Problem, "description": "The answer failed here, or at the model (RFC 9457)."},
    415: {"model": Problem, "description": "The body is not sent as JSON."},
    422: {"model": Problem, "description": "The request is not what this address takes."},
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer: whole, or as events with `Accept: text/event-stream`.",
        "content": {EVENTS: {"schema": {"type": "string"}}},
    }
}


class Rest:
    """The route that takes messages of sessions.

    Args:
        lookup: Finds conversations.
    """

    def __init__(self, lookup: ConversationLookup) -> None:
        self._lookup = lookup
        self._services = lookup.services
        self._callers = lookup.callers

    def router(self, keys: Keys) -> APIRouter:
        """Return the route of messages, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, problem_of, "agents"), responses=PROBLEMS, tags=["chat"]
        )
        router.add_api_route(
            f"{CHAT}/message",
            self.message,
            methods=["POST"],
            response_model=AnswerResponse,
            response_model_exclude_unset=True,
            responses=STREAMED,
            summary="Send a message",
        )
        return router

    async def message(
        self,
        agent_id: str,
        body: MessageRequest,
        request: Request,
        holder: ApiKeyHolder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Send a message to an agent and get its answer.

        With `Accept: text/event-stream` the answer comes as events while it is written: `started`,
        `delta`, `tool`, `tool_progress` (how far a tool has come), `tool_done`, `approval`,
        `approval_done`, `sources`, `picture`, `model`, `replaced` (the text so far, in place of all
        before: the rest of it was thoughts), `thinking` where it was asked for, and at last `done`
        or `error`.
        A request that is left early stops the answer, and what came of it is kept; but a whole
        answer to a request with an `Idempotency-Key` is written to its end, for a repetition, and
        one that waits for a user's decision goes on waiting. Calls of tools that would ask for a
        decision are denied where the answer is not streamed.

        `/new` ends the session's conversation, and `/forget everything` deletes all of the session.
        """
        self._callers.profile(agent_id, by_key(holder))
        external_id = body.session_id or self._new_session_id(holder, agent_id, idempotency_key)
        principal = session_of(holder, agent_id, external_id)
        is_streamed = EVENTS in request.headers.get("accept", "")
        await self._services.chat.admit(principal, counted_at(holder, request))
        fields = {"session_id": external_id}
        control_reply = await self._callers.run_control_command(
            principal, body.message, request_language(request.scope)
        )
        if control_reply is not None:
            return control_response(control_reply, fields, is_streamed=is_streamed)
        session = await self.session(
            request, holder, agent_id, external_id, principal, can_ask=is_streamed
        )
        context = _metadata_context(body.metadata, 1) if body.metadata else None
        turn = self._services.chat.turn(
            session,
            body.message,
            key=idempotency_key or secrets.token_hex(16),
            model=body.model,
            effort=body.effort,
            context=context,
            visitor_key=visitor_key(request.headers, self._services.settings),
            request_id=request_id_of(request.scope),
        )
        is_named = idempotency_key is not None

        async def begun() -> TurnEvent:
            first = await self.wait_until_begun(session, turn, is_named=is_named)
            await self._store_metadata(session, turn, first, body.metadata)
            return first

        shape = turn_streams.Shape(
            files_url(request, agent_id, external_id),
            with_thinking="thinking" in body.include,
            language=request_language(request.scope),
        )
        return await answered(request, turn, begun, fields, shape, is_named=is_named)

    async def session(
        self,
        request: Request,
        holder: ApiKey,
        agent_id: str,
        external_id: str,
        principal: Principal,
        *,
        can_ask: bool,
        key_budget: KeyBudget | None = None,
    ) -> LiveSession:
        """Return the live session of the session's open conversation.

        Raises:
            UserError: The memory fails, or the process has no room.
        """
        conversation = await self._callers.current(principal)
        provenance = SessionOrigin(
            ip_address=address_of(request),
            tenant_id=channel_principals.tenant(holder.name),
            external_id=external_id,
        )
        caller = Caller(
            principal,
            agent_id,
            conversation,
            CHANNEL,
            provenance,
            base_of(request),
            can_ask=can_ask,
            address=counted_at(holder, request),
            key_budget=key_budget,
            language=request_language(request.scope),
        )
        return await self._callers.session(principal, caller)

    async def wait_until_begun(
        self, session: LiveSession, turn: TurnReader, *, is_named: bool
    ) -> TurnEvent:
        """Wait until a turn has begun; return its first event.

        Args:
            session: Whose turn it is.
            turn: Stopped where it is refused.
            is_named: Whether the caller has named the request, and may have named another one so.

        Raises:
            InvalidMessageError: It had the name of a request with another message.
            UserError: It could not begin.
        """
        first = await turn_streams.wait_until_begun(turn)
        if not is_named or not isinstance(first, TurnStarted):
            return first
        try:
            question = await _question(session, first)
        except BaseException:
            await stop(turn)
            raise
        if question != turn.text:
            await stop(turn)
            raise InvalidMessageError(REUSED)
        return first

    def _new_session_id(self, holder: ApiKey, agent_id: str, idempotency_key: str | None) -> str:
        """Return the id of a session that the caller has not named; a repetition finds it again.

        Raises:
            InvalidMessageError: Many people have the key, who name their requests alike.
        """
        if idempotency_key is None:
            return secrets.token_hex(16)
        if holder.origins:
            raise InvalidMessageError(NAMELESS)
        return self._callers.named_session(holder.name, agent_id, idempotency_key)

    async def _store_metadata(
        self, session: LiveSession, turn: TurnReader, first: TurnEvent, metadata: Mapping[str, Any]
    ) -> None:
        """Keep what the caller says of a conversation that has begun before.

        Nothing of a repeated request: what later ones have said holds.
        """
        if not metadata or not isinstance(first, TurnStarted) or first.user_seq == 1:
            return
        owner, conversation = session.owner, first.conversation_id
        try:
            with contextlib.suppress(NotFoundError), mapped_store_errors():
                context = (
                    await session.memory.conversation(owner, conversation)
                ).context_data or {}
                if first.user_seq > context.get(METADATA_SEQ, 0):
                    changes = _metadata_context(metadata, first.user_seq)
                    await session.memory.update_context(owner, conversation, changes)
        except BaseException:
            await stop(turn)
            raise


async def answered(
    request: Request,
    turn: TurnReader,
    begun: Callable[[], Awaitable[TurnEvent]],
    fields: Mapping[str, Any],
    shape: turn_streams.Shape,
    *,
    is_named: bool,
) -> Response:
    """Answer a request with a turn: whole, or as events where it asks for those.

    Args:
        request: The request.
        turn: The turn; it is stopped when the client leaves and nobody can ask for it again.
        begun: Waits until it has begun, and returns its first event.
        fields: What the answer has beside its text and metadata.
        shape: What the client gets of the answer beside its text.
        is_named: Whether the client has named the request.

    Raises:
        UserError: The turn could not begin, or ended without an answer.
    """
    is_streamed = EVENTS in request.headers.get("accept", "")
    if not is_streamed:
        expect_json(request)
    # Who has named a request and lost its answer asks for that again.
    outlives = is_named and not is_streamed
    watch = (
        contextlib.nullcontext()
        if outlives
        else turn_streams.stop_when_client_leaves(request, turn)
    )
    async with watch:
        first = await begun()
        if is_streamed:
            return TurnResponse(turn, turn_streams.server_sent(turn, first, fields, shape))
        result = await turn_streams.read_result(turn, shape)
    return JSONResponse({"response": result.text, **fields, "metadata": result.metadata})


def files_url(request: Request, agent_id: str, external_id: str) -> str:
    """Return the address below which a session's files are, on this server."""
    root = request.base_url.path.removesuffix("/")
    return (
        f"{root}/api/chat/{quote(agent_id, safe='')}/sessions/{quote(external_id, safe='')}/files"
    )


def problem_of(error: Exception, language: Language) -> Response:
    """Return the problem document of an error."""
    return problem(to_user_error(error), language)


async def _question(session: LiveSession, started: TurnStarted) -> str | None:
    """Return the message that a turn answers, as it is stored."""
    with mapped_store_errors():
        messages = await session.memory.messages(
            session.owner,
            started.conversation_id,
            limit=1,
            before_seq=started.user_seq + 1,
            all_versions=True,  # a repeated request's message may have another version since
        )
    return messages[-1].content if messages else None


async def stop(turn: TurnReader) -> None:
    """Stop a turn and wait until what came of it is stored."""
    turn.stop()
    await turn.ended()


def _metadata_context(metadata: Mapping[str, Any], seq: int) -> dict[str, Any]:
    """Return what a conversation keeps of the metadata that came with the message at `seq`."""
    return {METADATA: dict(metadata), METADATA_SEQ: seq}


def control_response(sentence: str, fields: Mapping[str, Any], *, is_streamed: bool) -> Response:
    """Return the answer to a control command."""
    answer = {**fields, "response": sentence, "metadata": dict(NO_TURN)}
    if not is_streamed:
        return JSONResponse(answer)
    events = turn_streams.sse("delta", {"text": sentence}) + turn_streams.sse("done", answer)
    return Response(events, media_type=EVENTS)

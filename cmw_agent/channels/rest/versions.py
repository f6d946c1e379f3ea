"""REST routes of single messages: retry, edit, show a version, fork, rate.

All are of a session's open conversation; its messages are named by their seqs.
"""

import secrets
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common import turn_streams
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.turn_streams import EVENTS, Shape
from cmw_agent.channels.rest.dependencies import (
    ApiKeyHolder,
    ConversationLookup,
    SessionNotFoundError,
    counted_at,
    session_of,
)
from cmw_agent.channels.rest.messages import (
    CHAT,
    PROBLEMS,
    REUSED,
    STREAMED,
    IdempotencyKey,
    Rest,
    answered,
    control_response,
    files_url,
    problem_of,
    stop,
)
from cmw_agent.channels.rest.models import (
    AnswerResponse,
    EditRequest,
    ForkCreated,
    RatingRequest,
)
from cmw_agent.channels.rest.sessions import MAX_SEQ, Included
from cmw_agent.chat.turn import TurnReader
from cmw_agent.config.validators import ApiKey
from cmw_agent.conversations.ratings import explanation_of
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.events import TurnEvent, TurnStarted
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language.request_language import request_language
from cmw_agent.llm.visitor_keys import visitor_key
from cmw_agent.observability.observers import request_id_of

Seq = Annotated[int, Path(ge=1, le=MAX_SEQ - 1, description="The message's `seq`.")]


class RestVersions:
    """The routes of single messages and their versions.

    Args:
        lookup: Finds conversations.
        rest: Gives the live sessions of sessions.
    """

    def __init__(self, lookup: ConversationLookup, rest: Rest) -> None:
        self._lookup = lookup
        self._services = lookup.services
        self._callers = lookup.callers
        self._rest = rest

    def router(self, keys: Keys) -> APIRouter:
        """Return the routes of versions, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, problem_of, "agents"), responses=PROBLEMS, tags=["versions"]
        )
        one = f"{CHAT}/sessions/{{session_id}}/messages/{{seq}}"
        add = partial(router.add_api_route, methods=["POST"])
        answering = partial(
            add,
            response_model=AnswerResponse,
            response_model_exclude_unset=True,
            responses=STREAMED,
        )
        answering(f"{one}/retry", self.retry, summary="Answer again")
        answering(f"{one}/edit", self.edit, summary="Edit a message")
        add(f"{one}/select", self.select, status_code=204, response_class=Response)
        add(f"{one}/fork", self.fork, status_code=201, response_model=ForkCreated)
        add(f"{one}/rate", self.rate, status_code=204, response_class=Response)
        return router

    async def retry(
        self,
        agent_id: str,
        session_id: str,
        seq: Seq,
        request: Request,
        holder: ApiKeyHolder,
        include: Included = (),
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Answer a message again: the former answer stays as another version.

        `seq` names the answer, or the message that it answers. The session goes on from the new
        answer; what followed the former one is shown again by `select`.
        """
        session = await self._session(agent_id, session_id, request, holder)
        question_seq = None
        if idempotency_key is not None:
            question_seq = await self._question_seq(session, seq)
        turn = self._services.chat.regenerate(
            session,
            key=idempotency_key or secrets.token_hex(16),
            seq=seq,
            visitor_key=visitor_key(request.headers, self._services.settings),
            request_id=request_id_of(request.scope),
        )
        return await answered(
            request,
            turn,
            partial(_wait_until_begun, turn, question_seq),
            {"session_id": session_id},
            Shape(
                files_url(request, agent_id, session_id),
                with_thinking="thinking" in include,
                language=request_language(request.scope),
            ),
            is_named=idempotency_key is not None,
        )

    async def edit(
        self,
        agent_id: str,
        session_id: str,
        seq: Seq,
        body: EditRequest,
        request: Request,
        holder: ApiKeyHolder,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Answer another text in place of a message, which stays as another version.

        The session goes on from the new answer. Files that came with the message belong to the
        new version, too.
        """
        fields = {"session_id": session_id}
        session = await self._session(agent_id, session_id, request, holder)
        # Before a command is run: an edit of a message that does not exist is not found.
        await self._question_seq(session, seq)
        reply = await self._callers.run_control_command(
            session.principal, body.message, request_language(request.scope)
        )
        if reply is not None:
            is_streamed = EVENTS in request.headers.get("accept", "")
            return control_response(reply, fields, is_streamed=is_streamed)
        turn = self._services.chat.regenerate(
            session,
            key=idempotency_key or secrets.token_hex(16),
            text=body.message,
            seq=seq,
            visitor_key=visitor_key(request.headers, self._services.settings),
            request_id=request_id_of(request.scope),
        )
        is_named = idempotency_key is not None
        return await answered(
            request,
            turn,
            partial(self._rest.wait_until_begun, session, turn, is_named=is_named),
            fields,
            Shape(
                files_url(request, agent_id, session_id),
                with_thinking="thinking" in body.include,
                language=request_language(request.scope),
            ),
            is_named=is_named,
        )

    async def select(
        self, agent_id: str, session_id: str, seq: Seq, holder: ApiKeyHolder
    ) -> Response:
        """Show the version of the conversation that leads through a message.

        What was written last after that message is shown with it, and the next message goes on
        from there: models see what is shown.
        """
        principal = self._principal(agent_id, session_id, holder)
        stored = await self._lookup.conversation(principal)
        await self._services.history.select_version(principal, stored.conversation_id, seq)
        return Response(status_code=204)

    async def rate(
        self,
        agent_id: str,
        session_id: str,
        seq: Seq,
        body: RatingRequest,
        holder: ApiKeyHolder,
    ) -> Response:
        """Rate an answer, with a reason and a comment, or take its rating back."""
        explanation = explanation_of(body.rating, body.reason, sanitize_json(body.comment))
        principal = self._principal(agent_id, session_id, holder)
        stored = await self._lookup.conversation(principal)
        await self._services.history.rate(
            principal, stored.conversation_id, seq, body.rating, explanation
        )
        return Response(status_code=204)

    async def fork(
        self, agent_id: str, session_id: str, seq: Seq, request: Request, holder: ApiKeyHolder
    ) -> ForkCreated:
        """Copy the conversation up to a message, with its answer, into another one.

        The session goes on in the copy; `conversation` reads the other one. A fork counts as a
        message, and as one of the copies of chats that may be made in an hour.
        """
        principal = self._principal(agent_id, session_id, holder)
        address = counted_at(holder, request)
        await self._services.chat.admit(principal, address)
        stored = await self._lookup.conversation(principal)
        conversation_id = await self._services.history.fork(
            principal, stored.conversation_id, seq, address
        )
        return ForkCreated(
            session_id=session_id, agent_id=agent_id, conversation_id=conversation_id
        )

    def _principal(self, agent_id: str, session_id: str, holder: ApiKey) -> Principal:
        self._callers.profile(agent_id, by_key(holder))
        return session_of(holder, agent_id, session_id)

    async def _session(
        self, agent_id: str, session_id: str, request: Request, holder: ApiKey
    ) -> LiveSession:
        """Return the live session of the open conversation, for a request that counts as a message.

        Raises:
            UserError: The limits are reached, or the session has no open conversation.
        """
        principal = self._principal(agent_id, session_id, holder)
        await self._services.chat.admit(principal, counted_at(holder, request))
        latest = await self._callers.latest(principal)
        if latest is None or latest.status == "ended":
            raise SessionNotFoundError
        can_ask = EVENTS in request.headers.get("accept", "")
        return await self._rest.session(
            request, holder, agent_id, session_id, principal, can_ask=can_ask
        )

    async def _question_seq(self, session: LiveSession, seq: int) -> int:
        """Return the seq of the question that a message is, or answers, in any version.

        Raises:
            SessionNotFoundError: There is no such message.
        """
        conversation_id = session.conversation_id
        if conversation_id is None:
            raise SessionNotFoundError
        with mapped_store_errors():
            stored = await session.memory.messages(
                session.owner, conversation_id, limit=1, before_seq=seq + 1, all_versions=True
            )
        if not stored or stored[-1].seq != seq:
            raise SessionNotFoundError
        return seq if stored[-1].role == "user" else stored[-1].parent_seq


async def _wait_until_begun(turn: TurnReader, question_seq: int | None) -> TurnEvent:
    """Wait until a retry has begun; return its first event.

    Args:
        turn: The turn.
        question_seq: The question that it must answer, where the request has an idempotency key;
            None where it has none.

    Raises:
        InvalidMessageError: The idempotency key is that of another request.
        UserError: It could not begin.
    """
    first = await turn_streams.wait_until_begun(turn)
    is_another = isinstance(first, TurnStarted) and first.user_seq != question_seq
    if question_seq is not None and is_another:
        await stop(turn)
        raise InvalidMessageError(REUSED)
    return first

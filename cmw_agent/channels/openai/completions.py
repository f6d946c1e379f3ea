"""The agents in the form of OpenAI's API, for clients of that API.

By default nothing is kept: the messages of a request are the conversation, as such clients expect.
With the header ``X-Session-Id`` the request is a message to that session of the REST interface: the
last user message counts, and the agent remembers the rest.
"""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.callers import Caller
from cmw_agent.channels.common.problems import openai_problem
from cmw_agent.channels.common.turn_streams import (
    EVENTS,
    TurnResponse,
    stop_when_client_leaves,
    wait_until_begun,
)
from cmw_agent.channels.openai.models import (
    ChatMessage,
    ChatRequest,
    Completion,
    Model,
    ModelList,
    OpenAIError,
)
from cmw_agent.channels.openai.streams import (
    DONE,
    ChatCompletionBuilder,
    chunks,
    collect,
    final_chunks,
)
from cmw_agent.channels.rest.dependencies import (
    CHANNEL,
    ApiKeyHolder,
    ConversationLookup,
    counted_at,
    session_of,
    to_user_error,
)
from cmw_agent.channels.rest.messages import IdempotencyKey, Rest, files_url
from cmw_agent.channels.rest.models import SESSION_PATTERN
from cmw_agent.chat.turn import TurnReader
from cmw_agent.config.agent_profiles import BUILT_IN
from cmw_agent.config.validators import ApiKey
from cmw_agent.conversations.sessions import LiveSession, SessionOrigin
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.core.events import TextDelta, TurnEvent, TurnFinished, TurnStarted
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.identity import channel_principals
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.observability.observers import request_id_of

SPOKEN = ("user", "assistant")
INSTRUCTING = ("system", "developer")
SESSION = "X-Session-Id"
NAMELESS = "An Idempotency-Key needs X-Session-Id."
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": OpenAIError, "description": "The request cannot be answered."},
    "5XX": {"model": OpenAIError, "description": "The answer failed here, or at the model."},
    415: {"model": OpenAIError, "description": "The body is not sent as JSON."},
    422: {"model": OpenAIError, "description": "Not used: such a request is answered with 400."},
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENTS: {"schema": {"type": "string"}}}}
}
SessionHeader = Annotated[
    str | None,
    Header(
        alias=SESSION,
        pattern=SESSION_PATTERN,
        description="The session to go on with; without it nothing of the request is kept.",
    ),
]


class UnknownModelError(NotFoundError):
    """Neither an agent nor a model that the key reaches has this name."""

    sentence = "There is no agent and no model of this name; GET /v1/models lists them."


class Completions:
    """The routes in the form of OpenAI's API.

    Args:
        lookup: Knows the services.
        rest: Gives requests their sessions.
    """

    def __init__(self, lookup: ConversationLookup, rest: Rest) -> None:
        self._services = lookup.services
        self._callers = lookup.callers
        self._rest = rest

    def router(self, keys: Keys) -> APIRouter:
        """Return the routes, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, _error_response, "v1"), responses=ERRORS, tags=["openai"]
        )
        router.add_api_route("/v1/models", self.models, methods=["GET"], response_model=ModelList)
        router.add_api_route(
            "/v1/chat/completions",
            self.complete,
            methods=["POST"],
            response_model=Completion,
            responses=STREAMED,
        )
        return router

    async def models(self, holder: ApiKeyHolder) -> ModelList:
        """List what a request may name as its model: the agents, and the assistant's models."""
        agents = [item.id for item in self._services.agents.usable(by_key(holder))]
        models = tuple(self._services.models.by_id) if BUILT_IN in agents else ()
        names = dict.fromkeys((*agents, *models))
        data = [Model(id=name, object="model", created=0, owned_by="cmw-agent") for name in names]
        return ModelList(object="list", data=data)

    async def complete(
        self,
        body: ChatRequest,
        request: Request,
        holder: ApiKeyHolder,
        session_id: SessionHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Answer a conversation.

        Parameters that are not listed are passed over; the agent uses tools of its own. The model's
        thoughts are `reasoning_content`, never `content`; where it turns out that streamed text was
        thoughts, they come once more as `reasoning_content`. `finish_reason` is `stop`, `length` or
        `content_filter`; where the model's server did not say how its answer ended, it is `stop`
        with a `native_finish_reason` of `missing`. Sources are `annotations`, and pictures of a
        session `images`, whose addresses need the same key.
        """
        if body.n not in (None, 1):
            raise InvalidMessageError("There is one answer to a request: n must be 1.")
        agent_id, model = self._agent(body.model, holder)
        if idempotency_key is not None and session_id is None:
            raise InvalidMessageError(NAMELESS)
        conversation, instructions = _split_messages(body.messages)
        completion = ChatCompletionBuilder(body.model)
        if session_id is None:
            address = counted_at(holder, request)
            session = await self._stateless_session(holder, agent_id, body.user, address)
            turn = self._services.chat.complete(
                session,
                conversation,
                instructions=instructions or None,
                model=model,
                effort=body.reasoning_effort,
                request_id=request_id_of(request.scope),
            )
            async with stop_when_client_leaves(request, turn):
                return await _respond(turn, await wait_until_begun(turn), completion, body, {})
        principal = session_of(holder, agent_id, session_id)
        headers, text = {SESSION: session_id}, str(conversation[-1].content)
        completion.files_url = files_url(agent_id, session_id)
        await self._services.chat.admit(principal, counted_at(holder, request))
        control_reply = await self._callers.run_control_command(principal, text)
        if control_reply is not None:
            completion.add(TextDelta(control_reply))
            return _control_response(completion, body, headers)
        session = await self._rest.session(
            request, holder, agent_id, session_id, principal, can_ask=False
        )
        named = idempotency_key or secrets.token_hex(16)
        turn = self._services.chat.turn(
            session,
            text,
            key=named,
            model=model,
            effort=body.reasoning_effort,
            request_id=request_id_of(request.scope),
        )
        # Who has named a request and lost its answer asks for that again.
        outlives = idempotency_key is not None and not body.stream
        async with contextlib.nullcontext() if outlives else stop_when_client_leaves(request, turn):
            first = await self._rest.wait_until_begun(
                session, turn, is_named=idempotency_key is not None
            )
            return await _respond(turn, first, completion, body, headers)

    def _agent(self, name: str, holder: ApiKey) -> tuple[str, str | None]:
        """Return the agent that a model's name means, and the model where it is chosen.

        Raises:
            UnknownModelError: Neither is there, or the key reaches neither.
        """
        agents, asker = self._services.agents, by_key(holder)
        if agents.find(name, asker) is not None:
            return name, None
        is_model = name in self._services.models.by_id
        if is_model and agents.find(BUILT_IN, asker) is not None:
            return BUILT_IN, name
        raise UnknownModelError

    async def _stateless_session(
        self, holder: ApiKey, agent_id: str, user: str | None, address: str | None
    ) -> LiveSession:
        """Return the session of a `user` of whose conversations nothing is kept."""
        # The NUL keeps these principals apart from every session: no session's id holds one.
        principal = channel_principals.client(holder.name, agent_id, f"\0{user or ''}")
        await self._services.chat.admit(principal, address)
        nowhere = channel_principals.conversation_after(principal, None)  # never begun
        provenance = SessionOrigin(tenant_id=channel_principals.tenant(holder.name))
        caller = Caller(principal, agent_id, nowhere, CHANNEL, provenance, address=address)
        return await self._callers.session(principal, caller)


async def _respond(
    turn: TurnReader,
    first: TurnEvent,
    completion: ChatCompletionBuilder,
    body: ChatRequest,
    headers: dict[str, str],
) -> Response:
    if body.stream:
        if isinstance(first, TurnStarted):
            first = await wait_until_begun(turn)
        if isinstance(first, TurnFinished) and first.outcome == "failed":
            completion.add(first)
            raise completion.failure or UserError
        events = chunks(turn, first, completion, with_usage=_wants_usage(body))
        return TurnResponse(turn, events, headers)
    await collect(turn, first, completion)
    return JSONResponse(completion.completion(), headers=headers)


def _control_response(
    completion: ChatCompletionBuilder, body: ChatRequest, headers: dict[str, str]
) -> Response:
    """Return the answer to a control command."""
    if not body.stream:
        return JSONResponse(completion.completion(), headers=headers)
    text = completion.chunk({"role": "assistant", "content": completion.text})
    parts = [text, *final_chunks(completion, with_usage=_wants_usage(body)), DONE]
    return Response(b"".join(parts), media_type=EVENTS, headers=headers)


def _wants_usage(body: ChatRequest) -> bool:
    return body.stream_options is not None and bool(body.stream_options.include_usage)


def _split_messages(messages: Sequence[ChatMessage]) -> tuple[list[HistoryMessage], str]:
    """Return the conversation, the user's message last, and the caller's instructions."""
    conversation: list[HistoryMessage] = []
    instructions: list[str] = []
    for message in messages:
        text = _text(message)
        if message.role in INSTRUCTING:
            instructions.append(text)
        elif message.role not in SPOKEN:
            raise InvalidMessageError("Messages are the user's, the assistant's or the system's.")
        elif text:
            conversation.append(HistoryMessage(message.role, text))
    if not conversation or conversation[-1].role != "user":
        raise InvalidMessageError("The last message must be the user's, with a text.")
    return conversation, "\n\n".join(filter(None, instructions))


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        if any(part.type != "text" for part in message.content):
            raise InvalidMessageError("Only text is taken: the type of each part must be text.")
        return str(sanitize_json("".join(part.text or "" for part in message.content)))
    return str(sanitize_json(message.content or ""))


def _error_response(error: Exception) -> Response:
    user_error = to_user_error(error)
    if user_error.status == 422:  # OpenAI's API knows no such status
        user_error.status = 400
    return openai_problem(user_error)

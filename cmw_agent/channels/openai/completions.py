"""The agents in the form of OpenAI's API, for clients of that API.

By default nothing is kept: the messages of a request are the conversation, as such clients expect.
With the header ``X-Session-Id`` the request is a message to that session of the REST interface: the
last user message counts, and the agent remembers the rest.
"""

import contextlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.callers import Caller
from cmw_agent.channels.common.late_answers import expect_json
from cmw_agent.channels.common.problems import openai_problem
from cmw_agent.channels.common.turn_streams import (
    EVENTS,
    TurnResponse,
    first_of_stream,
    stop_when_client_leaves,
    wait_until_begun,
)
from cmw_agent.channels.openai.messages import split_messages
from cmw_agent.channels.openai.models import (
    ChatRequest,
    Completion,
    Model,
    ModelList,
    OpenAIError,
)
from cmw_agent.channels.openai.parameters import client_tools_of, parameters_of
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
from cmw_agent.identity import channel_principals
from cmw_agent.language import Language, wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.limiter import KeyBudget
from cmw_agent.llm.visitor_keys import visitor_key
from cmw_agent.observability.observers import request_id_of

SESSION = "X-Session-Id"
NAMELESS = wording("An Idempotency-Key needs X-Session-Id.")
NOT_IN_SESSION = wording(
    "With X-Session-Id the last message must be the user's and text alone, and tools are not taken; "
    "without it the messages of the request are the conversation."
)
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


UserHeader = Annotated[
    str | None,
    Header(
        alias="X-OpenWebUI-User-Id",
        max_length=512,
        description="As `user` in the body, which counts first: Open WebUI can send it.",
    ),
]


def key_budget_of(holder: ApiKey, *, names_user: bool) -> KeyBudget:
    """Return the limits of a key's requests; those of a user hold beside them where it is named."""
    owner = channel_principals.key_owner(holder.name)
    return KeyBudget(owner, holder.limits, names_user)


class UnknownModelError(NotFoundError):
    """Neither an agent nor a model that the key reaches has this name."""

    sentence = wording("There is no agent and no model of this name; GET /v1/models lists them.")


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
            route_class=keyed(keys, error_response, "v1"), responses=ERRORS, tags=["openai"]
        )
        router.add_api_route("/v1/models", self.models, methods=["GET"], response_model=ModelList)
        router.add_api_route(
            "/v1/models/{model_id:path}", self.model, methods=["GET"], response_model=Model
        )
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
        names = dict.fromkeys((*agents, *self._models(holder)))
        return ModelList(object="list", data=[Model(id=name) for name in names])

    async def model(self, model_id: str, holder: ApiKeyHolder) -> Model:
        """Return an agent or a model that a request may name; its id may hold slashes."""
        self._agent(model_id, holder)
        return Model(id=model_id)

    async def complete(
        self,
        body: ChatRequest,
        request: Request,
        holder: ApiKeyHolder,
        session_id: SessionHeader = None,
        forwarded_user: UserHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Answer a conversation.

        The agent uses tools of its own. Calls of the `tools` in the request are not run but
        returned, with `tool_calls` as `finish_reason`; calls of the agent's own in the same answer
        are not run either. Parameters that are not listed are passed over. The model's thoughts are
        `reasoning_content`, never `content`; where it turns out that streamed text was
        thoughts, they come once more as `reasoning_content`. `finish_reason` is `stop`, `length` or
        `content_filter`; where the model's server did not say how its answer ended, it is `stop`
        with a `native_finish_reason` of `missing`. Sources are `annotations`, and pictures of a
        session `images`, whose addresses need the same key.
        """
        completion = ChatCompletionBuilder(body.model, language=request_language(request.scope))
        if not body.stream:
            expect_json(request)
        if session_id is not None:
            return await self._complete_in_session(
                body, request, holder, session_id, idempotency_key, completion
            )
        if idempotency_key is not None:
            raise InvalidMessageError(NAMELESS)
        turn = await self.begin(body, request, holder, forwarded_user)
        begun = first_of_stream if body.stream else wait_until_begun
        async with stop_when_client_leaves(request, turn):
            return await _respond(turn, await begun(turn), completion, body, {})

    async def begin(
        self, body: ChatRequest, request: Request, holder: ApiKey, forwarded_user: str | None
    ) -> TurnReader:
        """Start a stateless completion: neither the conversation nor the answer is stored.

        Args:
            body: The conversation, and how it is to be answered.
            request: The request that brought it.
            holder: The request's key.
            forwarded_user: The request's user, where `body` names none.

        Raises:
            UserError: The request asks for what is not given, or a limit is reached.
        """
        parameters = parameters_of(body)
        client_tools, tool_fields = client_tools_of(body)
        agent_id, model = self._agent(body.model, holder)
        conversation, instructions = split_messages(body.messages)
        address = counted_at(holder, request)
        user = body.user or body.safety_identifier or forwarded_user
        session = await self._stateless_session(holder, agent_id, user, address)
        return self._services.chat.complete(
            session,
            conversation,
            instructions=instructions or None,
            model=model,
            effort=body.reasoning_effort,
            parameters={**parameters, **tool_fields},
            client_tools=client_tools,
            visitor_key=visitor_key(request.headers, self._services.settings),
            request_id=request_id_of(request.scope),
        )

    async def _complete_in_session(
        self,
        body: ChatRequest,
        request: Request,
        holder: ApiKey,
        session_id: str,
        idempotency_key: str | None,
        completion: ChatCompletionBuilder,
    ) -> Response:
        parameters = parameters_of(body)
        agent_id, model = self._agent(body.model, holder)
        conversation, _ = split_messages(body.messages)
        principal = session_of(holder, agent_id, session_id)
        last, headers = conversation[-1], {SESSION: session_id}
        if last.role != "user" or not isinstance(text := last.content, str) or body.tools:
            raise InvalidMessageError(NOT_IN_SESSION)
        completion.files_url = files_url(request, agent_id, session_id)
        key_budget = key_budget_of(holder, names_user=True)
        await self._services.chat.admit(principal, counted_at(holder, request), key_budget)
        control_reply = await self._callers.run_control_command(
            principal, text, request_language(request.scope)
        )
        if control_reply is not None:
            completion.add(TextDelta(control_reply))
            return _control_response(completion, body, headers)
        session = await self._rest.session(
            request,
            holder,
            agent_id,
            session_id,
            principal,
            can_ask=False,
            key_budget=key_budget,
        )
        named = idempotency_key or secrets.token_hex(16)
        turn = self._services.chat.turn(
            session,
            text,
            key=named,
            model=model,
            effort=body.reasoning_effort,
            parameters=parameters,
            visitor_key=visitor_key(request.headers, self._services.settings),
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
        if self._services.agents.find(name, by_key(holder)) is not None:
            return name, None
        if name in self._models(holder):
            return BUILT_IN, name
        raise UnknownModelError

    def _models(self, holder: ApiKey) -> list[str]:
        """Return the models that a key may choose for the assistant; none where it uses none."""
        built_in = self._services.agents.find(BUILT_IN, by_key(holder))
        if built_in is None or not built_in.uses_model:
            return []
        return [name for name in self._services.models.by_id if name not in built_in.closed_models]

    async def _stateless_session(
        self, holder: ApiKey, agent_id: str, user: str | None, address: str | None
    ) -> LiveSession:
        """Return the session of a `user` of whose conversations nothing is kept."""
        # The NUL keeps these principals apart from every session: no session's id holds one.
        principal = channel_principals.client(holder.name, agent_id, f"\0{user or ''}")
        key_budget = key_budget_of(holder, names_user=bool(user))
        await self._services.chat.admit(principal, address, key_budget)
        nowhere = channel_principals.conversation_after(principal, None)  # never begun
        provenance = SessionOrigin(tenant_id=channel_principals.tenant(holder.name))
        caller = Caller(
            principal,
            agent_id,
            nowhere,
            CHANNEL,
            provenance,
            address=address,
            key_budget=key_budget,
        )
        return await self._callers.session(principal, caller)


async def _respond(
    turn: TurnReader,
    first: TurnEvent | None,
    completion: ChatCompletionBuilder,
    body: ChatRequest,
    headers: dict[str, str],
) -> Response:
    if body.stream:
        if isinstance(first, TurnStarted):
            first = await first_of_stream(turn)
        failed_at_once(first, completion)
        events = chunks(turn, first, completion, with_usage=_wants_usage(body))
        return TurnResponse(turn, events, headers)
    await collect(turn, first, completion)
    return JSONResponse(completion.completion(), headers=headers)


def failed_at_once(first: TurnEvent | None, completion: ChatCompletionBuilder) -> None:
    """Raise the error of a turn that fails with its first event: its stream need not begin.

    Raises:
        UserError: It has failed.
    """
    if isinstance(first, TurnFinished) and first.outcome == "failed":
        completion.add(first)
        raise completion.failure or UserError


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


def error_response(error: Exception, language: Language) -> Response:
    """Return the response for an error of a request, in OpenAI's form."""
    user_error = to_user_error(error)
    if user_error.status == 422:  # OpenAI's API knows no such status
        user_error.status = 400
    return openai_problem(user_error, language)

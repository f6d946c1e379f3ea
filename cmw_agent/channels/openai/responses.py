"""OpenAI's Responses API over the app's agents; requests are not stored."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.late_answers import expect_json
from cmw_agent.channels.common.turn_streams import (
    TurnResponse,
    first_of_stream,
    stop_when_client_leaves,
    wait_until_begun,
)
from cmw_agent.channels.openai.completions import (
    ERRORS,
    STREAMED,
    Completions,
    UserHeader,
    error_response,
    failed_at_once,
)
from cmw_agent.channels.openai.responses_request import ResponsesRequest, chat_request
from cmw_agent.channels.openai.responses_stream import ResponseWriter, response_events
from cmw_agent.channels.openai.streams import ChatCompletionBuilder, collect
from cmw_agent.channels.rest.dependencies import ApiKeyHolder
from cmw_agent.language.request_language import request_language


class Responses:
    """The route of responses.

    Args:
        completions: Begins the turns.
    """

    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    def router(self, keys: Keys) -> APIRouter:
        """Return the route, open to holders of `keys`."""
        router = APIRouter(
            route_class=keyed(keys, error_response, "v1"), responses=ERRORS, tags=["openai"]
        )
        router.add_api_route(
            "/v1/responses",
            self.respond,
            methods=["POST"],
            response_model=dict[str, Any],
            responses=STREAMED,
        )
        return router

    async def respond(
        self,
        body: ResponsesRequest,
        request: Request,
        holder: ApiKeyHolder,
        forwarded_user: UserHeader = None,
    ) -> Response:
        """Answer an input.

        It is what `/v1/chat/completions` answers, in another form. Nothing is stored, so that
        `previous_response_id`, `conversation` and `background` are refused; thoughts come as
        summaries of `reasoning` items, which need not be sent back.
        """
        if not body.stream:
            expect_json(request)
        turn = await self._completions.begin(chat_request(body), request, holder, forwarded_user)
        completion = ChatCompletionBuilder(body.model, language=request_language(request.scope))
        writer = ResponseWriter(body, completion)
        async with stop_when_client_leaves(request, turn):
            if body.stream:
                first = await first_of_stream(turn)
                failed_at_once(first, completion)
                return TurnResponse(turn, response_events(turn, first, completion, writer))
            await collect(turn, await wait_until_begun(turn), completion)
            return JSONResponse(writer.whole())

"""What an answer took, and why its owner rates it as they do, for the page's script."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.conversations.ratings import explanation_of, feedback_of
from cmw_agent.conversations.service import ConversationService
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.llm.pricing import dollars
from cmw_agent.web.api.endpoint import body, guarded, text
from memory.records import StoredMessage

MAX_DIGITS = 9  # of a seq
MAX_RATING_BYTES = 32_768  # a comment, each character as up to twelve bytes of JSON


class AnswerRoutes:
    """The routes of an answer's details and of its rating.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
    """

    def __init__(self, history: Callable[[], ConversationService]) -> None:
        self._history = history

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/history/answer", guarded(self.details, "history")),
            Route("/history/rating", guarded(self.rate, "history"), methods=["POST"]),
        ]

    async def details(self, request: Request, principal: Principal) -> Response:
        """The details of one answer in a conversation of the one who asks."""
        conversation_id = request.query_params.get("id", "")
        seq = _seq(request.query_params.get("seq", ""))
        answer = await self._history().answer(principal, conversation_id, seq)
        return JSONResponse(_item(answer))

    async def rate(self, request: Request, principal: Principal) -> Response:
        """Rate an answer in a conversation of the one who asks, with a reason and a comment."""
        content = await body(request, MAX_RATING_BYTES)
        conversation_id, seq = text(content, "id"), _seq(str(content.get("seq", "")))
        feedback = feedback_of(content.get("rating"))
        explanation = explanation_of(feedback, content.get("reason"), content.get("comment"))
        await self._history().rate(principal, conversation_id, seq, feedback, explanation)
        return JSONResponse({})


def _seq(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) <= MAX_DIGITS):
        raise InvalidMessageError(wording("The request names no message."), status=400)
    return int(written)


def _item(answer: StoredMessage) -> dict[str, Any]:
    cost, latency = answer.cost_micros, answer.latency_ms
    return {
        "model": answer.model_used,
        "created_at": answer.created_at.isoformat(),
        "seconds": None if latency is None else latency / 1000,
        "thinking_seconds": answer.details.thinking_ms / 1000,
        "input_tokens": answer.input_tokens,
        "cached_tokens": answer.details.cached_tokens,
        "output_tokens": answer.output_tokens,
        "reasoning_tokens": answer.details.reasoning_tokens,
        "tokens": answer.tokens_used,
        "is_estimated": answer.tokens_estimated,
        "cost": None if cost is None else dollars(cost),
        "tools": [
            {
                "name": call.name,
                "account": {"id": call.account, "label": call.account_label}
                if call.account
                else None,
                "ok": call.ok,
                "seconds": call.duration_ms / 1000,
            }
            for call in answer.tool_calls
        ],
        "seen": answer.details.receipt,
        "rating": answer.feedback,
        "reason": answer.feedback_reason,
        "comment": answer.feedback_comment,
    }

"""Approvals on the page: the calls that wait in one's own conversation, and the decisions.

The principal comes from the guard alone. A call that is another's, was decided, is late or never was
looks the same.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.chat.approvals import ApprovalService
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.tools.approvals import PendingApproval, seconds_left
from cmw_agent.web.api.endpoint import body, guarded, text

MAX_BODY_BYTES = 65_536  # of an answer with its arguments


class ApprovalRoutes:
    """The routes of approvals.

    Args:
        approvals: Returns the service of what waits; raises `Unavailable` before the start and after the end.
    """

    def __init__(self, approvals: Callable[[], ApprovalService]) -> None:
        self._approvals = approvals

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="approvals")
        return [
            Route("/approvals", answered(self.waiting)),
            Route("/approvals", answered(self.settle), methods=["POST"]),
        ]

    async def waiting(self, request: Request, principal: Principal) -> Response:
        """What waits in a conversation of the one who asks."""
        conversation = request.query_params.get("c", "")
        now = time.time()
        pending = await self._approvals().pending(principal, conversation)
        return JSONResponse({"waiting": [_item(approval, now) for approval in pending]})

    async def settle(self, request: Request, principal: Principal) -> Response:
        """Approve or deny a call."""
        content = await body(request, MAX_BODY_BYTES)
        conversation, call = text(content, "conversation"), text(content, "call")
        answer = content.get("answer")
        if answer not in ("approved", "denied"):
            raise InvalidMessageError(wording("A call is either approved or denied."), status=400)
        arguments, always = content.get("arguments"), content.get("always", False)
        if not isinstance(arguments, dict | None) or not isinstance(always, bool):
            raise InvalidMessageError(wording("The arguments must be a JSON object."), status=400)
        await self._approvals().answer(
            principal, conversation, call, answer, arguments, always=always
        )
        return JSONResponse({})


def _item(approval: PendingApproval, now: float) -> dict[str, Any]:
    arguments = sanitize_json(dict(approval.arguments))
    return {
        "call": approval.approval_id,
        "name": sanitize_json(approval.name),
        "account": approval.account,
        "arguments": arguments,
        # A browser rounds long numbers: what a user approves is shown as it will be sent.
        "texts": {
            name: json.dumps(value, ensure_ascii=False, indent=1)
            for name, value in arguments.items()
            if not isinstance(value, str)
        },
        "seconds": seconds_left(approval, now),
    }

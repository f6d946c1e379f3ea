"""The page's versions of messages: routes for its script, each for its own principal.

The principal comes from the guard alone; a conversation of another one is not found.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.chat.service import ChatService
from cmw_agent.conversations.service import ConversationService
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.http_headers import tab_of
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.web.api.endpoint import body, guarded, text

MAX_SHOWN: Final = 400  # messages of a page


class VersionRoutes:
    """The routes of versions.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        chat: Returns what counts messages: a fork counts as one. Raises as `history`.
    """

    def __init__(
        self, history: Callable[[], ConversationService], chat: Callable[[], ChatService]
    ) -> None:
        self._history = history
        self._chat = chat

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="history")
        return [
            Route("/history/versions", answered(self.versions)),
            Route("/history/select", answered(self.select), methods=["POST"]),
            Route("/history/fork", answered(self.fork), methods=["POST"]),
        ]

    async def versions(self, request: Request, principal: Principal) -> Response:
        """The shown messages, oldest first, each with the seqs of all of its versions."""
        conversation_id = request.query_params.get("id", "")
        path = await self._history().path(principal, conversation_id, MAX_SHOWN)
        messages = [
            {"seq": link.seq, "role": link.role, "versions": list(seqs)} for link, seqs in path
        ]
        return JSONResponse({"messages": messages})

    async def select(self, request: Request, principal: Principal) -> Response:
        """Show the version of a conversation that leads through a message."""
        content = await body(request)
        await self._history().select_version(
            principal, text(content, "id"), _seq(content), tab=tab_of(request.headers)
        )
        return JSONResponse({})

    async def fork(self, request: Request, principal: Principal) -> Response:
        """Copy a conversation up to a message into another one."""
        content = await body(request)
        address = request.client.host if request.client is not None else None
        await self._chat().admit(principal, address)
        fork = await self._history().fork(
            principal, text(content, "id"), _seq(content), address, tab=tab_of(request.headers)
        )
        return JSONResponse({"id": fork})


def _seq(content: dict[str, object]) -> int:
    seq = content.get("seq")
    if type(seq) is not int:
        raise InvalidMessageError(wording("The request names no message."))
    return seq

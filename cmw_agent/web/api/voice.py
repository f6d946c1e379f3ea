"""The route to which the page sends what was said into its microphone; it answers with the words."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.chat.service import ChatService
from cmw_agent.core.bodies import BodyTooLargeError, read_request_body
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.files.voice import MAX_BYTES, VoiceInput
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.api.endpoint import error_response, guarded
from cmw_agent.web.security.page_bodies import BODY_SECONDS

TOO_LONG = "This recording is too long to be written down; please send a shorter one."
TOO_SLOW = "The recording took too long to come; please try again."


class VoiceRoutes:
    """The route of voice input.

    Args:
        voice: Returns what writes recordings down, None where that is switched off; raises
            `Unavailable` before the start and after the end.
        chat: Returns the service whose limits a recording counts against; raises likewise.
        budgets: Limits how many recordings are received at once.
    """

    def __init__(
        self,
        voice: Callable[[], VoiceInput | None],
        chat: Callable[[], ChatService],
        budgets: Budgets,
    ) -> None:
        self._voice = voice
        self._chat = chat
        self._budgets = budgets

    def routes(self) -> list[Route]:
        """Return the route, for the app's own router."""
        return [
            Route(
                "/transcriptions",
                guarded(self.transcribe, "voice input", render_error=_error_response),
                methods=["POST"],
            )
        ]

    async def transcribe(self, request: Request, principal: Principal) -> Response:
        """Return the words of a recording. It counts as a message of the caller's."""
        voice = self._voice()
        if voice is None:
            raise NotFoundError
        address = request.client.host if request.client is not None else None
        async with self._budgets.hold("uploads", principal.id, address):
            await self._chat().admit(principal, address)
            recording = await _recording(request)
            return JSONResponse({"text": await voice.text(recording)})


def _error_response(request: Request, error: UserError) -> Response:
    response = error_response(request, error)
    response.headers["connection"] = "close"  # what was not read must not be the next request
    return response


async def _recording(request: Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await read_request_body(request.receive, MAX_BYTES)
    except TimeoutError:
        raise InvalidMessageError(TOO_SLOW, status=408) from None
    except BodyTooLargeError:
        raise InvalidMessageError(TOO_LONG, status=413) from None

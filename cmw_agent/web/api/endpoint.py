"""What the page's own routes share: each answers the principal whom the guard found, or nobody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError, frames
from cmw_agent.identity.principals import Principal
from cmw_agent.observability.observers import request_of
from cmw_agent.web.security.guard import PRINCIPAL
from cmw_agent.web.security.page_bodies import BODY_SECONDS
from cmw_agent.web.security.visitor_cookie import HEADER

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8_192  # of a request's body: an id and a title
Endpoint = Callable[[Request, Principal], Awaitable[Response]]


def guarded(
    answer: Endpoint, about: str, *, nobody: Callable[[], Response] | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that lets `answer` answer who asks, and tells of failures.

    Args:
        answer: Raises `UserError` for what the user is to read.
        about: What the log calls it.
        nobody: Answers those who prove nothing; without it they find nothing.
    """

    async def endpoint(request: Request) -> Response:
        principal = request.scope.get(PRINCIPAL)
        if not isinstance(principal, Principal):
            return nobody() if nobody is not None else _told(NotFoundError())
        try:
            return await answer(request, principal)
        except UserError as error:
            return _told(error)
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            told = UserError()
            log.error(  # noqa: TRY400 (its text is not for the log)
                "%s failed error_id=%s request=%s principal=%s cause=%s",
                about,
                told.error_id,
                request_of(request.scope),
                principal.log_name,
                frames(error),
            )
            return _told(told)

    return endpoint


def cookie_principal(request: Request) -> Principal | None:
    """Return who the request's cookie proves; a token that a script can send proves nobody here."""
    principal = request.scope.get(PRINCIPAL)
    by_cookie = isinstance(principal, Principal) and HEADER not in request.headers
    return principal if by_cookie else None


def home(request: Request) -> str:
    """Return the path of the page."""
    return request.base_url.path


def _told(error: UserError) -> Response:
    # Whether it is another's or not there at all must show nowhere, in no id either.
    detail = error.sentence if isinstance(error, NotFoundError) else str(error)
    wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse({"detail": detail}, error.status, wait)


async def body(request: Request, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Return the JSON object that a request holds.

    Raises:
        InvalidMessageError: It holds none, or more than `most` bytes, or takes too long to come.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            read = await _read(request, most)
    except TimeoutError:
        raise InvalidMessageError("The request took too long to come.", status=408) from None
    try:
        content = orjson.loads(read)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise InvalidMessageError("The request must be a JSON object.", status=400)
    return content


async def _read(request: Request, most: int) -> bytes:
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > most:
            raise InvalidMessageError("The request is too large.", status=413)
    return bytes(read)


def text(content: dict[str, Any], name: str) -> str:
    """Return the text of that name.

    Raises:
        InvalidMessageError: There is none.
    """
    value = content.get(name)
    if not isinstance(value, str):
        raise InvalidMessageError(f"The request must name the {name}.", status=400)
    return value

"""What the page's own routes share: the endpoint around each, and the reading of its request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from cmw_agent.core.bodies import BodyTooLargeError, read_request_body
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.observability.observers import request_id_of
from cmw_agent.web.security.guard import PRINCIPAL
from cmw_agent.web.security.page_bodies import BODY_SECONDS
from cmw_agent.web.security.visitor_cookie import HEADER

log = get_logger(__name__)

MAX_BODY_BYTES = 8_192  # of a request's body: an id and a title
Answer = Callable[[Request], Awaitable[Response]]
PrincipalAnswer = Callable[[Request, Principal], Awaitable[Response]]
RenderError = Callable[[Request, UserError], Response]


def error_response(request: Request, error: UserError) -> Response:
    """Return an error as a JSON response."""
    # Whether it is another's or not there at all must show nowhere, in no id either.
    language = request_language(request.scope)
    is_hidden = isinstance(error, NotFoundError)
    detail = error.sentence_in(language) if is_hidden else error.text(language)
    wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse({"detail": detail}, error.status, wait)


def endpoint(answer: Answer, about: str, render_error: RenderError = error_response) -> Answer:
    """Return the endpoint that lets `answer` answer, and renders what it raises.

    Args:
        answer: Raises `UserError` for what the user is to read.
        about: What the log calls it where anything else is raised.
        render_error: Returns the response for an error.
    """

    async def answering(request: Request) -> Response:
        try:
            return await answer(request)
        except UserError as error:
            return render_error(request, error)
        except ClientDisconnect:
            return render_error(
                request, InvalidMessageError(wording("The upload ended early."), status=400)
            )
        except Exception as error:  # noqa: BLE001 (the user gets its id, the log its cause)
            user_error = UserError()
            principal = request.scope.get(PRINCIPAL)
            log.error(  # noqa: TRY400 (its text is not for the log)
                "%s failed",
                about,
                error_id=user_error.error_id,
                request=request_id_of(request.scope),
                principal=principal.log_name if isinstance(principal, Principal) else "-",
                cause=describe_exception(error),
            )
            return render_error(request, user_error)

    return answering


def guarded(
    answer: PrincipalAnswer,
    about: str,
    *,
    nobody: Callable[[Request], Response] | None = None,
    render_error: RenderError = error_response,
) -> Answer:
    """Return the endpoint that answers the principal of the guard.

    Args:
        answer: As for `endpoint`, with the principal.
        about: As for `endpoint`.
        nobody: Answers those who prove nothing; without it they find nothing.
        render_error: As for `endpoint`.
    """

    async def of_principal(request: Request) -> Response:
        principal = request.scope.get(PRINCIPAL)
        if isinstance(principal, Principal):
            return await answer(request, principal)
        if nobody is not None:
            return nobody(request)
        raise NotFoundError

    return endpoint(of_principal, about, render_error)


def cookie_principal(request: Request) -> Principal | None:
    """Return the principal of the request's cookie; a token that a script can send does not count."""
    principal = request.scope.get(PRINCIPAL)
    by_cookie = isinstance(principal, Principal) and HEADER not in request.headers
    return principal if by_cookie else None


def home(request: Request) -> str:
    """Return the path of the page."""
    return request.base_url.path


async def body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Return the JSON object that a request holds.

    Raises:
        InvalidMessageError: It holds none, or more than `max_bytes`, or takes too long to come.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            content = orjson.loads(await read_request_body(request.receive, max_bytes))
    except TimeoutError:
        raise InvalidMessageError(
            wording("The request took too long to come."), status=408
        ) from None
    except BodyTooLargeError:
        raise InvalidMessageError(wording("The request is too large."), status=413) from None
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise InvalidMessageError(wording("The request must be a JSON object."), status=400)
    return content


def text(content: dict[str, Any], name: str) -> str:
    """Return the text of that name.

    Raises:
        InvalidMessageError: There is none.
    """
    value = content.get(name)
    if not isinstance(value, str):
        raise InvalidMessageError(
            wording("The request must name the {name}.", name=name), status=400
        )
    return value

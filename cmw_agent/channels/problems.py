"""Errors as problem documents (RFC 9457), for every channel that speaks HTTP."""

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from cmw_agent.errors import NotFound, UserError
from cmw_agent.limits import TooMany

MEDIA_TYPE = "application/problem+json"


def problem(error: UserError) -> JSONResponse:
    """Return the answer that tells of `error`.

    What is another's and what is not there are told alike, without an id that could tell them
    apart.
    """
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooMany) else None
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse(document(error), error.status, headers, media_type=MEDIA_TYPE)


def document(error: UserError) -> dict[str, Any]:
    """Return the fields of RFC 9457, and the `error_id` that ties them to the log."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.sentence,
    }
    return told if isinstance(error, NotFound) else told | {"error_id": error.error_id}

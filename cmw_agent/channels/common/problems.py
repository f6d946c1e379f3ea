"""Error responses of every HTTP channel: problem documents (RFC 9457), or OpenAI's form."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.language import Language, wording

MEDIA_TYPE = "application/problem+json"
V1 = "/v1/"
INTERFACES = ("/api/", V1)  # where programs ask, by keys
# by status: the type of the error and its code, as OpenAI's clients know them
KINDS: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "model_not_found"),
    409: ("invalid_request_error", "conversation_in_use"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


class UnknownAddressError(NotFoundError):
    """Nothing is there, whatever the method."""

    sentence = wording("There is nothing at this address; /api/docs lists what there is.")


class WrongMethodError(UserError):
    """The address is known, and takes other methods."""

    status = 405


def error_response_at(path: str, error: UserError, language: Language) -> JSONResponse:
    """Return the response for an error of a request to `path`."""
    if isinstance(error, UnknownAddressError) and not path.startswith(INTERFACES):
        return JSONResponse({"detail": HTTPStatus(error.status).phrase}, error.status)
    return openai_problem(error, language) if path.startswith(V1) else problem(error, language)


def problem(error: UserError, language: Language) -> JSONResponse:
    """Return the problem document of an error as a response.

    What is another's and what does not exist get the same response, without an error id.
    """
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse(document(error, language), error.status, headers, media_type=MEDIA_TYPE)


def openai_problem(error: UserError, language: Language) -> JSONResponse:
    """Return the response for an error in the form that OpenAI's clients expect."""
    all_headers = problem(error, language).headers
    headers = {
        name: all_headers[name]
        for name in ("retry-after", "www-authenticate")
        if name in all_headers
    }
    return JSONResponse(error_body(error, language), error.status, headers)


def error_body(error: UserError, language: Language) -> dict[str, Any]:
    """Return an error in OpenAI's form, with the id that ties it to the log."""
    default_type = "invalid_request_error" if error.status < 500 else "server_error"
    kind, code = KINDS.get(error.status, (default_type, None))
    message = error.text(language)
    if isinstance(error, UnknownAddressError):  # without an id: it is the same for each address
        message, code = error.sentence_in(language), "unknown_url"
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


def document(error: UserError, language: Language) -> dict[str, Any]:
    """Return the fields of RFC 9457, and the `error_id` that ties them to the log."""
    fields: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.sentence_in(language),
    }
    return fields if isinstance(error, NotFoundError) else fields | {"error_id": error.error_id}

"""Replaces the session hash of a request by the session key that the guard derives.

Gradio's page sends its hash in the JSON body, in the query or as the last part of the path. Each
function here replaces it in one of these places, so that no code behind the guard ever sees the
hash that the client chose.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope

from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.language import Language
from cmw_agent.web.security.route_allowlist import Route

MAX_QUERY_FIELDS = 50
Bind = Callable[[object], str]  # takes a client's session hash, returns the session key


class RequestRejectedError(Exception):
    """The guard answers the request itself, with `response`.

    Args:
        status: The HTTP status.
        detail: The sentence that the user reads.
        headers: Further headers of the response.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self._status, self._detail, self._headers = status, detail, headers

    def response(self, language: Language) -> Response:
        """Return the response in a language."""
        detail = language.translate(self._detail)
        return JSONResponse({"detail": detail}, self._status, self._headers)


@dataclass(slots=True)
class GuardedRequest:
    """One request while the guard handles it.

    `scope` and `receive` are what the app behind the guard gets; `principal`, `key` and `cookie`
    (a ``Set-Cookie`` value) are None until the guard has set them.
    """

    scope: Scope
    receive: Receive
    route: Route
    headers: Headers
    principal: Principal | None = None
    key: SessionKey | None = None
    cookie: str | None = field(default=None, repr=False)


def bind_body(request: GuardedRequest, body: bytes, bind: Bind) -> None:
    """Replace the hash at ``session_hash`` of a JSON object, and the request's body by the result.

    Raises:
        RequestRejectedError: The body is not a JSON object in UTF-8, or is nested too deeply.
    """
    try:
        content: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RequestRejectedError(400, "The request is not valid JSON in UTF-8.") from None
    if not isinstance(content, dict):
        raise RequestRejectedError(400, "The request must be a JSON object.")
    content["session_hash"] = bind(content.get("session_hash"))
    try:
        bound = orjson.dumps(content)
    except orjson.JSONEncodeError:  # orjson reads deeper nesting than it writes
        raise RequestRejectedError(400, "The request is nested too deeply.") from None
    _replace_body(request, bound)


def bind_query(request: GuardedRequest, bind: Bind) -> None:
    """Replace the hash in the query's one field ``session_hash``.

    Raises:
        RequestRejectedError: The query is not ASCII, or has more than `MAX_QUERY_FIELDS` fields.
    """
    try:
        query = parse_qsl(
            request.scope["query_string"].decode("ascii"), True, max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        raise RequestRejectedError(400, "The request's query is not valid.") from None
    hashes = [value for name, value in query if name == "session_hash"]
    bound = bind(hashes[0] if len(hashes) == 1 else None)
    others = [(name, value) for name, value in query if name != "session_hash"]
    encoded = urlencode([*others, ("session_hash", bound)]).encode("ascii")
    request.scope = {**request.scope, "query_string": encoded}


def bind_path(request: GuardedRequest, bind: Bind) -> None:
    """Replace the hash that is the last part of the path."""
    head, _, client_hash = request.scope["path"].rpartition("/")
    path = f"{head}/{bind(client_hash)}"
    request.scope = {**request.scope, "path": path, "raw_path": path.encode("ascii")}


def _replace_body(request: GuardedRequest, body: bytes) -> None:
    headers = MutableHeaders(raw=list(request.scope["headers"]))
    headers["content-length"] = str(len(body))
    headers["content-type"] = "application/json"
    del headers["transfer-encoding"]
    request.scope = {**request.scope, "headers": headers.raw}
    original, pending = request.receive, [body]

    async def receive() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await original()

    request.receive = receive

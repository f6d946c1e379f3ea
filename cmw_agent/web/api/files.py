"""Routes for files: uploaded by their owner, served to their owner alone.

The principal comes from the guard alone. What is another's, does not exist or is asked for by nobody is
answered like a route that does not exist.
"""

from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.channels.common.downloads import file_response
from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.files.notes import sentence_of
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import body, guarded, text
from cmw_agent.web.security.guard import NOT_FOUND
from cmw_agent.web.security.route_allowlist import FILE_NAME

MAX_BODY_BYTES = 1_024  # of a request that names a file
NOBODY = wording("Files need a visit that is kept; please allow this page's cookie and reload it.")


class FileRoutes:
    """The routes of files.

    Args:
        files: Returns the use cases; raises `Unavailable` before the start and after the end.
    """

    def __init__(self, files: Callable[[], Files]) -> None:
        self._files = files

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="files", render_error=_error_response)
        return [
            Route("/files", answered(self.upload, nobody=_no_visit), methods=["POST"]),
            Route("/files/remove", answered(self.remove), methods=["POST"]),
            Route("/files/{file_id}", answered(self.download)),
        ]

    async def upload(self, request: Request, principal: Principal) -> Response:
        """Keep the body as a file; it is read piece by piece and never wholly in memory."""
        name = unquote(request.headers.get(FILE_NAME, ""), errors="replace")
        claimed = request.headers.get("content-type", "")
        address = request.client.host if request.client is not None else None
        file = await self._files().add(principal, name, claimed, request.stream(), address)
        note = sentence_of(file.notes)
        return JSONResponse(
            {
                "id": file.file_id,
                "name": file.name,
                "kind": file.kind,
                "size": file.size_bytes,
                "media_type": file.media_type,
                "note": request_language(request.scope).translate(note) if note else None,
            }
        )

    async def download(self, request: Request, principal: Principal) -> Response:
        """The bytes as they came, to be saved and never to be run."""
        return file_response(*await self._files().open(principal, request.path_params["file_id"]))

    async def remove(self, request: Request, principal: Principal) -> Response:
        """Delete a file that no message has."""
        await self._files().remove(principal, text(await body(request, MAX_BODY_BYTES), "id"))
        return JSONResponse({})


def _error_response(request: Request, error: UserError) -> Response:
    if isinstance(error, NotFoundError):
        return JSONResponse({"detail": NOT_FOUND}, 404)
    # What was not read must not be taken for the next request.
    return JSONResponse({"detail": str(error)}, error.status, {"connection": "close"})


def _no_visit(_: Request) -> Response:
    return JSONResponse({"detail": NOBODY}, 403)

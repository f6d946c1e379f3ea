"""Routes for files: uploaded by their owner, served to their owner alone.

Who asks comes from the guard alone. What is another's, not there or asked for by nobody is
answered like a route that does not exist.
"""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError, frames
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.web.api.endpoint import body, text
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from cmw_agent.web.security.route_allowlist import FILE_NAME

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_024  # of a request that names a file
SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
NOBODY = "Files need a visit that is kept; please allow this page's cookie and reload it."
Endpoint = Callable[[Request, Principal], Awaitable[Response]]


class FileRoutes:
    """See the module's text.

    Args:
        files: Returns the use cases; raises `Unavailable` before the start and after the end.
    """

    def __init__(self, files: Callable[[], Files]) -> None:
        self._files = files

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/files", _guarded(self.upload), methods=["POST"]),
            Route("/files/remove", _guarded(self.remove), methods=["POST"]),
            Route("/files/{file_id}", _guarded(self.download)),
        ]

    async def upload(self, request: Request, principal: Principal) -> Response:
        """Keep the body as a file; it is read piece by piece and never wholly in memory."""
        name = unquote(request.headers.get(FILE_NAME, ""), errors="replace")
        claimed = request.headers.get("content-type", "")
        address = request.client.host if request.client is not None else None
        file = await self._files().add(principal, name, claimed, request.stream(), address)
        return JSONResponse(
            {
                "id": file.file_id,
                "name": file.name,
                "kind": file.kind,
                "size": file.size_bytes,
                "media_type": file.media_type,
            }
        )

    async def download(self, request: Request, principal: Principal) -> Response:
        """The bytes as they came, to be saved and never to be run."""
        file, path = await self._files().open(principal, request.path_params["file_id"])
        return FileResponse(
            path,
            media_type=file.media_type if file.media_type in SHOWN else "application/octet-stream",
            headers={
                "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
                # The guard adds its own, nosniff and no-store; both policies hold then.
                "content-security-policy": "sandbox; default-src 'none'",
            },
        )

    async def remove(self, request: Request, principal: Principal) -> Response:
        """Delete a file that no message has."""
        await self._files().remove(principal, text(await body(request, MAX_BODY_BYTES), "id"))
        return JSONResponse({})


def _guarded(answer: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        principal = request.scope.get(PRINCIPAL)
        if not isinstance(principal, Principal):
            if request.url.path == "/files":
                return JSONResponse({"detail": NOBODY}, 403)
            return JSONResponse({"detail": NOT_FOUND}, 404)
        try:
            return await answer(request, principal)
        except NotFoundError:
            return JSONResponse({"detail": NOT_FOUND}, 404)
        except UserError as error:
            told = error
        except ClientDisconnect:
            told = InvalidMessageError("The upload ended early.", status=400)
        except Exception as error:  # noqa: BLE001 (told to the user, named in the log)
            told = UserError()
            log.error("files failed error_id=%s cause=%s", told.error_id, frames(error))  # noqa: TRY400
        # What was not read must not be taken for the next request.
        return JSONResponse({"detail": str(told)}, told.status, {"connection": "close"})

    return endpoint

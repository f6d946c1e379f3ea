"""Shows what was proved of this deployment's isolation: a page, the certificate and a badge."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cmw_agent.web.api.endpoint import endpoint
from cmw_agent.web.api.svg_charts import environment
from cmw_agent.web.security.guard import NOT_FOUND

if TYPE_CHECKING:
    from cmw_agent.core.certificates import Certificate

SVG = "image/svg+xml"


class IsolationRoutes:
    """The routes. Without a certificate they answer as unknown paths do.

    Args:
        path: The certificate's file, if there is one; it is read at the start.

    Raises:
        StartupError: The file cannot be read, is no certificate, or has been changed.
    """

    def __init__(self, path: Path | None) -> None:
        self._certificate = None if path is None else _read(path)
        self._is_of_this_code: bool | None = None  # None until somebody asks

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/isolation", endpoint(self._page, "isolation")),
            Route("/isolation/certificate.json", endpoint(self._file, "isolation")),
            Route("/isolation/badge.svg", endpoint(self._badge, "isolation")),
        ]

    async def _page(self, request: Request) -> Response:
        if (found := self._certificate) is None:
            return _missing()
        page = environment().get_template("isolation.html")
        is_current = await self._is_current(found)
        return HTMLResponse(page.render(found=found, state=_state(found, is_current=is_current)))

    async def _file(self, request: Request) -> Response:
        if self._certificate is None:
            return _missing()
        return Response(self._certificate.json_bytes(), media_type="application/json")

    async def _badge(self, request: Request) -> Response:
        if (found := self._certificate) is None:
            return _missing()
        state = _state(found, is_current=await self._is_current(found))
        badge = environment().get_template("isolation_badge.svg")
        return Response(badge.render(found=found, state=state), media_type=SVG)

    async def _is_current(self, found: "Certificate") -> bool:
        """Return whether the certificate is of the code and the packages that run here."""
        if self._is_of_this_code is None:
            from cmw_agent.core import code_digests  # noqa: PLC0415

            code = await asyncio.to_thread(code_digests.code_digest)
            packages = await asyncio.to_thread(code_digests.packages_digest)
            self._is_of_this_code = (code, packages) == (found.code, found.packages)
        return self._is_of_this_code


def _read(path: Path) -> "Certificate":
    # Its library takes some MB, which an app without a certificate saves.
    from cmw_agent.core.certificates import Certificate  # noqa: PLC0415

    return Certificate.read(path)


def _state(found: "Certificate", *, is_current: bool) -> str:
    if not is_current:
        return "of other code"
    return "proved" if found.holds else "not proved"


def _missing() -> Response:
    return JSONResponse({"detail": NOT_FOUND}, 404)

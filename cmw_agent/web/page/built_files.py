"""Serves what `make frontend` has built: the page's bundled scripts and styles, compressed.

A file's address holds the hash of its content, so browsers need not ask for it again.
"""

import asyncio
import gzip
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.web.security.guard import NOT_FOUND

BUILT = Path(__file__).parent / "static" / "built"
TYPES = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
STYLE, SCRIPT = "pane.css", "pane.js"


class BuiltFiles:
    """Holds the built files that were asked for, each compressed once.

    Args:
        folder: Where they are.
        has_gradio: Whether the page takes Gradio's bundled files; not where it has components that
            are not among them.
    """

    def __init__(self, folder: Path = BUILT, *, has_gradio: bool = True) -> None:
        self._folder = folder
        self._has_gradio = has_gradio
        self.names = {path.name for path in folder.iterdir() if path.suffix in TYPES}
        self._packed: dict[str, bytes] = {}  # by name: as many as there are files

    def address(self, name: str) -> str:
        """Return a file's address, which is another one once its content has changed."""
        digest = hashlib.sha256((self._folder / name).read_bytes()).hexdigest()
        return f"built/{name}?v={digest[:16]}"

    def gradio(self, version: str) -> tuple[str, str] | None:
        """Return the addresses of Gradio's bundled script and style sheet.

        Args:
            version: The hash in the name of the script that Gradio's own page begins with.

        Returns:
            None where another version or other components were bundled: then Gradio's own files
            are to be used.
        """
        script, style = f"gradio-{version}.js", f"gradio-{version}.css"
        if not self._has_gradio or not {script, style} <= self.names:
            return None
        return self.address(script), self.address(style)

    def routes(self) -> list[Route]:
        """Return the routes of the files."""
        return [Route("/built/{name}", self._file)]

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.names:
            return JSONResponse({"detail": NOT_FOUND}, 404)
        if name not in self._packed:
            self._packed[name] = await asyncio.to_thread(self._pack, name)
        content, headers = self._packed[name], {"vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
        else:
            content = await asyncio.to_thread(gzip.decompress, content)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)

    def _pack(self, name: str) -> bytes:
        return gzip.compress((self._folder / name).read_bytes(), 9, mtime=0)

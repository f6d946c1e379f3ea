"""Serves the script of each language, which brings the page its texts before anything is drawn."""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.language import Language, Languages
from cmw_agent.language.script import language_script
from cmw_agent.web.security.guard import NOT_FOUND

FOLDER: Final = "language"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    address: str


class LanguageFiles:
    """The scripts of the languages; a script's address holds the hash of its content.

    Args:
        languages: The languages.
    """

    def __init__(self, languages: Languages) -> None:
        self._files: Mapping[str, _File] = {
            f"{language.tag}.js": _file(language, languages.all) for language in languages.all
        }

    def address(self, language: Language) -> str:
        """Return the address of a language's script, below the app's own."""
        return self._files[f"{language.tag}.js"].address

    def tag(self, language: Language) -> str:
        """Return the HTML tag that loads a language's script."""
        return f'<script src="{self.address(language)}"></script>'

    def routes(self) -> list[Route]:
        """Return the routes of the scripts."""
        return [Route(f"/{FOLDER}/{{name}}", self._answer)]

    async def _answer(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            return JSONResponse({"detail": NOT_FOUND}, 404)
        headers = {"vary": "accept-encoding"}
        is_packed = "gzip" in request.headers.get("accept-encoding", "")
        if is_packed:
            headers["content-encoding"] = "gzip"
        content = file.packed if is_packed else file.body
        return Response(content, media_type="text/javascript", headers=headers)


def _file(language: Language, offered: Sequence[Language]) -> _File:
    body = language_script(language, offered).encode()
    digest = hashlib.sha256(body).hexdigest()
    address = f"{FOLDER}/{language.tag}.js?v={digest[:16]}"
    return _File(body, gzip.compress(body, 9, mtime=0), address)

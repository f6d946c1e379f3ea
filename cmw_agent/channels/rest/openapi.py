"""The interface's description for programs (OpenAPI), and a page that shows it to people.

Both are public and contain no user data; the page loads files of the app alone.
"""

import asyncio
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from cmw_agent.channels.common.problems import MEDIA_TYPE, problem
from cmw_agent.core.errors import NotFoundError
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language

VERSION = "3.0.3"  # the newest that the page's script can draw
SUMMARY = (
    "Talk to the agents from programs. Each request bears a key: `Authorization: Bearer KEY`. "
    "A session belongs to the key's name, the agent and its id together. `/v1` speaks as OpenAI's "
    "API does, for clients made for that."
)
FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CMW Agent: REST</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="page"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#page", validatorUrl: null})</script>
</body></html>
"""


class PageFileNotFoundError(NotFoundError):
    """The page has no such file."""

    sentence = wording("There is no such file.")


def described(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of `routes`."""
    document = get_openapi(
        title="CMW Agent",
        version="1",
        description=SUMMARY,
        routes=list(routes),
        openapi_version=VERSION,
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            _mark_problems(operation["responses"])
    converted: dict[str, Any] = _as_openapi_3_0(document)
    return converted


def router(interface: Sequence[BaseRoute]) -> APIRouter:
    """Return the routes of the document, which is built at the first request, and of its page."""
    document = cache(partial(described, interface))

    async def openapi(request: Request) -> Response:
        root = request.base_url.path.removesuffix("/")
        servers = {"servers": [{"url": root}]} if root else {}
        return JSONResponse(await asyncio.to_thread(document) | servers)

    async def docs() -> Response:
        return HTMLResponse(PAGE)

    async def file(request: Request, name: str) -> Response:
        if name not in FILES:
            return problem(PageFileNotFoundError(), request_language(request.scope))
        return FileResponse(str(swagger_ui_path / name), media_type=FILES[name])

    api_router = APIRouter(include_in_schema=False)
    api_router.add_api_route("/api/openapi.json", openapi, methods=["GET"])
    api_router.add_api_route("/api/docs", docs, methods=["GET"])
    api_router.add_api_route("/api/docs/{name}", file, methods=["GET"])
    return api_router


def _mark_problems(responses: dict[str, Any]) -> None:
    """Say that errors are problem documents, where they are."""
    for status, response in responses.items():
        content = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if status.startswith(("4", "5")) and schema.get("$ref", "").endswith("/Problem"):
            content[MEDIA_TYPE] = content.pop("application/json")


def _as_openapi_3_0(value: Any) -> Any:
    """Return what OpenAPI 3.1 says as 3.0 says it, which knows no type null."""
    if isinstance(value, list):
        return [_as_openapi_3_0(item) for item in value]
    if not isinstance(value, dict):
        return value
    converted = {name: _as_openapi_3_0(item) for name, item in value.items()}
    choices = converted.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        others = [item for item in choices if item != {"type": "null"}]
        converted |= {"anyOf": others, "nullable": True}
        if len(others) == 1 and "$ref" not in others[0]:
            del converted["anyOf"]
            converted = others[0] | converted
    examples = converted.get("examples")
    if isinstance(examples, list):
        converted["example"] = converted.pop("examples")[0]
    if "const" in converted and not isinstance(converted["const"], dict):
        converted["enum"] = [converted.pop("const")]
    converted.pop("propertyNames", None)
    return converted

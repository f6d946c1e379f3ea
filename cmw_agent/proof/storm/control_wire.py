"""Helpers of all wires of the control server: the caller of a request, uploads, responses."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

COOKIE = "control_visitor"


def caller_of(request: web.Request) -> str:
    """Return who sends a request: its key, or its cookie."""
    return request.headers.get("authorization") or request.cookies.get(COOKIE, "nobody")


def content_of(field: Any) -> str:
    """Return the name and the content of an uploaded file as one text."""
    return f"{field.filename} {field.file.read().decode(errors='replace')}"


def stored_response(find: Callable[[str, str], str | None], request: web.Request) -> web.Response:
    """Answer with what the caller may have under the name in the path; 404 without."""
    return response_of(find(caller_of(request), request.match_info["name"]))


def response_of(text: str | None) -> web.Response:
    """Answer with a text; 404 without."""
    if text is None:
        raise web.HTTPNotFound
    return web.json_response({"text": text})


def parts_of(text: str) -> list[str]:
    """Return a text in pieces that cut canaries, as models' tokens do."""
    return [text[start : start + 7] for start in range(0, len(text), 7)]

"""The response to an import: lines of progress while it runs, and its result as the last one."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cmw_agent.language import Language

LINES = "application/x-ndjson"


class ImportResponse(StreamingResponse):
    """Writes the progress of an import, one JSON object a line.

    Args:
        first: The first line.
        rest: The further ones; closed when the response ends, however that comes about.
    """

    def __init__(
        self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]], language: Language
    ) -> None:
        super().__init__(_lines(first, rest, language), media_type=LINES)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def import_response(
    lines: AsyncGenerator[dict[str, Any]], language: Language
) -> ImportResponse:
    """Return the response that writes an import's lines, once the first is there.

    Raises:
        UserError: The import cannot begin, or its file cannot be read.
    """
    try:
        return ImportResponse(await anext(lines), lines, language)
    except BaseException:
        await lines.aclose()
        raise


async def _lines(
    first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]], language: Language
) -> AsyncGenerator[bytes]:
    yield orjson.dumps(language.translate_all(first)) + b"\n"
    async for value in rest:
        yield orjson.dumps(language.translate_all(value)) + b"\n"

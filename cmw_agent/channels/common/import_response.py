"""The response to an import: lines of progress while it runs, and its result as the last one."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

LINES = "application/x-ndjson"


class ImportResponse(StreamingResponse):
    """Runs an import as it writes one JSON object a line; the import ends with the response.

    Args:
        first: The first value of the import.
        rest: The further ones; closed when the response ends, however that comes about.
    """

    def __init__(self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]) -> None:
        super().__init__(_lines(first, rest), media_type=LINES)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def import_response(run: AsyncGenerator[dict[str, Any]]) -> ImportResponse:
    """Begin an import, and return the response that goes on with it.

    Raises:
        UserError: The import cannot begin, or its file cannot be read.
    """
    try:
        return ImportResponse(await anext(run), run)
    except BaseException:
        await run.aclose()
        raise


async def _lines(
    first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]
) -> AsyncGenerator[bytes]:
    yield orjson.dumps(first) + b"\n"
    async for value in rest:
        yield orjson.dumps(value) + b"\n"

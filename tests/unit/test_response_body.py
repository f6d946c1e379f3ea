"""A response's bytes are the same with aiohttp's private fields and without them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cmw_agent.llm.response_body import (
    BUFFER_FIELD,
    PROTOCOL_FIELD,
    STREAM_FIELD,
    WAIT_FIELD,
    ResponseBody,
)
from tests.harness import WAIT

PIECE = b"data: " + b"x" * 1_000 + b"\n\n"
PIECES = 2_000  # far more than aiohttp holds before it stops reading


class Without:
    """What `wrapped` is, as a version of aiohttp would have it that lacks `missing` fields."""

    def __init__(self, wrapped: Any, *missing: str) -> None:
        self._wrapped = wrapped
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(name)
        return getattr(self._wrapped, name)


class Stripped:
    """A response whose stream or protocol lacks private fields."""

    def __init__(self, answer: aiohttp.ClientResponse, *missing: str) -> None:
        self._answer = answer
        self._missing = missing
        self.content = Without(answer.content, *missing)

    @property
    def connection(self) -> Any:
        connection = self._answer.connection
        if connection is None:
            return None
        return SimpleNamespace(protocol=Without(connection.protocol, *self._missing))


@contextlib.asynccontextmanager
async def answered(*, cut: bool = False) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask a server for many pieces; with `cut` the connection breaks before the end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(PIECES):
            await response.write(PIECE)
        if cut and request.transport is not None:
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{port}/") as answer,
        ):
            yield answer
    finally:
        await runner.cleanup()


MISSING = [
    (),
    (STREAM_FIELD,),
    (PROTOCOL_FIELD,),
    (STREAM_FIELD, PROTOCOL_FIELD),
    (BUFFER_FIELD,),
    (WAIT_FIELD,),
    (STREAM_FIELD, PROTOCOL_FIELD, BUFFER_FIELD, WAIT_FIELD),
]


@pytest.mark.parametrize("missing", MISSING)
async def test_all_bytes_come_with_and_without_the_fields(missing: tuple[str, ...]) -> None:
    async with asyncio.timeout(WAIT), answered() as answer:
        body = ResponseBody(Stripped(answer, *missing) if missing else answer)  # type: ignore[arg-type]
        parts = []
        while part := await body.read():
            body.pause()
            body.resume()
            parts.append(part)
    assert b"".join(parts) == PIECE * PIECES


async def test_the_fields_are_there_in_the_installed_aiohttp() -> None:
    async with asyncio.timeout(WAIT), answered() as answer:
        for field in (STREAM_FIELD, BUFFER_FIELD, WAIT_FIELD):
            assert hasattr(answer.content, field)
        assert answer.connection is not None
        assert hasattr(answer.connection.protocol, PROTOCOL_FIELD)


@pytest.mark.parametrize("missing", MISSING)
async def test_what_came_before_the_connection_broke_is_read(missing: tuple[str, ...]) -> None:
    async with asyncio.timeout(WAIT), answered(cut=True) as answer:
        body = ResponseBody(Stripped(answer, *missing) if missing else answer)  # type: ignore[arg-type]
        parts = []
        with pytest.raises(aiohttp.ClientError) as failure:
            while True:
                parts.append(await body.read())
        parts.append(body.rest(failure.value))
    assert b"".join(parts) == PIECE * PIECES

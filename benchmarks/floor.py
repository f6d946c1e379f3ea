"""The floor of the benchmark: a proxy that forwards the endpoint's bytes and does nothing else.

It has no sessions, memory, agent or page. ``python -m benchmarks.floor PORT`` serves it.
"""

import os
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


async def chat(request: Request) -> StreamingResponse:
    """Send the body's message to the endpoint and stream the response's bytes."""
    body = await request.json()
    payload = {
        "model": os.environ["CMW_MODEL"],
        "stream": True,
        "messages": [{"role": "user", "content": body["message"]}],
    }
    session: aiohttp.ClientSession | None = getattr(request.app.state, "session", None)
    if session is None:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        request.app.state.session = session
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"

    async def stream() -> AsyncIterator[bytes]:
        async with session.post(url, json=payload) as answer:
            async for part in answer.content.iter_any():
                yield part

    return StreamingResponse(stream(), media_type="text/event-stream")


def main() -> None:
    """Serve on 127.0.0.1 at the port of the command line."""
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")


if __name__ == "__main__":
    main()

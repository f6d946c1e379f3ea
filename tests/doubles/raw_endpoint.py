"""An endpoint that writes given bytes: it plays what real servers sent, byte for byte.

The model's name is the case. The n-th request whose last user message ends with the same word gets the case's n-th
reply, and later ones the last reply.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.doubles.openai_steps import text_of

STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class RawReply:
    """One response.

    Args:
        pieces: Bytes of the body, each written by itself.
        status: HTTP status.
        headers: Response headers; ``content-type`` is ``text/event-stream`` by default.
        stays_open: Whether the connection stays open after the last piece.
    """

    pieces: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stays_open: bool = False


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request that was received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    text: str = ""  # the body as it was sent

    @property
    def last_user(self) -> str:
        """Text of the last user message."""
        messages = self.body.get("messages") or []
        texts = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        return texts[-1] if texts else ""


class RawEndpoint:
    """Serves on 127.0.0.1 while the context is open.

    Args:
        cases: The replies of each case by its name.
        learned: For each case, how many of its first replies only the first conversation gets.

    Attributes:
        requests: All requests, in the order of their arrival.
        base_url: Address for clients.
    """

    def __init__(
        self, cases: Mapping[str, Sequence[RawReply]], learned: Mapping[str, int] | None = None
    ) -> None:
        self.base_url = ""
        self.requests: list[RawRequest] = []
        self._cases = dict(cases)
        self._learned = dict(learned or {})
        self._first: dict[str, str] = {}  # that word of each case's first conversation
        self._counts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def naming(self, text: str) -> list[RawRequest]:
        """Return the requests whose body holds `text`."""
        return [item for item in self.requests if text in item.text]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await _read(reader)
            self.requests.append(request)
            reply = self._reply(request)
            headers = {"content-type": STREAM, "connection": "close", **reply.headers}
            head = f"HTTP/1.1 {reply.status} Reply\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(head.encode() + b"\r\n")
            for piece in reply.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if reply.stays_open:
                await reader.read()
        writer.close()

    def _reply(self, request: RawRequest) -> RawReply:
        model, text = str(request.body.get("model")), request.last_user.rpartition(" ")[2]
        replies = self._cases.get(model)
        if replies is None:
            return RawReply([b'{"error": {"message": "no such case"}}'], 418)
        number = self._counts[f"{model} {text}"]
        if self._first.setdefault(model, text) != text:
            number += self._learned.get(model, 0)
        self._counts[f"{model} {text}"] += 1
        return replies[min(number, len(replies) - 1)]


async def _read(reader: asyncio.StreamReader) -> RawRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return RawRequest(method, path, headers, json.loads(body) if body else {}, body.decode())

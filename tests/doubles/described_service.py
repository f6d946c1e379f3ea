"""A web service that describes itself by OpenAPI, in a thread of its own: the app asks it at its start."""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "token-of-the-shop"
CHUNK = b"x" * 65_536


@dataclass
class Received:
    """A request that the service got."""

    method: str
    target: str
    headers: dict[str, str]
    body: str


@dataclass
class DescribedService:
    """The running service.

    Attributes:
        url: Its address.
        description: What it says of itself; it may be replaced before the app starts.
        received: The requests that it got, without those for its description.
        fetched: Those for its description.
        release: Ends the answers that wait.
    """

    url: str
    description: bytes = b""
    received: list[Received] = field(default_factory=list)
    fetched: list[Received] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


def description(**paths: Any) -> bytes:
    """Return a description of the service's own paths, and of more."""
    order = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    item = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    odd = ("away", "inside", "loop", "endless", "hanging", "picture", "packed", "failing", "cut")
    return json.dumps(
        {
            "openapi": "3.1.0",
            "servers": [{"url": "/api"}],
            "paths": {
                "/orders/{id}": {
                    "get": {"operationId": "getOrder", "parameters": [order]},
                    "delete": {"operationId": "deleteOrder", "parameters": [order]},
                },
                "/orders": {
                    "post": {
                        "operationId": "addOrder",
                        "requestBody": {"required": True, "content": {"application/json": {"schema": item}}},
                    }
                },
                **{f"/{name}": {"get": {"operationId": name}} for name in odd},
                "/moved": {"post": {"operationId": "moved"}},
                **paths,
            },
        }
    ).encode()  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: DescribedService

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _take(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.command, self.path, headers, body)
        path = urlsplit(self.path).path
        if path == "/openapi.json":
            self.service.fetched.append(request)
            self._send(200, self.service.description)
            return
        self.service.received.append(request)
        answer = getattr(self, f"_{path.removeprefix('/api/')}", None)
        if answer is not None:
            answer()
        else:
            shown = {"method": request.method, "target": request.target, "body": request.body}
            self._send(200, json.dumps(shown).encode(), **{"set-cookie": "user=first"})

    do_GET = do_POST = do_DELETE = _take  # noqa: N815 (the names that the base calls)

    def _send(
        self, status: int, body: bytes, kind: str = "application/json", **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": kind,
            "content-length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _away(self) -> None:
        self._send(302, b"", location="http://169.254.169.254/latest/meta-data")

    def _inside(self) -> None:
        self._send(302, b"", location="/api/orders/7")

    def _loop(self) -> None:
        self._send(302, b"", location="/api/loop")

    def _moved(self) -> None:
        self._send(307, b"", location="/api/orders")

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(CHUNK)

    def _hanging(self) -> None:
        self.service.release.wait(60)
        self._send(200, b"{}")

    def _picture(self) -> None:
        self._send(200, b"\x89PNG", "image/png")

    def _packed(self) -> None:
        self._send(200, gzip.compress(b"0" * 10_000_000), **{"content-encoding": "gzip"})

    def _failing(self) -> None:
        self._send(503, b'{"error": "closed today"}')

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True


@contextlib.contextmanager
def described_service() -> Iterator[DescribedService]:
    """Run the service for the block."""
    service = DescribedService("", description())
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.release.set()
        server.shutdown()
        server.server_close()
        thread.join()

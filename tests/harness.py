"""Serves the app in the test's event loop, and a client that speaks Gradio's protocol to it."""

import asyncio
import contextlib
import itertools
import random
import secrets
import string
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import uvicorn

from cmw_agent import Agent
from cmw_agent.cli.serve import KEEP_ALIVE_SECONDS
from cmw_agent.config.settings import Settings
from cmw_agent.config.validators import KeyLimits, sqlite_url
from cmw_agent.server.build import Application, Parts, build_app
from cmw_agent.server.connection_bounds import ConnectionBounds, Deadlines
from cmw_agent.server.http_protocol import protocol_for
from cmw_agent.web.page.operator_part import PagePart
from tests.databases import put_migrated
from tests.doubles import waiting

API = "/gradio_api"
WAIT = waiting.WAIT  # time limit of anything in a test, in seconds
UNCHANGED = {"__type__": "update"}  # Gradio's value for an output that does not change


def canary() -> str:
    """Return a unique text that no other text contains."""
    return f"canary-{secrets.token_hex(8)}"


def settings_for(folder: Path, **changes: Any) -> Settings:
    """Return settings with data in `folder`, without limits, and nothing from the environment.

    Args:
        folder: The data folder.
        changes: Further settings by their field names.
    """
    values: dict[str, Any] = {
        "data_dir": folder,
        "secret_key": "s" * 32,
        "log_level": "WARNING",
        "demo_pause": 0,
        "agents_file": folder / "agents.toml",
        # the users of most tests write faster than people can
        "turns_per_minute": 0,
        "turns_per_address": 0,
        "turns_at_once": 0,
        "address_share": 1,
        "key_limits": (KeyLimits("*", 0, 0, 0),),
        # otherwise the app asks the endpoint for it, which counts as a request
        "user_field": "safety_identifier",
        # the page's conversations would be named by a further request, and tests count requests
        "titles": "off",
    }
    return Settings(_env_file=None, **{**values, **changes})


@dataclass(slots=True)
class Served:
    """A running app: its URL, its parts and its server."""

    url: str
    application: Application
    server: uvicorn.Server


@contextlib.asynccontextmanager
async def served(
    settings: Settings,
    parts: Parts | None = None,
    deadlines: Deadlines | None = None,
    agents: Sequence[Agent] = (),
    port: int = 0,
    page_part: PagePart | None = None,
) -> AsyncIterator[Served]:
    """Serve the app on 127.0.0.1, in this event loop, for the block.

    Args:
        settings: The app's settings.
        parts: The classes that the app is built from; tests of the oracles replace some by broken ones.
        deadlines: The connections' time limits.
        agents: Agents in Python.
        port: Where it listens; 0 for a free port.
        page_part: What stands beside the chat.
    """
    application = build_app(settings, parts or Parts(), agents, page_part=page_part)
    if settings.database_url.get_secret_value() == sqlite_url(settings.data_dir):
        put_migrated(settings.data_dir / "chat.db")
    config = uvicorn.Config(
        application.asgi,
        http=protocol_for(
            ConnectionBounds(application.runtime.budgets, settings.trust_proxy, deadlines)
        ),
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=False,  # the app's own: see web/security/proxy_headers.py
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    try:
        async with asyncio.timeout(WAIT):
            while not server.started:
                if serving.done():
                    serving.result()
                    raise RuntimeError("the server ended before it had started")
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", application, server)
    finally:
        server.should_exit = True
        async with asyncio.timeout(WAIT):
            await serving


def browser_hash() -> str:
    """Return a random session hash as Gradio's page makes it, of 11 characters."""
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=11))


class RefusedError(Exception):
    """The server refused an event with the HTTP status `status` and the message `detail`."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


@dataclass(slots=True)
class Event:
    """The updates that one event of the page has received so far."""

    id: str
    values: list[list[Any]] = field(default_factory=list)  # all outputs, after each update
    raw: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    done: bool = False

    @property
    def value(self) -> Any:
        """The first output's latest value."""
        return self.values[-1][0] if self.values else None


class Tab:
    """One browser tab: cookies, a session hash, an event stream, a heartbeat.

    Args:
        url: The app's URL.
        session: The browser's HTTP client; tabs of one browser share it, and so its cookies.
        session_hash: Gradio's session hash; a random one when absent.
        headers: Sent with each request, such as a visitor token.
        query: The page's query string with its ``?``, sent with each event.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        session_hash: str | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> None:
        self.url = url
        self.http = session
        self.hash = session_hash or browser_hash()
        self.headers = headers or {}
        self.query = query
        self.received = bytearray()  # every byte received, for oracles
        self._functions: dict[str, int] = {}
        self._heartbeat: asyncio.Task[None] | None = None

    async def open(self) -> "Event":
        """Fetch the page and its config, open the heartbeat, run the page's load event."""
        body = b""
        for path in ("/", "/config"):
            async with self.http.get(self.url + path, headers=self.headers) as answer:
                body = await answer.read()
                self.received += body
        config = orjson.loads(body)
        for dependency in config["dependencies"]:
            name = dependency.get("api_name") or ""
            if name:
                self._functions.setdefault(name, dependency["id"])
        started = asyncio.Event()
        self._heartbeat = asyncio.create_task(self._beat(started))
        async with asyncio.timeout(WAIT):
            await started.wait()
        return await self.run("open_page", [])

    async def close(self) -> None:
        """Close the tab by closing the heartbeat's connection."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heartbeat

    def function(self, name: str) -> int:
        """Return Gradio's index of an event by its name."""
        return self._functions[name]

    async def join(self, name: str, data: list[Any], **extra: Any) -> str:
        """Send an event and return its id.

        Args:
            name: The event's API name.
            data: The input values.
            extra: Further fields of the request's body.

        Raises:
            RefusedError: The server answers with another status than 200.
        """
        body = {
            "data": data,
            "fn_index": self.function(name),
            "session_hash": self.hash,
            "event_data": None,
            "trigger_id": 1,  # the component that triggered the event; programs send none
            **extra,
        }
        async with self.http.post(
            f"{self.url}{API}/queue/join{self.query}", json=body, headers=self.headers
        ) as answer:
            content = await answer.read()
            self.received += content
            parsed = orjson.loads(content)
            if answer.status != 200:
                raise RefusedError(answer.status, parsed.get("detail"))
            return str(parsed["event_id"])

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages of the session's event stream until the server closes it.

        Raises:
            RefusedError: The server answers with another status than 200.
        """
        params = {"session_hash": self.hash}
        async with self.http.get(
            f"{self.url}{API}/queue/data", params=params, headers=self.headers
        ) as answer:
            if answer.status != 200:
                raise RefusedError(answer.status, await answer.text())
            async for line in answer.content:
                self.received += line
                if line.startswith(b"data:"):
                    yield orjson.loads(line[5:])

    async def follow(self, event: Event) -> AsyncIterator[Event]:
        """Read the stream and apply each message to `event`; yields it until it is done."""
        async for message in self.events():
            if message.get("event_id") not in (event.id, None):
                continue
            event.raw.append(message)
            applied(event, message)
            yield event
            if event.done:
                return

    async def run(self, name: str, data: list[Any], **extra: Any) -> Event:
        """Send an event and wait until it is done."""
        async with asyncio.timeout(WAIT):
            event = Event(await self.join(name, data, **extra))
            async with contextlib.aclosing(self.follow(event)) as updates:  # type: ignore[type-var]
                async for _ in updates:
                    pass
        return event

    async def send(self, text: str, key: str = "") -> Event:
        """Send a chat message and wait for the whole answer."""
        return await self.run("send", [text, key, "", None])

    async def _beat(self, started: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.http.get(
            f"{self.url}{API}/heartbeat/{self.hash}", headers=self.headers, timeout=timeout
        ) as answer:
            async for _ in answer.content:
                started.set()


class Browser:
    """A browser with its own cookies; an async context manager that closes its tabs.

    Args:
        url: The app's URL.
        cookies: Whether it accepts cookies.
        connector: Opens its connections; aiohttp's own without a limit when absent.
    """

    def __init__(
        self,
        url: str,
        *,
        cookies: bool = True,
        connector: aiohttp.BaseConnector | None = None,
    ) -> None:
        jar = aiohttp.CookieJar(unsafe=True) if cookies else aiohttp.DummyCookieJar()
        self.url = url
        self._session = aiohttp.ClientSession(
            cookie_jar=jar,
            connector=connector or aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=WAIT * 3),
        )
        self._tabs: list[Tab] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tab in self._tabs:
            await tab.close()
        await self._session.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        """The browser's connections and cookies."""
        return self._session

    def tab(self, **options: Any) -> Tab:
        """Return a new tab that is not open yet."""
        tab = Tab(self.url, self._session, **options)
        self._tabs.append(tab)
        return tab

    async def open(self, **options: Any) -> Tab:
        """Return a new tab with the page open in it."""
        tab = self.tab(**options)
        await tab.open()
        return tab


def texts(value: Any, role: str | None = None) -> list[str]:
    """Return the texts of a Chatbot value, of one role or of all."""
    return [
        part["text"]
        for item in value or []
        if role is None or item["role"] == role
        for part in item["content"]
        if part["type"] == "text"
    ]


def last_text(value: Any) -> str:
    """Return the last text of a Chatbot value; empty without one."""
    all_texts = texts(value)
    return all_texts[-1] if all_texts else ""


def applied(event: Event, message: dict[str, Any]) -> None:
    """Apply a message of the event stream to `event`."""
    kind = message["msg"]
    if kind in ("process_generating", "process_completed"):
        output = message.get("output") or {}
        if not message.get("success", True):
            event.error = output.get("error") or "error"
        elif "data" in output:
            _update(event, output["data"], kind == "process_generating")
        event.done = kind == "process_completed"
    elif kind in ("unexpected_error", "server_stopped", "close_stream"):
        event.error = event.error or message.get("message")
        event.done = True


def _update(event: Event, data: list[Any], generating: bool) -> None:
    if generating and event.values:
        before = event.values[-1]
        data = [_patched(old, new) for old, new in itertools.zip_longest(before, data)]
    elif event.values:
        before = event.values[-1]
        data = [
            old if new == UNCHANGED else new for old, new in itertools.zip_longest(before, data)
        ]
    event.values.append(data)


def _patched(value: Any, edits: Any) -> Any:
    """Apply Gradio's edits (a list of [action, path, value]) to a copy of `value`."""
    result = orjson.loads(orjson.dumps(value))
    for action, path, new in edits:
        if not path:
            result = result + new if action == "append" else new
            continue
        target = result
        for step in path[:-1]:
            target = target[step]
        last = path[-1]
        if action == "replace":
            target[last] = new
        elif action == "append":
            target[last] += new
        elif action == "add":
            target.insert(last, new) if isinstance(target, list) else target.update({last: new})
        elif action == "delete":
            del target[last]
    return result

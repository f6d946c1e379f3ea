"""Runs two replicas behind nginx on one PostgreSQL and one Redis, and their users."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text, ToolCalls
from tests.harness import WAIT, Browser, Event, Tab, canary, last_text
from tests.isolation.storm import canaries
from tests.ports import free_port
from tests.processes import HOUSE, Process, started
from tests.replicas.proxy import nginx

HELD = "held"
ASKED = "asked"
PART = "So far: "
TURNS_PER_MINUTE = 20
# A test sees the rows of all owners, as nothing else does without saying so.
MAINTENANCE = {"cmw.maintenance": "on"}
PUT_OFF = timedelta(minutes=10)


def script(request: Request) -> Sequence[Step]:
    """Answer at once; as the message says, stop halfway until the test releases it, or call a tool."""
    said = request.last_user
    if said.startswith(ASKED):
        last = request.messages[-1]
        if last["role"] != "tool":
            return [ToolCalls([("list_schedules", "{}")])]
        outcome = "did not run" if "denied" in str(last["content"]) else "ran"
        return [Text([f"The tool {outcome}."])]
    if said.startswith(HELD):
        return [Text([PART]), Gate(), Text(["You said: ", said])]
    return [Text(["You said: ", said])]


@dataclass
class Replicas:
    """What the replicas share: database, Redis, endpoint, nginx; starts the replicas."""

    folder: Path
    endpoint: OpenAIDouble
    database: str
    redis: str
    ports: tuple[int, int]
    url: str = ""

    @contextlib.asynccontextmanager
    async def replica(self, number: int) -> AsyncIterator[Process]:
        """Run replica `number` for the block."""
        settings = {
            "CMW_PORT": str(self.ports[number]),
            "CMW_DATA_DIR": str(self.folder),
            "CMW_DATABASE_URL": self.database,
            "CMW_REDIS_URL": self.redis,
            "CMW_SECRET_KEY": "k" * 32,
            "CMW_TRUST_PROXY": "127.0.0.1",
            "CMW_DRAIN_SECONDS": "60",
            "CMW_TURNS_PER_MINUTE": str(TURNS_PER_MINUTE),
            "CMW_TURNS_PER_ADDRESS": "0",
            "CMW_ADDRESS_SHARE": "1",
            "OPENAI_BASE_URL": self.endpoint.base_url,
            "CMW_MODEL": "script",
            "CMW_USER_FIELD": "user",
            "CMW_APPROVAL": "all",
        }
        async with started(HOUSE, settings) as process:
            await process.url()
            await self.serving(number)
            yield process

    def direct(self, number: int) -> str:
        """Return the URL of a replica without nginx."""
        return f"http://127.0.0.1:{self.ports[number]}"

    async def serving(self, number: int) -> None:
        """Check that a replica is ready; the request waits for its start."""
        ready = f"{self.direct(number)}/readyz"
        async with aiohttp.ClientSession() as http, http.get(ready) as answer:
            assert answer.status == 200

    async def until_draining(self, number: int) -> None:
        """Wait until a replica is draining."""
        async with asyncio.timeout(WAIT), aiohttp.ClientSession() as http:
            status = 200
            while status != 503:
                async with http.get(f"{self.direct(number)}/readyz") as answer:
                    status = answer.status

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement on the database, without any code of the app."""
        connection = await asyncpg.connect(self.database, server_settings=MAINTENANCE)
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def hold_leases(self) -> None:
        """Extend the leases of running turns, so that a slow machine lets none expire."""
        longer = "UPDATE agent_turns SET lease_expires_at = lease_expires_at + $1::interval"
        await self.rows(f"{longer} WHERE state = 'running'", PUT_OFF)

    async def let_leases_end(self) -> None:
        """Undo the extension of the leases."""
        shorter = "UPDATE agent_turns SET lease_expires_at = lease_expires_at - $1::interval"
        await self.rows(f"{shorter} WHERE lease_expires_at > now() + $1::interval / 2", PUT_OFF)

    async def until(self, statement: str, *values: Any) -> None:
        """Wait until a statement that selects one boolean returns true."""
        connection = await asyncpg.connect(self.database, server_settings=MAINTENANCE)
        try:
            async with asyncio.timeout(WAIT):
                while not await connection.fetchval(statement, *values):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def house(folder: Path, server: str, redis: str) -> AsyncIterator[Replicas]:
    """Create a database on the PostgreSQL server, and run an endpoint and nginx, for the block."""
    name = f"replicas_{folder.name.replace('-', '_')}"
    connection = await asyncpg.connect(server)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    database = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    ports = free_port(), free_port()
    async with OpenAIDouble(scripts={"script": script}) as endpoint:
        made = Replicas(folder, endpoint, database, redis, ports)
        async with nginx(folder, ports) as made.url:
            yield made


@dataclass(eq=False)
class Person:
    """A user with a browser and one page: their messages, and every byte received."""

    browser: Browser
    tab: Tab
    conversation: str = ""
    said: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    others: list[Tab] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    repeated: bool = False
    asked: str = ""
    event: Event | None = None
    reader: "asyncio.Task[None] | None" = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> Event:
        """Load the page, or load it again, on the conversation so far."""
        await self.leave()
        self.tab = self.browser.tab(query=f"?c={self.conversation}" if self.conversation else "")
        opened = await self.tab.open()
        self.conversation = opened.values[-1][1].rstrip("*")  # an answer is being written
        # the page's script puts the conversation into its address with the first message
        self.tab.query = f"?c={self.conversation}"
        return opened

    async def leave(self) -> None:
        """Close all pages, whatever the state of their connections."""
        for tab in (self.tab, *self.others):
            self.seen += tab.received
            tab.received.clear()
            heartbeat, tab._heartbeat = tab._heartbeat, None
            if heartbeat is not None:
                heartbeat.cancel()
                await asyncio.gather(heartbeat, return_exceptions=True)

    async def until_ready(self) -> None:
        """Wait until nginx routes this user to a replica that is ready."""
        async with asyncio.timeout(WAIT):
            status = 0
            while status != 200:
                async with self.browser.http.get(f"{self.browser.url}/readyz") as answer:
                    status = answer.status
                await asyncio.sleep(0.05)

    def received(self) -> set[str]:
        """Return the canaries in everything received."""
        tabs = b"".join(tab.received for tab in (self.tab, *self.others))
        return canaries((self.seen + tabs).decode())

    def note(self, kind: str = "note") -> str:
        """Return a new message with a canary."""
        self.said.append(f"{kind} {canary()} please")
        return self.said[-1]

    async def say(self, text: str, key: str = "") -> None:
        """Send a message and check its answer."""
        event = await self.tab.send(text, key)
        assert event.error is None, event.error
        self._follow(event)
        assert last_text(event.value).endswith(f"You said: {text}"), last_text(event.value)

    async def begin(self, text: str, key: str = "") -> None:
        """Send a message and return when the first words of its answer are there."""
        self.begun.clear()
        self.asked = text
        self.event = Event(await self.tab.join("send", [text, key, "", None]))
        self.reader = asyncio.create_task(self._read(self.event))
        async with asyncio.timeout(WAIT):
            await self.begun.wait()

    async def _read(self, event: Event) -> None:
        async with contextlib.aclosing(self.tab.follow(event)) as updates:  # type: ignore[type-var]
            async for update in updates:
                if last_text(update.value) == PART:
                    self._follow(event)
                    self.begun.set()

    def _follow(self, event: Event) -> None:
        """Put the conversation of a message into the address; a first message's key names it."""
        self.conversation = event.values[-1][1].rstrip("*+")
        self.tab.query = f"?c={self.conversation}"

    async def ended(self) -> bool:
        """Wait for the end of the answer that was begun; return whether it is complete."""
        assert self.reader is not None
        assert self.event is not None
        async with asyncio.timeout(WAIT):
            (broken,) = await asyncio.gather(self.reader, return_exceptions=True)
        assert broken is None or isinstance(broken, aiohttp.ClientError), broken
        whole = self.event.done and self.event.error is None
        return whole and last_text(self.event.value).endswith(f"You said: {self.asked}")


@contextlib.asynccontextmanager
async def people(url: str, count: int) -> AsyncIterator[list[Person]]:
    """Open the page for `count` users, for the block."""
    async with contextlib.AsyncExitStack() as stack:
        crowd = []
        for _ in range(count):
            browser = await stack.enter_async_context(Browser(url))
            crowd.append(Person(browser, browser.tab()))
        await asyncio.gather(*(person.open() for person in crowd))
        try:
            yield crowd
        finally:
            for person in crowd:
                if person.reader is not None:
                    person.reader.cancel()
                    await asyncio.gather(person.reader, return_exceptions=True)
                await person.leave()

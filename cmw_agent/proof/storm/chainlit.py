"""The channel of a Chainlit app, and what strangers try there with a session id that they know.

Chainlit makes session ids in the browser and writes them into the addresses of files. Where the app
has no login, nothing else says whose a session is.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

from cmw_agent.proof.storm.chainlit_socket import ChainlitSocket, ConnectionRefusedByAppError
from cmw_agent.proof.storm.channels import Attack
from cmw_agent.proof.storm.control_server import KEYS
from cmw_agent.proof.storm.errors import AnswerRefusedError
from cmw_agent.proof.storm.phrases import RECALL
from cmw_agent.proof.storm.wire import Wire

LISTEN = 2.0  # seconds for which a stranger reads events
READ = "connects under a borrowed session id"
WRITE = "writes under a borrowed session id"
FILE = "fetches a file by its address"
THREAD = "opens a thread by its id"


class ChainlitChat:
    """One page of a Chainlit app.

    Args:
        wire: Whose page it is.
        key: The person's ``name:password`` or access token; empty where the app has no login.
        session: Its session id; a random one where absent.
    """

    def __init__(self, wire: Wire, key: str, session: str | None) -> None:
        self.wire = wire
        self.session = session or str(uuid.uuid4())
        self.thread = ""
        self.file = ""
        self._key = key
        self._is_chosen = session is not None
        self._socket = ChainlitSocket(wire, "")

    async def open(self, way: str) -> None:
        """Load the page, sign in, connect; where a chosen id is refused, under an id of one's own."""
        await self.wire.ask("GET", "/", way)
        if self._key:
            await self._sign_in(way)
        await self.wire.ask("GET", "/project/settings", way)
        try:
            await self._connect(way)
        except ConnectionRefusedByAppError:
            if not self._is_chosen:
                raise
            await self._socket.close()
            self.session = str(uuid.uuid4())
            await self._connect(way)

    async def say(self, text: str, way: str) -> None:
        """Send a message and read its answer to the end."""
        await self.begin(text, way)
        await self.finish(way)

    async def cut(self, text: str, way: str) -> None:
        """Send a message and stop its answer as the page does."""
        await self.begin(text, way)
        await self._socket.until("task_start")
        await self._socket.emit("stop")
        await self._socket.until("task_end")

    async def begin(self, text: str, way: str) -> None:
        """Send a message."""
        await self._socket.send(text)

    async def finish(self, way: str) -> None:
        """Wait for the end of the answer. Raises AnswerRefusedError where it is an error's text."""
        for name, value in await self._socket.until("task_end"):
            if not isinstance(value, dict):
                continue
            if name == "first_interaction":
                self.thread = str(value.get("thread_id") or "")
            elif value.get("isError"):
                reason = str(value.get("output"))[:120]
                raise AnswerRefusedError(f"an answer ended with an error ({reason})")

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Upload a file; return whether it was taken."""
        path = f"/project/file?session_id={quote(self.session)}"
        files = {"file": (name, content, "text/plain")}
        reply = await self.wire.try_("POST", path, way, files=files)
        if reply.status != 200:
            return False
        self.file = str(reply.json().get("id", ""))
        await self.wire.try_("GET", self.file_path(), way)
        return True

    async def look_back(self, way: str) -> None:
        """Fetch one's own thread, where the app stores threads."""
        if self.thread:
            await self.wire.try_("GET", f"/project/thread/{quote(self.thread)}", way)

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with the ids of the victim's page."""
        if attack.name == FILE and victim.file:
            await self.wire.try_("GET", victim.file_path(), attack.name)
        elif attack.name == THREAD and victim.thread:
            for kind in ("thread", "share"):
                path = f"/project/{kind}/{quote(victim.thread)}"
                await self.wire.try_("GET", path, attack.name)
            async with self._connected(str(uuid.uuid4()), attack.name, victim.thread) as socket:
                await socket.listen(LISTEN)
        elif attack.name in (READ, WRITE):
            async with self._connected(victim.session, attack.name) as socket:
                if attack.name == WRITE:
                    await socket.send(RECALL)
                    await socket.until("task_end")
                else:
                    await socket.listen(LISTEN)

    async def close(self) -> None:
        """Close the page."""
        await self._socket.close()

    def file_path(self) -> str:
        """Return the address of the newest upload, below the target's."""
        return f"/project/file/{quote(self.file)}?session_id={quote(self.session)}"

    async def _sign_in(self, way: str) -> None:
        name, colon, password = self._key.partition(":")
        if colon:
            form = {"username": name, "password": password}
            await self.wire.ask("POST", "/login", way, data=form)
        else:
            headers = {"Authorization": f"Bearer {self._key}"}
            await self.wire.ask("POST", "/auth/jwt", way, headers=headers)

    async def _connect(self, way: str) -> None:
        # Balancers find a session's process by this cookie; older versions have no such route.
        body = {"session_id": self.session}
        await self.wire.try_("POST", "/set-session-cookie", way, json=body)
        self._socket = ChainlitSocket(self.wire, way)
        await self._socket.open(self.session)

    @contextlib.asynccontextmanager
    async def _connected(
        self, session: str, way: str, thread: str = ""
    ) -> AsyncIterator[ChainlitSocket]:
        socket = ChainlitSocket(self.wire, way)
        try:
            await socket.open(session, thread)
            yield socket
        finally:
            await socket.close()


class ChainlitChannel:
    """A Chainlit app.

    Args:
        keys: ``name:password`` or access tokens, dealt to the people in turn; empty where the app
            has no login.
    """

    name = "Chainlit"
    keeps_cookies = False
    attacks: Sequence[Attack] = (Attack(READ, during=True), *map(Attack, (WRITE, FILE, THREAD)))

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self.callers: int | None = len(keys) if keys else None

    def headers(self, caller: int) -> dict[str, str]:
        """Return no headers: a login is proved by a cookie."""
        return {}

    def chat(self, wire: Wire, session: str | None = None) -> ChainlitChat:
        """Return a page that is not open yet."""
        key = self._keys[wire.person.caller % len(self._keys)] if self._keys else ""
        return ChainlitChat(wire, key, session)

    def control(self) -> "ChainlitChannel":
        """Return the same way to reach the control server."""
        return ChainlitChannel([f"{key}:password" for key in KEYS])

"""The channel of a Gradio app, and what strangers try there with a session hash that they know.

Gradio makes session hashes in the browser, puts them into addresses and asks nobody to prove one.
"""

from collections.abc import Sequence
from typing import Any

from cmw_agent.proof.storm.channels import Attack
from cmw_agent.proof.storm.control_server import CONFIG
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.gradio_chat import GradioTab
from cmw_agent.proof.storm.gradio_config import Config, Event, config_of
from cmw_agent.proof.storm.phrases import RECALL
from cmw_agent.proof.storm.wire import Wire

LISTEN = 2.0  # seconds that a stranger reads a borrowed stream
READ = "reads the event stream of a borrowed session hash"
CANCEL = "cancels an answer by a borrowed session hash"
WRITE = "writes with a borrowed session hash"
LINK = "asks for a link to a borrowed session"
FILE = "fetches a file by its address"
CHAT = "opens a conversation by its id"


class GradioChat(GradioTab):
    """A tab that also uploads, and tries what others have."""

    def __init__(
        self, config: Config, event: Event, wire: Wire, session: str | None = None
    ) -> None:
        super().__init__(config, event, wire, session)
        self.file_path = ""  # of the newest upload
        self.conversations: list[str] = []

    async def upload(self, name: str, content: bytes, way: str) -> bool:
        """Upload a file as the page does; return whether it was taken."""
        if self.config.is_own:
            headers = {"x-file-name": name, "content-type": "text/plain"}
            reply = await self.wire.try_("POST", "/files", way, content=content, headers=headers)
        else:
            files = {"files": (name, content, "text/plain")}
            reply = await self.wire.try_("POST", f"{self.config.prefix}/upload", way, files=files)
        try:
            value: Any = reply.json() if reply.status == 200 else ()
            if self.config.is_own:
                self.file_path = f"/files/{value['id']}"
            else:
                self.file_path = f"{self.config.prefix}/file={value[0]}"
        except (TargetError, LookupError, TypeError):
            return False
        await self.wire.try_("GET", self.file_path, way)
        return True

    async def look_back(self, way: str) -> None:
        """Fetch what the app lists of one's own chats: of this project's apps, all of it."""
        if not self.config.is_own:
            return
        listed = (await self.wire.ask("GET", "/history", way)).json()
        self.conversations = [str(each["id"]) for each in listed["conversations"]]
        for path in ("/history/search?q=code", "/history/everything"):
            await self.wire.ask("GET", path, way)

    async def attack(self, attack: Attack, victim: Any) -> None:
        """Try something with what the victim's tab has."""
        if attack.name == READ:
            await self.listen(victim.hash, attack.name, LISTEN)
        elif attack.name == CANCEL:
            await self.cancel(victim.hash, victim.event_id, attack.name)
        elif attack.name == WRITE:
            await self._write(victim.hash, attack.name)
        elif attack.name == LINK:
            await self._link(victim.hash, attack.name)
        elif attack.name == FILE and victim.file_path:
            await self.wire.try_("GET", victim.file_path, attack.name)
        elif attack.name == CHAT:
            for conversation in victim.conversations[:3]:
                for path in (f"/?c={conversation}", f"/history/export?id={conversation}"):
                    await self.wire.try_("GET", path, attack.name)

    async def _write(self, session: str, way: str) -> None:
        tab = GradioTab(self.config, self.event, self.wire, session)
        await tab.say(RECALL, way)

    async def _link(self, session: str, way: str) -> None:
        reply = await self.wire.try_(
            "GET", f"{self.config.prefix}/deep_link?session_hash={session}", way
        )
        link = reply.body.decode(errors="replace").strip('"')
        if reply.status == 200 and link.isidentifier() | link.replace("-", "").isalnum():
            await self.wire.try_("GET", f"/?deep_link={link}", way)


class GradioChannel:
    """A Gradio app: ChatInterface, or Blocks with an event that takes a text.

    Args:
        config: What the app's ``/config`` says.
        endpoint: The API name of the event that sends a message, where it is given.

    Raises:
        TargetError: The app has no such event.
    """

    keeps_cookies = True
    callers: int | None = None

    def __init__(self, config: Config, endpoint: str | None = None) -> None:
        self.name = "page" if config.is_own else "Gradio"
        self.config = config
        self._event = config.chat(endpoint)
        config.message_index(self._event)
        self.attacks: Sequence[Attack] = (
            Attack(READ, during=True),
            Attack(CANCEL, during=True, ends=True),
            *(Attack(name) for name in (WRITE, LINK, FILE)),
            *((Attack(CHAT),) if config.is_own else ()),
        )

    @property
    def endpoint(self) -> str:
        """The API name of the event that sends a message."""
        return self._event.name

    def headers(self, caller: int) -> dict[str, str]:
        """Return nothing: cookies tell people apart, where anything does."""
        return {}

    def chat(self, wire: Wire, session: str | None = None) -> GradioChat:
        """Return a tab that is not open yet."""
        return GradioChat(self.config, self._event, wire, session)

    def control(self) -> "GradioChannel":
        """Return the same way to reach the control server."""
        return GradioChannel(config_of(CONFIG))

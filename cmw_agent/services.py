"""What channels need of a running process; the web's `Runtime` is that."""

from collections.abc import Mapping
from typing import Protocol

from cmw_agent.approvals import Approvals
from cmw_agent.budgets import Budgets
from cmw_agent.chat import ChatService
from cmw_agent.files import Files
from cmw_agent.history import History
from cmw_agent.identity import Principal
from cmw_agent.observers import Observer
from cmw_agent.profiles import Profile
from cmw_agent.sessions import SessionRegistry
from cmw_agent.settings import Settings
from memory.inbox import Inbox
from memory.manager import ConversationMemoryManager
from memory.outbox import Outbox


class Services(Protocol):
    """The live parts of one process.

    Raises:
        Unavailable: From all but the first four, before the start and after the end.
    """

    @property
    def settings(self) -> Settings:
        """As loaded at start."""

    @property
    def observer(self) -> Observer:
        """Is told what the process does."""

    @property
    def budgets(self) -> Budgets:
        """What one owner, one network address and all may use."""

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The agents by id."""

    @property
    def chat(self) -> ChatService:
        """The service that runs turns."""

    @property
    def registry(self) -> SessionRegistry:
        """The live sessions."""

    @property
    def history(self) -> History:
        """What owners do with their conversations."""

    @property
    def files(self) -> Files:
        """What owners do with files."""

    @property
    def approvals(self) -> Approvals:
        """The tool calls that wait for their users."""

    @property
    def inbox(self) -> Inbox:
        """What came by WhatsApp."""

    @property
    def outbox(self) -> Outbox:
        """What goes out there."""

    def memory_of(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds a principal's conversations."""

"""What channels need of a running process; the web's `Runtime` is that."""

from typing import Protocol

from cmw_agent.agent.access import Agents
from cmw_agent.chat.approval_registry import ApprovalRegistry
from cmw_agent.chat.service import ChatService
from cmw_agent.config.settings import Settings
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import SessionRegistry
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from cmw_agent.observability.observers import Observer
from memory.manager import ConversationMemoryManager
from memory.queues.inbox import Inbox
from memory.queues.outbox import Outbox


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
    def agents(self) -> Agents:
        """The agents, each found by those alone who may use it."""

    @property
    def budgets(self) -> Budgets:
        """What one owner, one network address and all may use."""

    @property
    def chat(self) -> ChatService:
        """The service that runs turns."""

    @property
    def registry(self) -> SessionRegistry:
        """The live sessions."""

    @property
    def history(self) -> ConversationService:
        """What owners do with their conversations."""

    @property
    def files(self) -> Files:
        """What owners do with files."""

    @property
    def approvals(self) -> ApprovalRegistry:
        """The tool calls that wait for their users."""

    @property
    def inbox(self) -> Inbox:
        """What came by WhatsApp."""

    @property
    def outbox(self) -> Outbox:
        """What goes out there."""

    def memory_of(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds a principal's conversations."""

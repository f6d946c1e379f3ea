"""Callers: gives the requests of all channels their agents, conversations and sessions."""

import contextlib
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request

from cmw_agent.agent.access import Asker
from cmw_agent.chat.commands import run_control_command
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.conversations.sessions import LiveSession, SessionOrigin
from cmw_agent.core.errors import NotFoundError, UnknownSessionError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.channel_principals import client, conversation_after
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language import Language, languages, wording
from cmw_agent.limits.limiter import KeyBudget
from cmw_agent.runtime.runtime import Runtime
from memory.records import Conversation

LOOKED_AT = 20  # conversations of one principal, newest activity first


class UnknownAgentError(NotFoundError):
    """There is no agent of that id, or the caller may not use it; the two look the same."""

    sentence = wording("This agent was not found.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a message, and in which conversation, as the channel has proved it.

    `origin` is the address under which the caller reaches the app, `address` the network address
    that counts for budgets; the other fields are those of `LiveSession`.
    """

    principal: Principal
    agent_id: str
    conversation_id: str
    channel: str
    provenance: SessionOrigin = field(default_factory=SessionOrigin)
    origin: str = ""
    can_ask: bool = False
    address: str | None = None
    key_budget: KeyBudget | None = None
    language: Language = field(default_factory=lambda: languages().english)


class Callers:
    """Gives channels their sessions.

    Args:
        services: The live parts of the process.
        identities: Derives the sessions' keys.
    """

    def __init__(self, services: Runtime, identities: Identities) -> None:
        self._services = services
        self._identities = identities

    def profile(self, agent_id: str, asker: Asker) -> AgentProfile:
        """Return an agent's profile.

        Raises:
            UnknownAgentError: There is none of that id, or none that `asker` may use.
        """
        profile = self._services.agents.find(agent_id, asker)
        if profile is None:
            raise UnknownAgentError
        return profile

    async def current(self, principal: Principal) -> str:
        """Return the id of the open conversation: the newest that has not ended.

        Every replica finds the same, also before the first message is stored.

        Raises:
            UserError: The memory fails.
        """
        latest = await self.latest(principal)
        if latest is not None and latest.status != "ended":
            return latest.conversation_id
        return conversation_after(principal, latest.conversation_id if latest else None)

    async def latest(self, principal: Principal) -> Conversation | None:
        """Return the open conversation, or else the one that began last; None for none.

        Raises:
            UserError: The memory fails.
        """
        conversations = await self._newest(principal)
        open_ones = (item for item in conversations if item.status != "ended")
        if (current := next(open_ones, None)) is not None:
            return current
        # Not by activity: a recurring task may have run in an older one since.
        return max(conversations, key=lambda item: item.started_at, default=None)

    async def begin_anew(self, principal: Principal) -> None:
        """End the open conversation; the next message begins another.

        An answer that is being written in it is stopped and kept, and the calls that wait there
        are denied: nobody could answer them any more.

        Raises:
            UserError: The memory fails.
        """
        memory = self._services.memory_of(principal)
        for item in await self._newest(principal):
            if item.status != "ended":
                with mapped_store_errors():
                    await memory.close_conversation(principal.id, item.conversation_id)
                await self._services.chat.stop(principal.id, item.conversation_id)
                self._deny(principal, item.conversation_id)

    def _deny(self, principal: Principal, conversation_id: str) -> None:
        approvals = self._services.approvals
        for approval in approvals.pending(principal.id, conversation_id):
            with contextlib.suppress(NotFoundError):
                approvals.answer(
                    principal.id, conversation_id, approval.approval_id, "denied", None
                )

    async def _newest(self, principal: Principal) -> list[Conversation]:
        with mapped_store_errors():
            memory = self._services.memory_of(principal)
            return await memory.conversations(principal.id, limit=LOOKED_AT)

    def named_session(self, key_name: str, agent_id: str, name: str) -> str:
        """Return the id of the session that belongs to a request's name.

        The same of the same, on every replica; who knows the name cannot work it out.
        """
        principal = client(key_name, agent_id, f"\0named\0{name}")
        return self._identities.session_key(principal, "cmw.session").value[:32]

    async def run_control_command(
        self, principal: Principal, text: str, language: Language
    ) -> str | None:
        """Carry out `text` where it is a control command, such as `/new`, and return its answer.

        None where a turn is to answer the message.

        Raises:
            UserError: The memory fails.
        """
        begin_new = partial(self.begin_anew, principal)
        history = self._services.history
        reply = await run_control_command(text, history, principal, begin_new)
        return language.translate(reply.text) if reply is not None else None

    async def session(self, principal: Principal, caller: Caller) -> LiveSession:
        """Return the live session of a caller's conversation, created on first use.

        Raises:
            UserError: The caller is not this principal, or the process has no room.
        """
        if caller.principal != principal:
            raise UnknownSessionError
        key = self._identities.session_key(principal, caller.conversation_id)
        session = await self._services.registry.session(key, principal)
        session.conversation_id = caller.conversation_id
        session.agent_id = caller.agent_id
        session.channel = caller.channel
        session.provenance = caller.provenance
        session.origin = self._services.settings.public_url or caller.origin
        session.can_ask = caller.can_ask
        session.address = caller.address
        session.key_budget = caller.key_budget
        session.language = caller.language
        return session


def address_of(request: Request) -> str | None:
    """Return the address a request came from: the socket's, or what a trusted proxy says."""
    return request.client.host if request.client is not None else None


def base_of(request: Request) -> str:
    """Return the address under which the caller has reached the app."""
    return str(request.base_url).removesuffix("/")

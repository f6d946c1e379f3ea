"""SessionRegistry: session key → live session, each owned by one principal.

A live session is what one open page needs in memory: its agent, its entry to the
memory and the turns that it reads now. All of it can be rebuilt from the database, so
a session may leave the process at any time except while it reads a turn.
"""

import asyncio
import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.core.errors import OverloadedError, UnknownSessionError
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.language import Language, languages, wording
from cmw_agent.limits.limiter import KeyBudget
from cmw_agent.tools.composio.connecting import PAGE_KINDS, ConnectionOrigin
from memory.manager import ConversationMemoryManager

PER_PRINCIPAL = 50  # open pages of one visitor; one more takes the place of the oldest


class SessionReader(Protocol):
    """Reads a turn for a session, as far as the registry needs it."""

    async def close(self) -> None:
        """Leave the turn."""


@dataclass(frozen=True, slots=True)
class SessionOrigin:
    """Where a session's conversations come from, as the server has proved it.

    `tenant_id` is the API key's holder through whom the owner came, and who may list the
    conversation, which it knows as `external_id`; None where the owner came alone. `recipient` is where the channel
    sends the answers of recurring tasks, which alone store it.
    """

    website_domain: str | None = None
    ip_address: str | None = None
    tenant_id: str | None = None
    external_id: str | None = None
    recipient: str | None = None


@dataclass(slots=True, weakref_slot=True, eq=False)
class LiveSession:
    """One live session.

    `conversation_id` is the conversation that the page shows; None before the first
    use. `readers` read running turns for it; `joining` is the task that shows its page a turn which that
    has joined. `view` is whatever the page's adapter keeps to draw
    it, `transcript` what `ChatService` keeps of the conversation for the next turn. `agent_id` names
    the agent's profile, `origin` is the address under which the caller reaches the app; `can_ask`
    says whether its user can be asked before a tool runs: otherwise a call that needs approval is
    denied. `address` is the network address of the
    latest request, for budgets alone; None where the channel has none. `key_budget` is the API key of the latest
    request, where limits of keys hold. `tab` is the name that the
    page gives itself, None without a page. `time_zone` is the IANA name of the zone that its user's
    browser is in; None where nothing says it. `language` is the one that its user reads. `visited_at` is when its
    user's visit was last noted, in seconds, monotonic.
    """

    key: SessionKey
    principal: Principal
    agent: CmwAgent
    memory: ConversationMemoryManager
    conversation_id: str | None = None
    readers: set[SessionReader] = field(default_factory=set)
    joining: asyncio.Task[Any] | None = None
    view: Any = None
    transcript: Any = None
    agent_id: str = "assistant"
    channel: str = "web"
    origin: str = ""
    provenance: SessionOrigin = field(default_factory=SessionOrigin)
    can_ask: bool = True
    address: str | None = None
    key_budget: KeyBudget | None = None
    tab: str | None = None
    used_at: float = 0.0
    visited_at: float | None = None
    time_zone: str | None = None
    language: Language = field(default_factory=lambda: languages().english)

    @property
    def owner(self) -> str:
        """The id that owns this session's rows."""
        return self.principal.id

    @property
    def connection_origin(self) -> ConnectionOrigin | None:
        """Where this session's user asks to connect an account; None where no link would do."""
        if self.principal.kind in PAGE_KINDS:
            return ConnectionOrigin(self.origin)
        if not self.origin:
            return None
        return ConnectionOrigin(self.origin, _description(self.principal, self.provenance))

    async def leave_turns(self) -> None:
        """Leave the turns that this session reads; they run on as far as they may without readers."""
        await asyncio.gather(*(reader.close() for reader in list(self.readers)))


def _description(principal: Principal, provenance: SessionOrigin) -> str:
    """Return how a page describes a channel's user to a stranger: nothing that the user has chosen."""
    match principal.kind:
        case "phone":
            digits = re.sub(r"\D", "", (provenance.recipient or "").partition("@")[0])
            return wording(
                "the WhatsApp chat of a number that ends in {digits}", digits=digits[-2:] or "…"
            )
        case "widget" if provenance.website_domain:
            return wording("a chat on the website {domain}", domain=provenance.website_domain)
        case _:
            return wording("a chat in another program")


class SessionMaker(Protocol):
    """Makes the personal parts of a session."""

    def agent(self, principal: Principal) -> CmwAgent:
        """Return an agent that works for `principal` alone."""

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        """Return the memory that holds this principal's conversations."""


class SessionRegistry:
    """Holds the live sessions of one process.

    Args:
        maker: Makes agent and memory entry of a new session.
        capacity: Live sessions at most.
        idle_seconds: After so long without use a session leaves the process.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        maker: SessionMaker,
        *,
        capacity: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._maker = maker
        self._capacity = capacity
        self._idle = idle_seconds
        self._clock = clock
        self._sessions: OrderedDict[SessionKey, LiveSession] = OrderedDict()
        self._by_owner: dict[str, OrderedDict[SessionKey, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, key: SessionKey) -> bool:
        return key in self._sessions

    async def session(self, key: SessionKey, principal: Principal) -> LiveSession:
        """Return the live session of `key`, created on first use.

        Raises:
            UnknownSessionError: The key belongs to another principal.
            OverloadedError: The process holds as many busy sessions as it may.
        """
        present = self._sessions.get(key)
        if present is not None:
            if present.principal != principal:
                raise UnknownSessionError
            present.used_at = self._clock()
            self._sessions.move_to_end(key)
            self._by_owner[principal.id].move_to_end(key)
            return present
        # While one goes, others may come: room counts only when nothing was awaited since.
        while key not in self._sessions and (crowd := self._crowd(principal)):
            await self._evict(crowd)
        # Nothing is awaited from here on, so a key never gets two sessions.
        if key in self._sessions:
            return await self.session(key, principal)
        new = LiveSession(
            key, principal, self._maker.agent(principal), self._maker.memory(principal)
        )
        new.used_at = self._clock()
        self._sessions[key] = new
        self._by_owner.setdefault(principal.id, OrderedDict())[key] = None
        return new

    def find(self, key: SessionKey, principal: Principal) -> LiveSession | None:
        """Return the live session of `key` if it is this principal's, without making one."""
        session = self._sessions.get(key)
        return session if session is not None and session.principal == principal else None

    def of(self, principal: Principal) -> list[LiveSession]:
        """Return all live sessions of this principal."""
        return [self._sessions[key] for key in self._by_owner.get(principal.id, ())]

    async def release(self, key: SessionKey, principal: Principal) -> bool:
        """Let a session go: its page has closed.

        It leaves the turns that it reads; they run on as far as they may without readers.
        Another's key, or an unknown one, changes nothing. Returns whether a session was released.
        """
        session = self.find(key, principal)
        if session is None:
            return False
        await session.leave_turns()
        return await self._drop(session)

    async def expire(self) -> int:
        """Let go of every session that was idle too long; return how many."""
        latest = self._clock() - self._idle
        released = 0
        for session in list(self._sessions.values()):
            # Looked at in its turn: it may have been used while the one before it went.
            if session.used_at <= latest:
                released += await self._drop(session)
        return released

    async def close(self) -> None:
        """Leave all turns and let all sessions go."""
        sessions = list(self._sessions.values())
        await asyncio.gather(*(session.leave_turns() for session in sessions))
        for session in sessions:
            await self._drop(session)

    def _crowd(self, principal: Principal) -> list[LiveSession]:
        """Return those of whom one must go before `principal` gets one more session."""
        own = self._by_owner.get(principal.id)
        if own is not None and len(own) >= PER_PRINCIPAL:
            return [self._sessions[key] for key in own]
        if len(self._sessions) >= self._capacity:
            # Oldest first, and those that prove nothing before those that do: a flood
            # of invented hashes pushes out only other inventions.
            return sorted(self._sessions.values(), key=lambda s: s.principal.is_stored)
        return []

    async def _evict(self, candidates: list[LiveSession]) -> None:
        for session in candidates:
            if not session.readers:
                await self._drop(session)
                return
        raise OverloadedError

    async def _drop(self, session: LiveSession) -> bool:
        if self._sessions.get(session.key) is not session or session.readers:
            return False
        del self._sessions[session.key]
        own = self._by_owner[session.owner]
        own.pop(session.key, None)
        if not own:
            del self._by_owner[session.owner]
            if not session.principal.is_stored:
                with contextlib.suppress(Exception):
                    await session.memory.forget(session.owner)
        return True

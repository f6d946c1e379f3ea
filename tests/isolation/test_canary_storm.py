"""Isolation 1 and 2: no user receives another's canary, and the oracle detects broken builds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from cmw_agent.agent.agent import Ask, CmwAgent
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import LiveSession, SessionMaker
from cmw_agent.core.events import EventSink, FinishReason
from cmw_agent.files.copies import FileCopies
from cmw_agent.identity.principals import Identities, Principal, SessionKey
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.server.build import Parts
from cmw_agent.web.page.handlers import Handlers
from cmw_agent.web.page.page_view import PageView
from cmw_agent.web.security.guard import Guard
from cmw_agent.web.security.session_binding import GuardedRequest
from memory.manager import ConversationMemoryManager
from memory.records import ContextMessage, TurnTicket
from tests.agents import samples
from tests.doubles.mcp_server import McpDouble, mcp_double
from tests.doubles.openai_models import call_tools, words
from tests.doubles.openai_steps import Request, Step, Text
from tests.doubles.whatsapp_bridge import whatsapp_bridge
from tests.harness import WAIT, Browser
from tests.isolation.channel_storm import (
    AGENTS,
    KEEPING,
    channel_storm,
    guests,
    settings_of_channels,
)
from tests.isolation.storm import User, Verdict, judge, storm
from tests.isolation.world import app_with_model
from tests.mcp.house import tables

USERS, TURNS = 20, 10


async def test_twenty_users_at_once_get_their_own_words_and_nobody_elses(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here:
        crowd = await storm(here, users=USERS, turns=TURNS, patience=100)
        verdict = judge(here, crowd)
        assert not verdict.leaks
        assert not verdict.missing
        assert not verdict.mixed
        assert not verdict.stored
        assert here.endpoint.request_count == USERS * TURNS * 2
        assert len({request.authorization for request in here.endpoint.requests}) == 1
        assert not any(request.cookie for request in here.endpoint.requests)


GRAPH = 'graph = "tests.agents.samples:last"\n'  # one with a checkpointer


TOOLS = 'tools = ["tests.agents.samples:note"]\n'  # one that keeps something of each owner


def noting(request: Request) -> Sequence[Step]:
    """Call the tool `note` with the user's message, then answer with its result."""
    if results := request.tool_results:
        return [Text(words(results[-1]))]
    return call_tools(request, [("note", {"text": "$message"})])


@pytest.mark.parametrize(
    ("more", "model", "calls"),
    [("", "echo", 1), (GRAPH, "echo", 0), (TOOLS, "noting", 2)],
    ids=["built-in", "graph", "tools"],
)
async def test_all_channels_at_once_bring_everybody_their_own_words(
    more: str, model: str, calls: int, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS + more)
    async with (
        whatsapp_bridge() as bridge,
        app_with_model(
            tmp_path, model, scripts={"noting": noting}, **settings_of_channels(bridge)
        ) as here,
    ):
        crowd = guests(USERS // 4, TURNS)
        on_page, elsewhere = await asyncio.gather(
            storm(here, users=USERS, turns=TURNS // 2, patience=100),
            channel_storm(here, bridge, crowd, patience=100),
        )
        verdict = judge(here, [*on_page, *elsewhere])
        assert not verdict.leaks
        assert not verdict.missing
        assert not verdict.mixed
        assert not verdict.stored
        turns = USERS * TURNS + len(elsewhere) * TURNS
        assert here.endpoint.request_count == calls * turns
    own = [set(user.said) for user in (*on_page, *elsewhere)]
    for noted in samples.NOTES.values():
        assert any(set(noted) <= texts for texts in own), noted
    assert bool(samples.NOTES) is (more == TOOLS)
    samples.NOTES.clear()


def remembered(request: Request) -> Sequence[Step]:
    """Say the user's message to an MCP server, ask what it was told, and repeat the message."""
    if results := request.tool_results:
        return [Text(words(results[0].replace("echo", "You said:", 1)))]
    return call_tools(request, [("house_echo", {"text": "$message"}), ("house_said", {})])


@contextlib.asynccontextmanager
async def storm_with_server(
    folder: Path, *, users: int, turns: int, patience: float = 100, **table: Any
) -> AsyncIterator[tuple[McpDouble, list[User], Verdict]]:
    """Let users of all channels talk at once, whose agent uses an MCP server that remembers."""
    async with mcp_double() as server, whatsapp_bridge() as bridge:
        house = tables({"name": "house", "url": server.url, **table})
        (folder / "agents.toml").write_text(f"{AGENTS}\n{house}")
        settings = settings_of_channels(bridge)
        async with app_with_model(
            folder, "remembered", scripts={"remembered": remembered}, **settings
        ) as here:
            on_page, elsewhere = await asyncio.gather(
                storm(here, users=users, turns=turns, patience=patience),
                channel_storm(here, bridge, guests(users // 2, turns, KEEPING), patience=patience),
            )
            crowd = [*on_page, *elsewhere]
            yield server, crowd, judge(here, crowd)


async def test_users_of_all_channels_have_each_their_own_session_with_a_server(
    tmp_path: Path,
) -> None:
    async with storm_with_server(tmp_path, users=5, turns=3) as (server, crowd, verdict):
        assert verdict.clean, verdict
        told = [set(session.said) for session in server.sessions.values()]
        assert set().union(*told) == {text for user in crowd for text in user.said}
        for said in told:
            assert any(said <= set(user.said) for user in crowd)


async def test_the_oracle_notices_a_server_s_session_that_all_channels_share(
    tmp_path: Path,
) -> None:
    async with storm_with_server(tmp_path, users=4, turns=2, shared=True) as found:
        server, _, verdict = found
        assert len(server.sessions) == 1
        assert verdict.leaks
        assert verdict.mixed


async def test_the_same_words_of_two_users_are_two_questions_to_the_model(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as one, Browser(here.url) as two:
        for browser in (one, two):
            tab = await browser.open()
            await tab.send("the same words")
        assert [request.user_texts for request in here.endpoint.requests] == [
            ["the same words"],
            ["the same words"],
        ]


# -- the same storm against broken builds: the oracle must fail each time ---------------


def runtime_with(spoil: Callable[[SessionMaker], SessionMaker]) -> type[Runtime]:
    """Return a runtime whose sessions are made by a spoilt maker."""

    class Spoilt(Runtime):
        @contextlib.asynccontextmanager
        async def running(self) -> AsyncIterator[None]:
            async with super().running():
                maker = self.registry._maker = spoil(self.registry._maker)
                self._services = replace(
                    self.services,
                    session_maker=maker,
                    history=ConversationService(
                        maker.memory,
                        self.registry,
                        self.services.turns,
                        self.files,
                        FileCopies(self.settings, maker.memory, self.budgets),
                        self.imports,
                        self.budgets,
                        self.changes,
                    ),
                )
                yield

    return Spoilt


class OneAgentForAll:
    """Hands the same agent, which remembers what it heard, to every session."""

    def __init__(self, maker: SessionMaker) -> None:
        self._maker = maker
        self._agent: CmwAgent | None = None

    def agent(self, principal: Principal) -> CmwAgent:
        if self._agent is None:
            made = self._maker.agent(principal)
            self._agent = RememberingAgent(
                made._loop,
                owner=made.owner,
                model=made._model,
                instructions=made._instructions,
            )
        return self._agent

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        return self._maker.memory(principal)


class RememberingAgent(CmwAgent):
    """An agent with the state of a conversation in it."""

    heard: tuple[HistoryMessage, ...] = ()

    async def run(
        self, history: Sequence[HistoryMessage], emit: EventSink, ask: Ask | None = None
    ) -> FinishReason:
        self.heard = (*self.heard, *history)
        return await super().run(self.heard, emit, ask)


class MemoryOf:
    """Makes sessions with the same memory, spoilt, for everybody."""

    def __init__(
        self, maker: SessionMaker, spoil: Callable[[ConversationMemoryManager], Any]
    ) -> None:
        self._maker = maker
        self._spoil = spoil
        self._memory: Any = None

    def agent(self, principal: Principal) -> CmwAgent:
        return self._maker.agent(principal)

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        self._memory = self._memory or self._spoil(self._maker.memory(principal))
        return cast("ConversationMemoryManager", self._memory)


class OwnerlessMemory:
    """Every query forgets who asks."""

    def __init__(self, memory: ConversationMemoryManager) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._memory, name)
        return lambda _owner, *args, **named: method("everyone", *args, **named)


class CachedWindow(ConversationMemoryManager):
    """Keeps what the model sees in a cache whose key lacks the owner."""

    def __init__(self, memory: ConversationMemoryManager) -> None:
        super().__init__(memory._database)
        self._cache: dict[int, tuple[ContextMessage, ...]] = {}

    async def begin_turn(self, *args: Any, **named: Any) -> TurnTicket:
        ticket = await super().begin_turn(*args, **named)
        seen = self._cache.setdefault(ticket.answer_seq, ticket.window)
        return replace(ticket, window=seen)


class SharedPage(Handlers):
    """Keeps a drawn page in a cache whose key lacks the session."""

    shown: PageView | None = None

    async def _page(self, session: LiveSession) -> PageView:
        page = await super()._page(session)
        if page.messages and self.shown is None:
            self.shown = page
        return PageView(page.conversation_id, (self.shown or page).messages)


class UnboundGuard(Guard):
    """Takes the client's hash for the session's key, whoever sends it."""

    def _bind(self, request: GuardedRequest, client_hash: object) -> str:
        super()._bind(request, client_hash)
        request.key = SessionKey(sha256(str(client_hash).encode()).hexdigest())
        return request.key.value


class OneVisitor(Identities):
    """Falls back on a default visitor."""

    def new_visitor(self) -> Principal:
        return Principal("v" + "0" * 32, "visitor")


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken build, and where in the oracle's verdict it must show."""

    parts: Parts
    sign: Literal["leaks", "missing", "mixed", "stored"]
    guessed: bool = True
    patience: float = WAIT  # seconds until a user gives up, where answers never come


BROKEN = {
    "a shared agent": Broken(Parts(runtime=runtime_with(OneAgentForAll)), "mixed"),
    "queries without their owner": Broken(
        Parts(runtime=runtime_with(lambda maker: MemoryOf(maker, OwnerlessMemory))), "leaks"
    ),
    "a window cached for everybody": Broken(
        Parts(runtime=runtime_with(lambda maker: MemoryOf(maker, CachedWindow))), "leaks"
    ),
    "a page drawn for everybody": Broken(Parts(handlers=SharedPage), "leaks"),
    # Who claims the session first keeps it, so the others' answers are what is missing;
    # test_hijack.py sees the bytes that this build gives away.
    "hashes bound to nobody": Broken(Parts(guard=UnboundGuard), "missing", patience=4),
    "a default visitor": Broken(Parts(identities=OneVisitor), "leaks", guessed=False),
}


async def test_the_oracle_notices_what_channels_mix_up(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    parts = BROKEN["queries without their owner"].parts
    async with (
        whatsapp_bridge() as bridge,
        app_with_model(tmp_path, parts=parts, **settings_of_channels(bridge)) as here,
    ):
        verdict = judge(here, await channel_storm(here, bridge, guests(3, 2), patience=4))
    assert not verdict.clean


@pytest.mark.parametrize("defect", BROKEN)
async def test_the_oracle_notices(defect: str, tmp_path: Path) -> None:
    broken = BROKEN[defect]
    async with app_with_model(tmp_path, parts=broken.parts) as here:
        crowd = await storm(
            here, users=3, turns=2, patience=broken.patience, guessed=broken.guessed
        )
        verdict = judge(here, crowd)
    assert getattr(verdict, broken.sign), f"the oracle did not notice {defect}: {verdict}"


async def test_a_small_storm_on_the_whole_build_is_clean(tmp_path: Path) -> None:
    async with app_with_model(tmp_path) as here:
        assert judge(here, await storm(here, users=3, turns=2)).clean

"""Isolation 13: a turn has the right owner at every yield, in async and sync tools.

Four users run the same tool at the same time, and their answers arrive word by word, alternately.
Each tool reports its owner after it has waited for the others.
"""

import asyncio
import contextlib
import itertools
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import RunContext, ToolLoop
from cmw_agent.conversations.sessions import SessionMaker
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.server.build import Parts
from memory.manager import ConversationMemoryManager
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text, ToolCalls
from tests.harness import WAIT, Browser, Tab, canary, served, settings_for
from tests.isolation.storm import canaries
from tests.service import live_sessions

USERS = 4
WORDS = 6  # of each answer, one at a time
OWNER = re.compile(r"v[0-9a-f]{32}")


def word_by_word(request: Request) -> Sequence[Step]:
    """Call both tools; then say the user's secret again and again, a word at a time."""
    if not request.tool_results:
        return [ToolCalls([("who_async", "{}"), ("who_sync", "{}")])]
    secret = request.last_user
    words = (Text([f"{number}:{secret} "]) for number in range(WORDS))
    return [Text([" ".join(request.tool_results)]), *(s for w in words for s in (Gate(), w))]


def tools_that_tell(owner_of: Callable[[RunnableConfig], str]) -> list[BaseTool]:
    """Return tools that wait until every user is inside and then say whose run it is."""
    together, threads = asyncio.Barrier(USERS), threading.Barrier(USERS, timeout=WAIT)

    @tool
    async def who_async(config: RunnableConfig) -> str:
        """Say who asks."""
        before = owner_of(config)
        async with asyncio.timeout(WAIT):
            await together.wait()
        await asyncio.sleep(0)
        return f"{before} {owner_of(config)}"

    @tool
    def who_sync(config: RunnableConfig) -> str:
        """Say who asks, from a thread."""
        before = owner_of(config)
        threads.wait()
        return f"{before} {owner_of(config)}"

    return [who_async, who_sync]


class TellingAgents:
    """Makes sessions whose agents have those tools besides."""

    def __init__(self, maker: SessionMaker, *, loop: ToolLoop, one_for_all: bool) -> None:
        self._maker = maker
        self._one: CmwAgent | None = None
        self._one_for_all = one_for_all
        self._loop = loop

    def agent(self, principal: Principal) -> CmwAgent:
        if self._one is not None and self._one_for_all:
            return self._one
        plain = self._maker.agent(principal)
        self._one = CmwAgent(
            self._loop, owner=principal.id, model=plain._model, instructions="Answer."
        )
        return self._one

    def memory(self, principal: Principal) -> ConversationMemoryManager:
        return self._maker.memory(principal)


def owner_of_run(config: RunnableConfig) -> str:
    """Return whose run a tool is called in."""
    context: RunContext = config["configurable"]["context"]
    return context.owner


def telling(
    make_loop: Callable[[], ToolLoop] = lambda: ToolLoop(tools_that_tell(owner_of_run)),
    *,
    one_for_all: bool = False,
) -> Parts:
    """Return an app whose agents tell who asks."""

    class Telling(Runtime):
        @contextlib.asynccontextmanager
        async def running(self) -> AsyncIterator[None]:
            async with super().running():
                self.registry._maker = TellingAgents(
                    self.registry._maker,
                    loop=make_loop(),
                    one_for_all=one_for_all,
                )
                yield

    return Parts(runtime=Telling)


@dataclass(slots=True)
class Asker:
    """One user: what it said, and what the page showed at each update."""

    number: int
    tab: Tab
    owner: str
    secret: str = field(default_factory=canary)
    shown: list[str] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def ask(self, order: list[int]) -> None:
        event_id = await self.tab.join("send", [self.secret, "", "", None])
        async for message in self.tab.events():
            if message.get("event_id") == event_id:
                order.append(self.number)
                async with self.came:
                    self.shown.append(str(message.get("output")))
                    self.came.notify_all()

    async def has(self, text: str) -> None:
        async with asyncio.timeout(WAIT), self.came:
            await self.came.wait_for(lambda: any(text in shown for shown in self.shown))


async def talk_in_turns(folder: Path, parts: Parts) -> tuple[list[Asker], list[int]]:
    """Let all users ask at once; return them and whose update came when."""
    order: list[int] = []
    async with (
        OpenAIDouble(scripts={"word-by-word": word_by_word}) as endpoint,
        served(
            settings_for(folder, openai_base_url=endpoint.base_url, model="word-by-word"), parts
        ) as app,
        contextlib.AsyncExitStack() as stack,
    ):
        askers = []
        for number in range(USERS):
            browser = await stack.enter_async_context(Browser(app.url))
            known = {s.owner for s in live_sessions(app.application.runtime).values()}
            tab = await browser.open()
            sessions = live_sessions(app.application.runtime).values()
            (owner,) = {s.owner for s in sessions} - known
            askers.append(Asker(number, tab, owner))
        asking = [asyncio.create_task(asker.ask(order)) for asker in askers]
        await endpoint.wait_held("canary", count=USERS, within=WAIT)
        for number in range(WORDS):
            for asker in random.sample(askers, USERS):
                await endpoint.wait_held(asker.secret)
                endpoint.release(asker.secret)
                await asker.has(f"{number}:")
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*asking)
    return askers, order


def wrong(askers: list[Asker]) -> list[str]:
    """Return what was shown to a user that is not its own, update by update."""
    return [
        f"user {asker.number}, update {number}: {found}"
        for asker in askers
        for number, shown in enumerate(asker.shown)
        for found in sorted(canaries(shown) | set(OWNER.findall(shown)))
        if found not in (asker.owner, asker.secret)
    ]


async def test_the_owner_is_right_at_every_yield(tmp_path: Path) -> None:
    askers, order = await talk_in_turns(tmp_path, telling())
    assert not wrong(askers)
    for asker in askers:
        everything = " ".join(asker.shown)
        # Each of two tools has told its owner before and after it waited.
        assert f"{asker.owner} {asker.owner} {asker.owner} {asker.owner}" in everything
        assert f"{WORDS - 1}:{asker.secret}" in everything
    # The turns did run in between each other.
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes > WORDS * (USERS - 1)


async def test_the_oracle_notices_one_agent_for_all(tmp_path: Path) -> None:
    askers, _ = await talk_in_turns(tmp_path, telling(one_for_all=True))
    assert wrong(askers)


class LastOwner(ToolLoop):
    """Keeps who asks beside the run instead of in it, as a global or a singleton would."""

    def __init__(self) -> None:
        super().__init__(tools_that_tell(lambda _: self.owner))
        self.owner = ""

    async def call_tool(self, context: RunContext, call: ToolCall) -> ToolMessage:
        self.owner = context.owner
        return await super().call_tool(context, call)


async def test_the_oracle_notices_an_owner_kept_beside_the_run(tmp_path: Path) -> None:
    askers, _ = await talk_in_turns(tmp_path, telling(LastOwner))
    assert wrong(askers)


async def test_a_run_of_nobody_fails() -> None:
    nothing: Any = None
    with pytest.raises(ValueError, match="a run needs an owner"):
        RunContext("", nothing, "", nothing)
    with pytest.raises(ValueError, match="an agent needs an owner"):
        CmwAgent(ToolLoop(), owner="", model=nothing, instructions="")

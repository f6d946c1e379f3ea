"""Isolation 4 to 6: a stranger who knows a user's session hash reaches nothing of theirs.

A's hash counts as known to the attacker: it is part of URLs, and `Math.random()` makes it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import SessionKey
from cmw_agent.server.build import Parts
from cmw_agent.web.security.guard import Guard
from cmw_agent.web.security.session_binding import GuardedRequest
from tests.harness import API, WAIT, Browser, Tab, canary, last_text
from tests.isolation.world import AppWithModel, Following, app_with_model
from tests.service import wait_until

STRANGERS = ("with a cookie of her own", "without cookies")
EVENTS: tuple[tuple[str, list[Any]], ...] = (
    ("send", ["overwritten", "", "", None]),
    ("stop", []),
    ("new_chat", []),
    ("retry", [""]),
    ("edit", ["1", "overwritten"]),
    ("redraw", []),
    ("chat", ["overwritten"]),
    ("open_page", []),
)


@dataclass(slots=True)
class Victim:
    """A, who has asked something and has the first half of the answer."""

    tab: Tab
    stream: Following
    secret: str
    rest: str  # what has not come yet

    @property
    def event_id(self) -> str:
        return self.stream.event.id


@contextlib.asynccontextmanager
async def asking(here: AppWithModel) -> AsyncIterator[Victim]:
    """Let A ask, and hold the answer after A's secret and before the rest."""
    secret, rest = canary(), canary()
    async with Browser(here.url) as browser:
        tab = await browser.open()
        event_id = await tab.join("send", [f"{secret} {rest}", "", "", None])
        async with Following(tab, event_id) as stream:
            await here.endpoint.wait_held(secret)
            await stream.seen(f"You said: {secret}")
            yield Victim(tab, stream, secret, rest)


async def a_gets_all(here: AppWithModel, a: Victim) -> None:
    """Let A's answer go on, and check that it reaches A whole and is stored whole."""
    assert here.endpoint.release(a.secret) == 1
    event = await a.stream.done()
    assert last_text(event.value) == f"You said: {a.secret} {a.rest}"
    rows = [row for row in here.rows()["agent_messages"] if a.secret in row["content"]]
    assert [(row["role"], row["status"]) for row in rows] == [
        ("user", "complete"),
        ("assistant", "complete"),
    ]


async def release_when_held(here: AppWithModel, stream: Following) -> None:
    """Let the model answer, if the event asks it at all."""
    done = asyncio.create_task(stream.done())
    held = asyncio.create_task(here.endpoint.wait_held())
    await asyncio.wait([done, held], return_when=asyncio.FIRST_COMPLETED)
    if held.done():
        await held  # raises what has ended it
    held.cancel()
    here.endpoint.release_all()
    await done


async def cancel(
    tab: Tab, session_hash: str, event_id: str, fn_index: int | None = 0
) -> tuple[int, bytes]:
    body = {"session_hash": session_hash, "fn_index": fn_index, "event_id": event_id}
    async with tab.http.post(f"{tab.url}{API}/cancel", json=body) as answer:
        return answer.status, await answer.read()


@contextlib.asynccontextmanager
async def stranger(here: AppWithModel, kind: str) -> AsyncIterator[Tab]:
    """Yield the tab of B, who has opened the page and has a session of her own."""
    async with Browser(here.url, cookies=kind != "without cookies") as browser:
        yield await browser.open()


def nothing_of(a: Victim, tab: Tab) -> bool:
    """Whether no byte of A's conversation came to `tab`."""
    return a.secret.encode() not in tab.received and a.rest.encode() not in tab.received


@contextlib.asynccontextmanager
async def listening(tab: Tab) -> AsyncIterator[asyncio.Task[None]]:
    """Read the event stream of the tab's hash, for the block or until the server closes it."""
    params = {"session_hash": tab.hash}
    async with tab.http.get(f"{tab.url}{API}/queue/data", params=params) as answer:

        async def read() -> None:
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for line in answer.content:
                    tab.received += line

        task = asyncio.create_task(read())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


def live(here: AppWithModel) -> LiveSession:
    """Return A's live session, the only one whose turn runs."""
    (session,) = [s for s in here.sessions().values() if s.readers]
    return session


async def live_sessions(here: AppWithModel, count: int) -> None:
    """Wait until so many sessions live."""
    await wait_until(lambda: len(here.sessions()) == count)


@pytest.fixture(params=STRANGERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_stranger_with_the_hash_reads_nothing(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        b.hash = a.tab.hash
        async with listening(b):
            await a_gets_all(here, a)
        assert nothing_of(a, b)


async def test_two_users_with_one_hash_get_each_their_own(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        b.hash = a.tab.hash
        own, rest = canary(), canary()
        event_id = await b.join("send", [f"{own} {rest}", "", "", None])
        async with Following(b, event_id) as stream:
            await stream.seen(f"You said: {own}")
            await a_gets_all(here, a)
            assert here.endpoint.release(own) == 1
            event = await stream.done()
        assert last_text(event.value) == f"You said: {own} {rest}"
        assert nothing_of(a, b)
        assert own.encode() not in a.tab.received


async def test_a_stranger_with_the_hash_changes_nothing(kind: str, tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "gated-3") as here, asking(here) as a:
        await a_gets_all(here, a)
        session = here.only_session()
        before = (here.rows(), session.conversation_id, session.view, set(session.readers))
        async with stranger(here, kind) as b:
            b.hash = a.tab.hash
            for name, data in EVENTS:
                event_id = await b.join(name, data)
                async with Following(b, event_id) as stream:
                    if name in ("send", "chat", "edit", "retry"):
                        await release_when_held(here, stream)
                    await stream.done()
            assert nothing_of(a, b)
            mine = {s.owner for s in here.sessions().values()} - {session.owner}
        after = here.rows(but=mine)
        assert (after, session.conversation_id, session.view, set(session.readers)) == before
        async with a.tab.http.get(f"{a.tab.url}/history") as answer:
            assert a.secret in await answer.text()


async def test_a_stranger_with_the_hash_stops_nothing(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        readers = set(live(here).readers)
        b.hash = a.tab.hash
        for name in ("stop", "new_chat", "open_page"):
            await b.run(name, [])
        session = live(here)
        assert session.readers == readers
        await a_gets_all(here, a)
        assert nothing_of(a, b)


async def test_a_stranger_cancels_nothing(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        session = live(here)
        unknown = await cancel(b, b.hash, "0" * 32)
        for session_hash in (a.tab.hash, b.hash, session.key.value):
            for fn_index in (b.function("send"), None, 0):
                assert await cancel(b, session_hash, a.event_id, fn_index) == unknown
        assert unknown[0] == 404
        assert live(here) is session
        await a_gets_all(here, a)


async def test_a_stranger_who_opens_and_drops_the_heartbeat_releases_nothing(
    kind: str, tmp_path: Path
) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        session = live(here)
        for b.hash in (a.tab.hash, session.key.value):
            others = len(here.sessions())
            await b.run("open_page", [])  # so that there is a session to be released
            async with b.http.get(f"{here.url}{API}/heartbeat/{b.hash}") as beat:
                assert await beat.content.readline() == b"data: ALIVE\n"
            await live_sessions(here, others)
            assert live(here) is session
        await a_gets_all(here, a)


async def test_the_derived_key_is_no_hash_that_opens_anything(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3") as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        b.hash = live(here).key.value
        for name in ("stop", "new_chat", "open_page"):
            await b.run(name, [])
        async with listening(b):
            await a_gets_all(here, a)
        assert nothing_of(a, b)


async def test_the_owner_may_do_all_that_the_stranger_may_not(tmp_path: Path) -> None:
    # Without this invariant, the ones above would also hold for an app that does nothing at all.
    async with app_with_model(tmp_path, "gated-3") as here, asking(here) as a:
        status, _ = await cancel(a.tab, a.tab.hash, a.event_id, a.tab.function("send"))
        assert status == 200
        await wait_until(lambda: not here.only_session().readers)
        await a.tab.run("stop", [])
        await here.endpoint.wait_aborted(1)
    async with app_with_model(tmp_path, "gated-3") as here, asking(here) as a:
        await a.tab.close()
        await live_sessions(here, 0)


class UnboundGuard(Guard):
    """Takes the client's hash for the session's key, whoever sends it."""

    def _bind(self, request: GuardedRequest, client_hash: object) -> str:
        super()._bind(request, client_hash)
        request.key = SessionKey(sha256(str(client_hash).encode()).hexdigest())
        return request.key.value


async def test_the_oracle_notices_a_guard_that_binds_nothing(kind: str, tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, "gated-3", parts=Parts(guard=UnboundGuard)) as here,
        asking(here) as a,
        stranger(here, kind) as b,
    ):
        b.hash = a.tab.hash
        async with listening(b) as reading:
            here.endpoint.release(a.secret)
            await asyncio.wait([reading], timeout=WAIT)
        assert not nothing_of(a, b)

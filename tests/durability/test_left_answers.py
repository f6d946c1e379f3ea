"""A turn belongs to its conversation: pages of its owner leave it, join it and stop it."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cmw_agent.identity.principals import first_conversation
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Step, Text
from tests.harness import Browser, Served, Tab, canary, served, settings_for, texts
from tests.isolation.world import Following
from tests.rows import messages, rows, turns
from tests.service import Seconds, readers_of, until_unread, wait_until

TENTHS = tuple(f"{number} of ten; " for number in range(1, 11))
WHOLE = "".join(TENTHS)
RUNNING = "*"  # after the conversation's id: an answer is being written


def in_tenths(request: Request) -> Sequence[Step]:
    """Stop before each tenth of an answer, and before its end, until the test opens the gate."""
    steps: list[Step] = []
    for tenth in TENTHS:
        steps += [Gate(), Text([tenth], rate=0)]
    return [*steps, Gate()]


@dataclass
class House:
    """A served app whose model answers in tenths, and its data folder."""

    app: Served
    endpoint: OpenAIDouble
    folder: Path

    async def until_unread(self) -> None:
        """Wait until no page reads a running turn."""
        await until_unread(self.app.application.runtime)

    def state(self, said: str) -> str:
        """Return the state of the one turn of a conversation with `said`."""
        (turn,) = turns(self.folder, said)
        return str(turn["state"])

    async def until_stored(self, said: str, state: str) -> str:
        """Wait until a turn has this state; return its answer as it is stored."""
        await wait_until(lambda: self.state(said) == state)
        return str(messages(self.folder, said)[1]["content"])

    @contextlib.asynccontextmanager
    async def asking(self, browser: Browser, said: str) -> AsyncIterator[tuple[Tab, Following]]:
        """Ask in a new tab; yield it, and who reads its answer, once the model has been asked."""
        tab = await browser.open()
        async with Following(tab, await tab.join("send", [said, "", "", None])) as stream:
            await self.endpoint.wait_held(said)
            yield tab, stream

    async def write(self, said: str, tenth: str, stream: Following) -> None:
        """Let the model write a tenth of an answer; wait until the stream has shown it."""
        self.endpoint.release(said)
        await stream.seen(tenth.strip())

    async def open_gates(self, said: str, count: int = len(TENTHS) + 1) -> None:
        """Let the model pass this many gates, whoever reads its answer."""
        for _ in range(count):
            await self.endpoint.wait_held(said)
            self.endpoint.release(said)

    def conversation(self, said: str) -> str:
        """Return the id of the conversation with `said`."""
        return str(messages(self.folder, said)[0]["session_id"])


@contextlib.asynccontextmanager
async def house(folder: Path, **changes: object) -> AsyncIterator[House]:
    async with OpenAIDouble(scripts={"tenths": in_tenths}) as endpoint:
        settings = settings_for(
            folder, openai_base_url=endpoint.base_url, model="tenths", **changes
        )
        async with served(settings) as app:
            yield House(app, endpoint, folder)


async def joined(browser: Browser, conversation: str) -> tuple[Tab, Following]:
    """Open a running conversation in a further tab, and join its answer as the page does."""
    tab = browser.tab(query=f"?c={conversation}")
    opened = await tab.open()
    assert opened.values[-1][1] == conversation + RUNNING
    return tab, Following(tab, await tab.join("join", []))


async def test_who_joins_at_any_tenth_of_an_answer_sees_the_same_text(tmp_path: Path) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with (
            here.asking(browser, said) as (_, first),
            contextlib.AsyncExitStack() as stack,
        ):
            streams = [first]
            for count in range(len(TENTHS) + 1):
                _, stream = await joined(browser, here.conversation(said))
                streams.append(await stack.enter_async_context(stream))
                for tenth in TENTHS[:count]:
                    await streams[-1].seen(tenth.strip())
                assert here.endpoint.release(said) == 1
                if count < len(TENTHS):
                    for stream in streams:
                        await stream.seen(TENTHS[count].strip())
            for stream in streams:
                event = await stream.done()
                assert event.error is None
                assert texts(event.value, "user") == [said]
                assert "".join(texts(event.value, "assistant")) == WHOLE
                assert event.values[-1][1] == here.conversation(said)
        assert await here.until_stored(said, "complete") == WHOLE
        assert here.endpoint.request_count == 1
        opened = await browser.tab(query=f"?c={here.conversation(said)}").open()
        assert "".join(texts(opened.value, "assistant")) == WHOLE


@pytest.mark.parametrize("way", ["close", "break"])
@pytest.mark.parametrize("tenths", [0, 1, 5, 10])
async def test_a_page_that_goes_in_mid_answer_finds_it_again_whole(
    tenths: int, way: str, tmp_path: Path
) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with here.asking(browser, said) as (tab, stream):
            for tenth in TENTHS[:tenths]:
                await here.write(said, tenth, stream)
            if way == "close":
                await tab.close()
        await here.until_unread()
        _, again = await joined(browser, here.conversation(said))
        async with again:
            await here.open_gates(said, len(TENTHS[tenths:]) + 1)
            event = await again.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert await here.until_stored(said, "complete") == WHOLE
        assert (here.endpoint.request_count, here.endpoint.aborted_count) == (1, 0)


async def test_a_page_that_goes_before_its_message_is_stored_finds_it_running(
    tmp_path: Path,
) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        tab = await browser.open()
        (session,) = here.app.application.runtime.registry._sessions.values()
        conversation = first_conversation(session.principal, said)
        await tab.join("send", [said, said, "", None])
        await tab.close()  # nobody has read a byte of it
        tab, stream = await joined(browser, conversation)
        async with stream:
            await here.endpoint.wait_held(said)
            await tab.join("stop", [])
            await stream.done()
        assert await here.until_stored(said, "interrupted") == ""


async def test_a_stop_on_any_page_ends_the_answer_on_all(tmp_path: Path) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with here.asking(browser, said) as (_, first):
            await here.write(said, TENTHS[0], first)
            tab, second = await joined(browser, here.conversation(said))
            async with second:
                await second.seen(TENTHS[0].strip())
                await tab.join("stop", [])
                for stream in (first, second):
                    shown = texts((await stream.done()).value, "assistant")
                    assert shown[0] == TENTHS[0]
                    assert "stopped before its end" in shown[-1]
        assert await here.until_stored(said, "interrupted") == TENTHS[0]
        await here.endpoint.wait_aborted(1)


async def test_a_page_that_leaves_for_a_new_chat_streams_no_more_of_the_old_one(
    tmp_path: Path,
) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with here.asking(browser, said) as (tab, stream):
            await tab.join("new_chat", [])
            event = await stream.done()
            assert event.value == []
        await here.open_gates(said)
        assert await here.until_stored(said, "complete") == WHOLE


async def test_a_join_where_nothing_runs_shows_what_is_stored(tmp_path: Path) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with here.asking(browser, said) as (tab, stream):
            await tab.join("stop", [])
            await stream.done()
        other = await browser.open(query=f"?c={here.conversation(said)}")
        event = await other.run("join", [])
        assert texts(event.value, "user") == [said]
        assert "stopped before its end" in texts(event.value, "assistant")[-1]
        assert event.values[-1][1] == here.conversation(said)


@pytest.mark.parametrize("others", [0, 1])
async def test_where_left_answers_stop_the_last_page_to_leave_stops_its_own(
    others: int, tmp_path: Path
) -> None:
    said = canary()
    async with (
        house(tmp_path, left_answers="stop") as here,
        Browser(here.app.url) as browser,
        contextlib.AsyncExitStack() as stack,
    ):
        async with here.asking(browser, said):
            for _ in range(others):
                _, stream = await joined(browser, here.conversation(said))
                await stack.enter_async_context(stream)
                await stream.seen(said)
        if others:
            runtime = here.app.application.runtime
            await wait_until(lambda: len(readers_of(runtime)) == others)
            assert here.state(said) == "running"
            await stack.aclose()
        await here.endpoint.wait_aborted(1)
        assert await here.until_stored(said, "interrupted") == ""


async def test_who_proves_nothing_loses_a_left_answer_after_a_minute(tmp_path: Path) -> None:
    said, clock = canary(), Seconds()
    async with house(tmp_path) as here, Browser(here.app.url, cookies=False) as browser:
        runtime = here.app.application.runtime
        runtime.chat._clock = clock
        async with here.asking(browser, said) as (tab, _):
            (session,) = runtime.registry._sessions.values()
            assert not session.principal.is_stored
            await tab.close()
        await here.until_unread()
        clock.now += 59
        await runtime.chat._keep_all()
        assert runtime.running_turns == 1
        assert here.endpoint.aborted_count == 0
        clock.now += 1
        await here.endpoint.wait_aborted(1)  # its keeper looks by itself
        await wait_until(lambda: runtime.running_turns == 0)
        await wait_until(lambda: len(runtime.registry) == 0)
        assert await session.memory.conversations(session.owner) == []
        assert rows(here.folder, "SELECT * FROM agent_messages") == []


async def test_who_proves_nothing_and_comes_back_in_time_keeps_the_answer(tmp_path: Path) -> None:
    said, clock = canary(), Seconds()
    async with house(tmp_path) as here, Browser(here.app.url, cookies=False) as browser:
        runtime = here.app.application.runtime
        runtime.chat._clock = clock
        async with here.asking(browser, said) as (tab, _):
            await tab.close()
        await here.until_unread()
        (session,) = runtime.registry._sessions.values()
        again = browser.tab(session_hash=tab.hash, query=f"?c={session.conversation_id}")
        await again.open()
        async with Following(again, await again.join("join", [])) as stream:
            clock.now += 1_000
            await runtime.chat._keep_all()
            await here.open_gates(said)
            event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert len(runtime.registry) == 1


async def test_a_slow_page_that_joins_costs_no_more_than_one_answer(tmp_path: Path) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, stream),
    ):
        runtime = here.app.application.runtime
        (session,) = runtime.registry._sessions.values()
        reader = runtime.chat.join(session)
        assert reader is not None
        for tenth in TENTHS:
            await here.write(said, tenth, stream)
        assert len(reader._events) == 2  # the beginning, and all text in one
        reader.leave()
        here.endpoint.release(said)
        await stream.done()


# -- on another replica -----------------------------------------------------------


@contextlib.asynccontextmanager
async def elsewhere(here: House, browser: Browser) -> AsyncIterator[tuple[Served, Browser]]:
    """Serve the app a second time on the same data; yield it, and the same visitor's browser there."""
    settings = here.app.application.runtime.settings
    async with served(settings) as app, Browser(app.url) as there:
        # cookies know no ports, so the other browser is the same visitor
        there.http.cookie_jar.update_cookies(
            {cookie.key: cookie.value for cookie in browser.http.cookie_jar}
        )
        yield app, there


async def test_another_replica_shows_the_stored_part_as_it_grows_and_then_the_end(
    tmp_path: Path,
) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, first),
        elsewhere(here, browser) as (app, there),
    ):
        _, stream = await joined(there, here.conversation(said))
        async with stream:
            for tenth in TENTHS:
                await here.write(said, tenth, stream)
            here.endpoint.release(said)
            event = await stream.done()
        assert event.error is None
        assert texts(event.value, "user") == [said]
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert event.values[-1][1] == here.conversation(said)
        assert (await first.done()).value == event.value
        assert here.endpoint.request_count == 1
        assert app.application.runtime.running_turns == 0


async def test_a_stop_at_another_replica_reaches_who_writes(tmp_path: Path) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, first),
        elsewhere(here, browser) as (_, there),
    ):
        await here.write(said, TENTHS[0], first)
        tab, stream = await joined(there, here.conversation(said))
        async with stream:
            await stream.seen(TENTHS[0].strip())
            await tab.join("stop", [])
            event = await stream.done()
        assert "stopped before its end" in texts(event.value, "assistant")[-1]
        await here.endpoint.wait_aborted(1)
        assert await here.until_stored(said, "interrupted") == TENTHS[0]


async def test_nobody_else_reads_or_stops_an_answer_at_another_replica(tmp_path: Path) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, first),
        elsewhere(here, browser) as (app, _),
        Browser(app.url) as stranger,
    ):
        await here.write(said, TENTHS[0], first)
        tab = stranger.tab(query=f"?c={here.conversation(said)}")
        for event in (
            await tab.open(),
            await tab.run("join", []),
            await tab.run("stop", []),
        ):
            assert not any(texts(shown) for shown, *_ in filter(None, event.values))
        assert TENTHS[0].encode() not in tab.received
        await here.open_gates(said, len(TENTHS))
        await first.done()
        assert await here.until_stored(said, "complete") == WHOLE


async def test_a_deletion_at_another_replica_stops_who_writes(tmp_path: Path) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, first),
        elsewhere(here, browser) as (app, there),
    ):
        await here.write(said, TENTHS[0], first)
        body = {"id": here.conversation(said)}
        async with there.http.post(f"{app.url}/history/delete", json=body) as answer:
            assert answer.status == 200
        await here.endpoint.wait_aborted(1)
        assert await here.until_stored(said, "interrupted") == TENTHS[0]


@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_a_page_that_joins_again_and_again_reads_once(
    is_elsewhere: bool, tmp_path: Path
) -> None:
    said = canary()
    async with (
        house(tmp_path) as here,
        Browser(here.app.url) as browser,
        here.asking(browser, said) as (_, first),
        elsewhere(here, browser) as (app, there),
    ):
        await here.write(said, TENTHS[0], first)
        events = (app if is_elsewhere else here.app).application.events
        tab = (there if is_elsewhere else browser).tab(query=f"?c={here.conversation(said)}")
        await tab.open()
        joins = [await tab.join("join", []) for _ in range(10)]
        async with Following(tab, joins[-1]) as stream:
            await stream.seen(TENTHS[0].strip())
            running = 1 if is_elsewhere else 2  # in the one app the asking page's, too
            await wait_until(lambda: sum(len(box.running) for _, box in events._buffers) == running)
            await here.open_gates(said, len(TENTHS))
            event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE

"""A page that connects again, while the server still takes its former connection for a living one."""

import asyncio
from pathlib import Path

import pytest

from tests.durability.test_left_answers import TENTHS, WHOLE, house
from tests.harness import Browser, RefusedError, Tab, canary, texts
from tests.isolation.world import Following
from tests.rows import messages
from tests.service import live_sessions


def reconnected(browser: Browser, tab: Tab, times: int = 1, query: str = "") -> Tab:
    """Return the page of `tab` once it has given up its connection and made another one."""
    headers = {"x-cmw-connection": str(times)}
    return browser.tab(session_hash=tab.hash, headers=headers, query=query)


async def test_a_message_sent_again_while_the_first_stream_hangs_is_stored_once(
    tmp_path: Path,
) -> None:
    said = canary()
    message = [said, "the key", "", None]
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        tab = await browser.open()
        async with Following(tab, await tab.join("send", message)):
            await here.endpoint.wait_held(said)
            # The page has heard nothing of it, not even the conversation's id.
            again = reconnected(browser, tab)
            await again.open()
            async with Following(again, await again.join("send", message)) as stream:
                await here.open_gates(said)
                event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert [row["content"] for row in messages(here.folder, said)] == [said, WHOLE]
        assert here.endpoint.request_count == 1


async def test_what_a_page_asks_for_again_reaches_it_and_not_its_former_stream(
    tmp_path: Path,
) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        async with here.asking(browser, said) as (tab, first):
            await here.write(said, TENTHS[0], first)
            again = reconnected(browser, tab, query=f"?c={here.conversation(said)}")
            await again.open()
            event_id = await again.join("join", [])
            # It comes before the page has opened a stream for it.
            await asyncio.wait([asyncio.ensure_future(first.done())])
            async with Following(again, event_id) as stream:
                await stream.seen(TENTHS[0].strip())
                await here.open_gates(said, len(TENTHS))
                event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert event_id.encode() not in tab.received


async def test_the_end_of_a_former_heartbeat_leaves_the_page_its_answer_and_its_session(
    tmp_path: Path,
) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        tab = await browser.open()
        (session,) = live_sessions(here.app.application.runtime).values()
        again = reconnected(browser, tab)
        await again.open()
        async with Following(again, await again.join("send", [said, "", "", None])) as stream:
            await here.endpoint.wait_held(said)
            await here.write(said, TENTHS[0], stream)
            await tab.close()
            await here.open_gates(said, len(TENTHS))
            event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert list(live_sessions(here.app.application.runtime).values()) == [session]


async def test_a_request_of_a_former_connection_that_comes_late_is_refused(tmp_path: Path) -> None:
    said = canary()
    async with house(tmp_path) as here, Browser(here.app.url) as browser:
        tab = await browser.open()
        again = reconnected(browser, tab, times=2)
        await again.open()
        async with Following(again, await again.join("send", [said, "", "", None])) as stream:
            for late in (tab, reconnected(browser, tab, times=1)):
                late._functions = tab._functions
                for asked in (late.join("new_chat", []), anext(late.events())):
                    with pytest.raises(RefusedError, match="409"):
                        await asked
            await here.open_gates(said)
            event = await stream.done()
        assert "".join(texts(event.value, "assistant")) == WHOLE
        assert [row["content"] for row in messages(here.folder, said)] == [said, WHOLE]

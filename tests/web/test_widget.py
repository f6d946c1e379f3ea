"""The widget in Chromium, on pages of two websites."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Locator, Page, Route, ViewportSize, expect

from cmw_agent.identity.widget_tokens import WidgetTokens
from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import connected
from tests.doubles.composio_server import Composio, composio_server
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step
from tests.harness import Served, canary, served, settings_for
from tests.isolation.toolhouse import ORDER, obedient
from tests.service import until_unread
from tests.web.conftest import WIDE, People, by_message
from tests.web.other_site import OtherSite, other_site
from tests.web.test_looks import ARTIFACTS
from tests.web.test_text_safety import FOREIGN, PAYLOADS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

PHONE = ViewportSize(width=360, height=640)
# A closed root hides its inside from Playwright as it does from the site: this browser opens it.
LENS = """(() => {
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (how) {
        return attach.call(this, { ...how, mode: "open" });
    };
})()"""
HOSTILE = """
* { all: unset !important; font: 60px/3 cursive !important; color: transparent !important;
    visibility: hidden !important; opacity: .1 !important; pointer-events: none !important;
    transform: rotate(90deg) !important; animation: none; letter-spacing: 2em !important; }
body, body *, html > *, cmw-agent, div, button { display: none !important; z-index: -1 !important; }
:root { --accent: red; --ink: white; --back: white; }
"""


@dataclass(slots=True)
class Web:
    """The app and two websites that may show it; `other` is one that may not."""

    app: Served
    model: OpenAIDouble
    composio: Composio
    first: OtherSite
    second: OtherSite
    other: OtherSite

    def line(self, more: str = "", agent: str = "shop") -> str:
        """Return the one line."""
        return f'<script src="{self.app.url}/widget.js" data-agent="{agent}" {more} defer></script>'

    def page(self, more: str = "", head: str = "", body: str = "<h1>A shop</h1>") -> str:
        return f"<!doctype html><html lang=en><head>{head}{self.line(more)}</head><body>{body}"


def on_stage(request: Request) -> Sequence[Step]:
    return obedient(request) if ORDER.search(request.last_user) else by_message(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    folder = tmp_path_factory.mktemp("widget")
    async with (
        other_site() as first,
        other_site() as second,
        other_site() as other,
        composio_server() as composio,
        OpenAIDouble(scripts={"stage": on_stage}) as model,
    ):
        origins = f'["{first.origin}", "{second.origin}"]'
        (folder / "agents.toml").write_text(
            f'[[agents]]\nid = "shop"\nname = "Shop help"\nallowed_origins = {origins}\n'
            f'[[agents]]\nid = "second"\nallowed_origins = {origins}\n'
            f'[[agents]]\nid = "painter"\nallowed_origins = {origins}\n'
            'graph = "tests.agents.samples:colours"\n'
        )
        settings = settings_for(
            folder,
            openai_base_url=model.base_url,
            model="stage",
            composio_api_key=composio.key,
            composio_base_url=composio.url,
            toolkits="asana",
            log_level="ERROR",
        )
        async with served(settings) as app:
            yield Web(app, model, composio, first, second, other)


class Chat:
    """One widget on one page."""

    def __init__(self, page: Page, root: Any) -> None:
        self.page = page
        self.root = root
        self.bubble: Locator = root.locator(".bubble")
        self.panel: Locator = root.locator(".panel")
        self.box: Locator = root.get_by_role("textbox", name="Your message")
        self.log: Locator = root.get_by_role("log")
        self.questions: Locator = self.log.locator(".said")
        self.answers: Locator = self.log.locator(".answer .text")
        self.notes: Locator = self.log.locator(".foot")
        self.stop: Locator = root.get_by_role("button", name="Stop")
        self.retry: Locator = root.get_by_role("button", name="Try again")
        self.status: Locator = root.get_by_role("status")

    async def open(self) -> "Chat":
        await self.bubble.click()
        await expect(self.box).to_be_focused()
        return self

    async def rest(self) -> None:
        """Wait until no answer is being written: its text may be whole before it is stored."""
        await expect(self.log).not_to_have_attribute("aria-busy", "true")

    async def write(self, text: str) -> None:
        await self.rest()  # until then what is sent stays in the box
        await self.box.fill(text)
        await self.box.press("Enter")

    async def ask(self, text: str) -> None:
        count = await self.questions.count()
        await self.write(text)
        await expect(self.questions).to_have_count(count + 1)
        await self.rest()

    async def call(self, function: str) -> Any:
        return await self.page.evaluate(f"CMWAgent.{function}()")


async def tab(people: People, web: Web, **options: Any) -> Page:
    page = (await people.tab(web.app, **options)).page
    await prepare(page, people, web)
    return page


async def prepare(page: Page, people: People, web: Web) -> None:
    people.watch.origins |= {web.app.url, web.first.origin, web.second.origin, web.other.origin}
    await page.add_init_script(LENS)


async def chat_at(page: Page, site: OtherSite) -> Chat:
    await page.goto(site.origin)
    return Chat(page, page.locator("cmw-agent").first)


@contextlib.asynccontextmanager
async def neighbour(context: BrowserContext, people: People, web: Web) -> AsyncIterator[Page]:
    page = await context.new_page()
    await prepare(page, people, web)
    yield page
    await page.close()


async def owner(web: Web, page: Page) -> str:
    tokens = await page.evaluate("Object.values(localStorage)")
    identities = web.app.application.guard._identities
    (found,) = [WidgetTokens(identities).verify(token) for token in tokens]
    assert found is not None
    return str(found.principal.id)


async def test_a_chat_streams_outlives_a_reload_and_stays_at_its_site(
    web: Web, people: People
) -> None:
    web.first.page, web.second.page = web.page(), web.page('data-title="Ours"')
    page = await tab(people, web)
    chat = await (await chat_at(page, web.first)).open()
    secret = canary()
    await expect(chat.root.get_by_role("dialog", name="Shop help")).to_be_visible()
    await expect(chat.log).to_have_text("How can I help?")
    await chat.write(f"[gated-3] {secret}")
    await web.model.wait_held(secret)
    await expect(chat.answers).to_have_text(re.compile("^You said: "))
    await expect(chat.answers).not_to_contain_text(secret)
    await expect(chat.stop).to_be_visible()
    await expect(chat.log).to_have_attribute("aria-busy", "true")
    web.model.release(secret)
    await expect(chat.answers).to_have_text(f"You said: [gated-3] {secret}")
    await chat.rest()
    session = await chat.call("getSessionId")

    chat = await (await chat_at(page, web.first)).open()
    await expect(chat.questions).to_contain_text(secret)
    await expect(chat.answers).to_contain_text(secret)
    assert await chat.call("getSessionId") == session

    async with neighbour(page.context, people, web) as elsewhere:
        there = await (await chat_at(elsewhere, web.second)).open()
        await expect(there.root.get_by_role("dialog", name="Ours")).to_be_visible()
        await expect(there.log).to_have_text("How can I help?")
        assert await there.call("getSessionId") != session
        await there.ask("what did I say?")
        await expect(there.log).not_to_contain_text(secret)
        assert await owner(web, elsewhere) != await owner(web, page)
    assert await page.context.cookies() == []
    async with neighbour(page.context, people, web) as second:
        again = await (await chat_at(second, web.first)).open()
        await expect(again.questions).to_contain_text(secret)


async def test_the_site_drives_it_by_three_functions_and_two_more(web: Web, people: People) -> None:
    web.first.page = web.page()
    chat = await chat_at(await tab(people, web), web.first)
    assert await chat.page.evaluate("Object.keys(CMWAgent).sort()") == [
        "clearSession", "close", "createNewSession", "getSessionId", "open",
    ]  # fmt: skip
    assert await chat.page.evaluate("Object.isFrozen(CMWAgent) && !(window.CMWAgent = 1, 0)")
    assert await chat.page.evaluate("typeof CMWAgent.open") == "function"
    await expect(chat.panel).to_be_hidden()
    await chat.call("open")
    await expect(chat.panel).to_be_visible()
    first = await chat.call("getSessionId")
    await chat.ask("one")
    assert await chat.call("getSessionId") == first
    second = await chat.call("createNewSession")
    assert second not in (None, first)
    await expect(chat.log).to_have_text("How can I help?")
    await chat.ask("two")
    before = await owner(web, chat.page)
    await chat.write("/new")  # which takes the question off the page again
    await expect(chat.log).to_contain_text("new one")
    assert await chat.call("getSessionId") not in (first, second)
    await chat.call("clearSession")
    await expect(chat.log).to_have_text("How can I help?")
    assert await chat.page.evaluate("localStorage.length") == 0
    runtime = web.app.application.runtime
    assert await runtime.memory.conversations(before) == []
    await chat.ask("three")
    assert await owner(web, chat.page) != before
    await chat.call("close")
    await expect(chat.panel).to_be_hidden()


async def test_the_keyboard_alone_is_enough(web: Web, people: People) -> None:
    web.first.page = web.page(
        body="<a href=#x>first</a><script>onkeydown=()=>{window.heard=1}</script>"
    )
    chat = await chat_at(await tab(people, web), web.first)
    keyboard = chat.page.keyboard
    await expect(chat.bubble).to_have_attribute("aria-expanded", "false")
    await keyboard.press("Tab")
    await keyboard.press("Tab")
    await expect(chat.bubble).to_be_focused()
    assert await chat.bubble.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    await chat.page.evaluate("window.heard = 0")
    await keyboard.press("Enter")
    await expect(chat.box).to_be_focused()
    await expect(chat.bubble).to_have_attribute("aria-expanded", "true")
    await keyboard.type("one")
    await keyboard.press("Shift+Enter")
    await keyboard.type("two")
    await keyboard.press("Enter")
    await expect(chat.answers).to_contain_text("You said: one\ntwo")
    await expect(chat.box).to_have_value("")
    assert await chat.page.evaluate("window.heard") == 0
    await chat.rest()  # the answer can be copied from then on
    reached = []
    named = "n => (n = n.getRootNode().activeElement)?.ariaLabel ?? n?.textContent ?? ''"
    for _ in range(8):
        await keyboard.press("Shift+Tab")
        reached.append(await chat.panel.evaluate(named))
    assert reached[:4] == ["Copy", "Conversation", "Close the chat", "New conversation"]
    await chat.box.focus()
    await keyboard.press("Escape")
    await expect(chat.panel).to_be_hidden()
    await expect(chat.bubble).to_be_focused()


async def test_the_site_s_styles_cannot_break_it(web: Web, people: People) -> None:
    web.first.page = web.page(head=f"<style>{HOSTILE}</style>")
    chat = await (await chat_at(await tab(people, web), web.first)).open()
    await chat.ask("**bold**")
    await picture(chat.page, "widget-hostile-styles")
    looks = (
        "n => { const s = getComputedStyle(n); return [s.fontSize, s.visibility, s.letterSpacing] }"
    )
    assert await chat.answers.evaluate(looks) == ["15px", "visible", "normal"]
    box = await chat.panel.bounding_box()
    assert box is not None
    assert (box["width"], box["x"] + box["width"]) == (384, WIDE["width"] - 16)
    await expect(chat.answers.locator("strong")).to_have_text("bold")
    assert await chat.page.evaluate("document.elementFromPoint(1000, 500).localName") == "cmw-agent"


async def test_a_strict_policy_of_the_site_lets_it_work(web: Web, people: People) -> None:
    policy = (
        f"default-src 'none'; script-src {web.app.url}; connect-src {web.app.url}; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    meta = f'<meta http-equiv="content-security-policy" content="{policy}">'
    web.first.page = web.page(head=meta)
    chat = await (await chat_at(await tab(people, web), web.first)).open()
    await chat.ask("hello")
    await expect(chat.answers).to_have_text("You said: hello")
    box = await chat.panel.bounding_box()
    assert box is not None
    assert box["width"] == 384


HARMLESS = """root => {
    const found = [];
    for (const node of root.shadowRoot.querySelectorAll("*")) {
        if (node.matches("script, iframe, object, embed, link, meta, base, style, img, video, form form, input"))
            found.push(node.outerHTML.slice(0, 200));
        for (const { name, value } of node.attributes) {
            if (name.startsWith("on")) found.push(`${name}=${value}`);
            if (!["href", "src", "action", "srcdoc", "xlink:href"].includes(name)) continue;
            const safe = ["http:", "https:"].includes(new URL(value, document.baseURI).protocol);
            if (!safe || node.rel !== "noopener noreferrer" || node.target !== "_blank")
                found.push(`${name}=${value}`);
        }
    }
    return { found, ran: window.__xss ?? null, base: document.baseURI };
}"""


async def test_payloads_are_inert_in_question_answer_and_history(web: Web, people: People) -> None:
    web.first.page = web.page()
    chat = await (await chat_at(await tab(people, web), web.first)).open()
    async with other_site() as foreign:

        async def harmless() -> None:
            seen = await chat.root.evaluate(HARMLESS)
            assert (seen["found"], seen["ran"]) == ([], None)
            assert seen["base"].startswith(web.first.origin)

        # A message with a control character is refused before it is stored.
        whole = [payload for payload in PAYLOADS if "\x01" not in payload]
        sent = [payload.replace(FOREIGN, foreign.origin) for payload in whole]
        assert len(sent) >= 60
        for start in range(0, len(sent), 8):
            await chat.ask("\n\n".join(sent[start : start + 8]))
            await harmless()
        for payload in sent[::12]:
            await chat.ask(payload)
            await harmless()
        texts = await chat.questions.all_inner_texts()
        chat = await (await chat_at(chat.page, web.first)).open()
        await expect(chat.questions).to_have_count(len(texts))
        await harmless()
        await chat.ask("[good](https://good.example/a) https://good.example/b [bad](javascript:1)")
        links = chat.answers.last.get_by_role("link")
        assert [await one.get_attribute("href") for one in await links.all()] == [
            "https://good.example/a",
            "https://good.example/b",
        ]
        await expect(chat.answers.last).to_contain_text("[bad](javascript:1)")
        assert foreign.requests == []


async def test_messages_of_other_windows_and_the_page_s_scripts_get_nothing(
    web: Web, people: People
) -> None:
    web.first.page = web.page()
    page = (await people.tab(web.app)).page  # without the lens: the root is closed
    people.watch.origins |= {web.first.origin, web.second.origin}
    await page.goto(web.first.origin)
    await page.evaluate("CMWAgent.open()")
    session = await page.evaluate("CMWAgent.getSessionId()")
    assert await page.evaluate("document.querySelector('cmw-agent').shadowRoot") is None
    asked = web.model.request_count
    for kind in ("cmw", "open", "message", "clearSession", "setToken", "approve"):
        told = {"type": kind, "action": kind, "token": "forged", "agent": "second", "text": "hello"}
        await page.evaluate("told => window.postMessage(told, '*')", told)
        await page.evaluate("told => window.postMessage(JSON.stringify(told), '*')", told)
    await page.evaluate(
        "new Promise(done => { onmessage = e => e.data === 'last' && done(); postMessage('last') })"
    )
    assert await page.evaluate("CMWAgent.getSessionId()") == session
    assert web.model.request_count == asked


async def test_only_an_allowed_site_shows_the_page_in_a_frame(web: Web, people: People) -> None:
    frame = f"<!doctype html><iframe src='{web.app.url}/embed/shop' width=600 height=600></iframe>"
    web.first.page = web.second.page = web.other.page = frame
    people.watch.expects("frame-ancestors")
    page = await tab(people, web)
    secret = canary()
    for site in (web.first, web.second):
        await page.goto(site.origin)
        inside = page.frame_locator("iframe")
        chat = Chat(page, inside.locator("cmw-agent"))
        await expect(inside.get_by_role("main", name="Shop help")).to_be_visible()
        await expect(chat.log).to_have_text("How can I help?")
        if site is web.first:
            # What the site around it posts is heard by nobody.
            await page.evaluate("frames[0].postMessage({ type: 'clearSession', text: 'hi' }, '*')")
            await chat.ask(secret)
            await expect(chat.answers).to_have_text(f"You said: {secret}")
    await page.goto(web.other.origin)
    await expect(page.locator("iframe")).to_be_visible()
    for shown in page.frames[1:]:
        assert secret not in await shown.content()
        assert await shown.locator("cmw-agent").count() == 0
    web.other.page = web.page()
    people.watch.expects("CORS policy", "is .* an origin of its agent")
    people.watch.tolerates("Failed to load resource", "ERR_FAILED", "http 403")
    chat = await chat_at(page, web.other)
    await chat.bubble.click()
    await expect(chat.notes).to_contain_text("cannot be reached")


async def test_failures_are_plain_words_and_nothing_is_answered_twice(
    web: Web, people: People
) -> None:
    web.first.page = web.page()
    # What is asked right after a stop may come before the stopped answer is stored.
    people.watch.tolerates("Failed to load resource", "http 409: .*/message")
    page = await tab(people, web)
    chat = await (await chat_at(page, web.first)).open()
    await chat.ask("[fail-401] never")
    await expect(chat.notes).to_contain_text("Try again")
    await chat.write("[gated-2] long")
    await web.model.wait_held("long")
    await chat.stop.click()
    await expect(chat.notes.last).to_have_text("Stopped. ")
    await expect(chat.box).to_be_focused()
    await chat.ask("right after it")
    await expect(chat.answers.last).to_have_text("You said: right after it")
    await chat.ask("[cut-3] breaks")
    await expect(chat.retry).to_be_visible()

    lost, secret = 0, canary()

    async def lose_the_answer(route: Route) -> None:
        nonlocal lost
        lost += 1
        if lost == 1:
            await route.abort()  # before it came
        elif lost == 2:
            await route.fetch()  # it came, and its answer went astray
            await route.abort()
        else:
            await route.continue_()

    people.watch.tolerates("ERR_FAILED")
    await page.route("**/message", lose_the_answer)
    await chat.ask(secret)
    await expect(chat.answers.last).to_have_text(f"You said: {secret}")
    assert lost == 3
    assert [r.last_user for r in web.model.requests].count(secret) == 1
    await expect(chat.questions.filter(has_text=secret)).to_have_count(1)


async def test_a_call_waits_for_its_visitor_through_a_reload(web: Web, people: People) -> None:
    web.first.page = web.page()
    page = await tab(people, web)
    chat = await (await chat_at(page, web.first)).open()
    await chat.ask("/connect asana")
    connect = chat.log.get_by_role("link", name=re.compile("Connect"))
    await expect(connect.first).to_have_attribute("rel", "noopener noreferrer")
    identities = web.app.application.guard._identities
    token = (await page.evaluate("Object.values(localStorage)"))[0]
    known = WidgetTokens(identities).verify(token)
    assert known is not None
    user = ConnectionUser.of(known.principal).value
    await connected(web.app, web.composio, known.principal.id)
    name = canary()
    await chat.write(f'do ASANA_CREATE_TASK {{"name": "{name}"}}')
    card = chat.root.get_by_role("group", name="ASANA_CREATE_TASK wants to run:")
    await expect(card).to_contain_text(name)
    await picture(page, "widget-approval")
    await page.goto("about:blank")
    await until_unread(web.app.application.runtime)
    chat = await (await chat_at(page, web.first)).open()
    await expect(card).to_contain_text(f'"name": "{name}"')
    assert web.composio.tasks.get(user, []) == []
    await card.get_by_role("button", name="Approve").click()
    await expect(chat.answers.last).to_contain_text("The tools said")
    await expect(card).to_have_count(0)
    assert web.composio.tasks[user] == [name]
    await expect(chat.log).to_contain_text("✓ ASANA_CREATE_TASK")
    await chat.write('do ASANA_DELETE_TASK {"name": "all"}')
    card = chat.root.get_by_role("group", name="ASANA_DELETE_TASK wants to run:")
    await card.get_by_role("button", name="Deny").click()
    await expect(chat.answers.last).to_contain_text("denied this call")


async def test_two_agents_stand_side_by_side(web: Web, people: People) -> None:
    web.first.page = web.page() + web.line("data-lang=ru data-color=#ffd700", "second") + web.line()
    page = await tab(people, web)
    await page.goto(web.first.origin)
    await expect(page.locator("cmw-agent")).to_have_count(2)  # the same line twice is one chat
    russian = page.get_by_role("button", name="Открыть чат")
    boxes = [
        await one.bounding_box()
        for one in (page.get_by_role("button", name="Open the chat"), russian)
    ]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["y"] + boxes[1]["height"] < boxes[0]["y"]
    await expect(russian).to_have_css("color", "rgb(0, 0, 0)")


DRAWN = (
    "Take \\(x^2\\), List<String> and ~5 for $5 or $10.\n\n"
    "```python\nif a:\n\treturn 1\n```\n\n"
    "- [x] done\n- مرحبا\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    "```mermaid\ngraph TD; A --> B\n```"
)


async def test_answers_are_drawn_as_on_the_chat_s_own_page(web: Web, people: People) -> None:
    web.first.page = web.page()
    page = await tab(people, web)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    chat = await chat_at(page, web.first)
    await expect(chat.bubble).to_be_visible()
    assert [url for url in asked if "/built/" in url] == []  # not before the chat is opened
    await chat.open()
    await chat.ask(DRAWN)
    answer = chat.answers
    await expect(answer.locator("math")).to_have_count(1)
    await expect(answer.locator(".hljs-keyword").first).to_have_text("if")
    await expect(answer.locator("img.cmw-diagram")).to_be_visible()
    await expect(answer.get_by_role("img", name="done")).to_be_visible()
    await expect(answer.locator("td")).to_have_count(2)
    await expect(answer).to_contain_text("List<String> and ~5 for $5 or $10.")
    assert await answer.locator("li").nth(1).evaluate("n => getComputedStyle(n).direction") == "rtl"
    await answer.get_by_role("button", name="Copy").first.click()
    await expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    await chat.box.press("ControlOrMeta+V")
    await expect(chat.box).to_have_value("if a:\n\treturn 1")
    built = {url.split("?")[0] for url in asked if "/built/" in url}
    assert built == {
        f"{web.app.url}/built/{name}.js" for name in ("text", "math", "code", "mermaid")
    }


async def test_a_whole_answer_is_copied_as_its_model_wrote_it(web: Web, people: People) -> None:
    web.first.page = web.page()
    page = await tab(people, web, permissions=["clipboard-read", "clipboard-write"])
    chat = await (await chat_at(page, web.first)).open()
    secret = canary()
    await chat.write(f"[gated-3] {secret}")
    await web.model.wait_held(secret)
    copy = chat.log.locator(".copy")
    await expect(copy).to_be_hidden()  # what is copied is whole
    web.model.release(secret)
    await chat.rest()
    await chat.ask("**bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    await copy.last.click()
    await expect(copy.last).to_have_text("Copied")
    await chat.box.press("ControlOrMeta+V")
    await expect(chat.box).to_have_value("You said: **bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_one_s_own_message_is_as_readable_as_the_site_s_colour_allows(
    web: Web, people: People, dark: bool
) -> None:
    web.first.page = web.page('data-color="#0f766e"')
    chat = await (await chat_at(await tab(people, web, dark=dark), web.first)).open()
    await chat.ask("mine")
    # What draws texts has come, and its style sheet with it.
    await expect(chat.answers).to_have_class(re.compile("cmw-text"))
    await expect(chat.questions.locator(".own")).to_have_css("color", "rgb(255, 255, 255)")


async def test_one_s_own_message_stands_as_it_was_typed(web: Web, people: People) -> None:
    web.first.page = web.page()
    chat = await (await chat_at(await tab(people, web), web.first)).open()
    typed = "<div>\n# x\n\n    __init__ **b** &amp; C:\\a\\*.txt ~1~ $x$"
    await chat.ask(typed)
    own = chat.questions.locator(".own")
    assert await own.evaluate("n => n.textContent") == typed
    await expect(own).to_have_css("white-space", "pre-wrap")
    await expect(own).to_have_attribute("dir", "auto")


async def test_who_reads_back_is_not_moved_while_an_answer_is_written(
    web: Web, people: People
) -> None:
    web.first.page = web.page()
    chat = await (await chat_at(await tab(people, web), web.first)).open()
    lines = "\n".join(f"line {number}" for number in range(60))
    await chat.ask(lines)
    secret = canary()
    await chat.write(f"[gated-3] {secret}\n{lines}")
    await web.model.wait_held(secret)
    await chat.page.wait_for_function(
        "() => { const log = document.querySelector('cmw-agent').shadowRoot.querySelector('.log');"
        " return log.scrollHeight - log.scrollTop - log.clientHeight <= 8; }"
    )
    await chat.log.hover()
    before = await chat.log.evaluate("n => n.scrollTop")
    await chat.page.mouse.wheel(0, -400)
    await chat.page.wait_for_function(
        "before => document.querySelector('cmw-agent').shadowRoot.querySelector('.log').scrollTop < before - 200",
        arg=before,
    )
    there = await chat.log.evaluate("n => n.scrollTop")
    web.model.release(secret)
    await expect(chat.answers.last).to_contain_text("line 59")
    await chat.rest()
    assert await chat.log.evaluate("n => n.scrollTop") == there
    await chat.root.get_by_role("button", name="New text").click()
    await expect(chat.answers.last.get_by_text("line 59")).to_be_in_viewport()


async def test_without_what_draws_them_answers_stand_as_they_were_written(
    web: Web, people: People
) -> None:
    web.first.page = web.page()
    people.watch.expects("ERR_FAILED")
    page = await tab(people, web)
    await page.route("**/built/text.js*", lambda route: route.abort())
    chat = await (await chat_at(page, web.first)).open()
    await chat.ask("**bold** <b>x</b> https://a.example/x")
    assert await chat.answers.evaluate("n => n.textContent") == (
        "You said: **bold** <b>x</b> https://a.example/x"
    )
    await expect(chat.answers.get_by_role("link")).to_have_attribute("href", "https://a.example/x")


RICH = """# Opening hours
We are open **every day** but *Sunday*; write to `shop@example.com`.

- Monday to Friday: 9–18
- Saturday: 10–14
1. Choose
2. Pay

> Closed on holidays.

```python
print("a rather long line of code that does not fit into the panel at all")
```
More: https://shop.example/hours or [the map](https://maps.example/shop)."""


async def picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")


@pytest.mark.parametrize(
    ("size", "dark"), [(WIDE, False), (PHONE, True)], ids=["1280-light", "360-dark"]
)
async def test_it_fits_wide_and_narrow(
    size: ViewportSize, dark: bool, web: Web, people: People
) -> None:
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    web.first.page = web.page("data-open=true", head, "<h1>A shop</h1>" + "<p>Goods.</p>" * 30)
    chat = await chat_at(await tab(people, web, viewport=size, dark=dark), web.first)
    await expect(chat.box).to_be_focused()
    await chat.ask(RICH)
    await chat.ask("[cut-3] " + "a-very-long-word" * 8)
    await expect(chat.retry).to_be_in_viewport(ratio=1)
    await expect(chat.box).to_be_in_viewport(ratio=1)
    await expect(chat.panel).to_be_in_viewport(ratio=1)
    assert await chat.log.evaluate("n => n.scrollWidth <= n.clientWidth")
    panel = await chat.panel.bounding_box()
    assert panel is not None
    if size is PHONE:
        assert (panel["width"], panel["height"]) == (size["width"], size["height"])
        await expect(chat.bubble).to_be_hidden()
    await expect(chat.answers.first.locator("li")).to_have_count(4)
    await expect(chat.answers.first.locator("pre code")).to_have_count(1)
    await picture(chat.page, f"widget-{size['width']}-{'dark' if dark else 'light'}")


async def test_a_question_of_a_graph_is_answered_with_a_text(web: Web, people: People) -> None:
    web.first.page = f"<!doctype html><html lang=en><body>{web.line(agent='painter')}"
    page = await tab(people, web)
    chat = await (await chat_at(page, web.first)).open()
    await chat.write("Paint")
    card = chat.root.get_by_role("form", name="The agent asks you")
    await expect(card).to_contain_text("Which colour?")
    await expect(chat.questions.last.locator(".own")).to_have_css("color", "rgb(255, 255, 255)")
    await card.get_by_role("textbox", name="Which colour?").fill("green")
    await picture(page, "widget-question")
    await card.get_by_role("button", name="Send the answer").click()
    await expect(chat.answers.last).to_have_text("Painted green.")
    await expect(card).to_have_count(0)

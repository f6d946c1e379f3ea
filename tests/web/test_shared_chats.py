"""Shared chats in Chromium: made, read, continued and ended; what stands in one runs and loads nothing."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, ViewportSize, expect

from cmw_agent.identity.principals import Principal
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, new_conversation_id
from tests import papers
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.web.chat_page import ChatPage
from tests.web.conftest import WIDE, People
from tests.web.other_site import other_site
from tests.web.test_looks import CONTRASTS, NARROW, READABLE, _picture
from tests.web.test_text_safety import FOREIGN, PAYLOADS
from tests.web.test_xss import _finish, _owner, _store

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
CHOOSE = """() => {
    document.querySelector(".cmw-more").click();
    [...document.querySelectorAll("[role=menuitem]")].find((one) => one.textContent === "Share…").click();
}"""
CHAT_PARTS = "#cmw-main *, #cmw-side *, dialog[open] *"
# What the page itself consists of, and what a text in it must not have become.
INERT = """() => {
    const found = [];
    const active = "script, iframe, object, embed, link, meta, base, style, form, dialog, input, svg, video";
    for (const node of document.querySelectorAll("header *, main *")) {
        if (node.matches(active)) found.push(node.outerHTML.slice(0, 200));
        for (const { name, value } of node.attributes) {
            if (name.startsWith("on") || name === "style") found.push(`${name}=${value}`);
            if (!["href", "src"].includes(name)) continue;
            const url = new URL(value, document.baseURI);
            if (!["http:", "https:", "mailto:"].includes(url.protocol)) found.push(`${name}=${value}`);
            if (name === "src" && url.origin !== location.origin) found.push(`${name}=${value}`);
        }
        if (node.matches("main a[target]") && !node.rel.includes("noreferrer")) found.push(node.outerHTML);
    }
    return {
        found, ran: window.__xss ?? null, base: document.baseURI, title: document.title,
        scripts: document.scripts.length, wide: document.documentElement.scrollWidth > innerWidth,
    };
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sharing(
    model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """The app with shares for everybody who has the link."""
    settings = settings_for(
        tmp_path_factory.mktemp("sharing"),
        openai_base_url=model.base_url,
        openai_api_key="key-of-the-endpoint",
        model="stage",
        log_level="ERROR",
        shares="link",
    )
    async with served(settings) as running:
        yield running


def dialog(page: ChatPage) -> Locator:
    return page.frame.get_by_role("dialog", name="Share this chat")


async def open_dialog(page: ChatPage) -> Locator:
    await page.open_sidebar()
    await expect(page.frame.locator(".cmw-more").first).to_be_visible()
    # In one step: a list that is drawn anew meanwhile takes the menu with it.
    await page.frame.evaluate(CHOOSE)
    shown = dialog(page)
    await expect(shown).to_be_visible()
    await expect(shown.get_by_label("The link ends")).to_be_focused()
    await expect(shown.get_by_role("button", name="Make a link")).to_be_enabled()
    return shown


async def test_a_link_is_made_read_continued_and_ended_by_keyboard(
    sharing: Served, people: People
) -> None:
    alice = await people.open(sharing)
    await alice.ask("What Alice has asked")
    shown = await open_dialog(alice)
    await shown.get_by_label("The link ends").select_option(label="in 1 day")
    await shown.get_by_role("button", name="Make a link").press("Enter")
    field = shown.get_by_role("textbox", name="Link")
    await expect(field).to_be_focused()
    address = await field.input_value()
    assert re.fullmatch(rf"{re.escape(sharing.url)}/share/[A-Za-z0-9_-]{{32}}", address)
    await expect(shown.get_by_role("listitem")).to_contain_text("2 messages, ends on")
    await alice.page.keyboard.press("Escape")
    await expect(shown).to_have_count(0)
    await alice.ask("What she asks later")

    bob = await people.tab(sharing)
    await bob.page.goto(address)
    body = bob.page.locator("body")
    await expect(body).to_contain_text("What Alice has asked")
    await expect(body).not_to_contain_text("What she asks later")
    assert await bob.page.context.cookies() == []
    await bob.page.get_by_role("button", name="Continue this chat").press("Enter")
    await bob.page.wait_for_url(re.compile(r"\?c="))
    await bob.filled()
    await expect(bob.questions).to_have_count(1)
    await bob.ask("What Bob asks")
    await expect(bob.questions).to_have_count(2)
    await alice.reload()
    await expect(alice.questions).to_have_count(2)
    await expect(alice.log).not_to_contain_text("What Bob asks")

    shown = await open_dialog(alice)
    await expect(shown.get_by_role("listitem")).to_have_count(1)
    await shown.get_by_role("button", name="End link").press("Enter")
    await expect(shown.get_by_role("status")).to_contain_text("The link was ended")
    await expect(shown.get_by_role("listitem")).to_have_count(0)
    people.watch.expects("http 404: .*/share/", "404")
    await bob.page.goto(address)
    await expect(bob.page.locator("body")).to_contain_text("There is no shared chat")


async def test_without_shares_there_is_no_such_entry(app: Served, people: People) -> None:
    page = await people.open(app)
    await page.ask("hello")
    await page.open_sidebar()
    await page.frame.locator(".cmw-more").first.click()
    await expect(page.frame.get_by_role("menuitem", name="Rename")).to_be_visible()
    await expect(page.frame.get_by_role("menuitem", name="Share…")).to_have_count(0)


async def test_payloads_in_a_shared_chat_are_inert(sharing: Served, people: People) -> None:
    alice = await people.open(sharing)
    runtime, owner = sharing.application.runtime, await _owner(alice)
    service = runtime.shares
    assert service is not None
    memory = ConversationMemoryManager(runtime.services.database)
    bob = await people.tab(sharing)
    async with other_site() as foreign:
        payloads = [payload.replace(FOREIGN, foreign.origin) for payload in PAYLOADS]
        for number, payload in enumerate(payloads):
            # Each is the title, the question and the answer.
            conversation = new_conversation_id()
            await _store(memory, owner, conversation, payload, number)
            made = (
                await service.create(
                    Principal(owner, "visitor"),
                    conversation,
                    days=1,
                    with_files=False,
                    address=None,
                )
                if number < 20
                else None
            )  # so many in an hour are allowed besides those below
            if made is None:
                continue
            await bob.page.goto(f"{sharing.url}/share/{made.share_id}")
            await inert(bob, made.share_id)
        conversation = new_conversation_id()
        for number, payload in enumerate(payloads):
            await _store(memory, owner, conversation, payload, number)
        ticket = await memory.begin_turn(
            owner, NewTurn(conversation, "sources", key="s", origin=ConversationOrigin())
        )
        await memory.finish_turn(
            owner,
            ticket.turn_id,
            status="complete",
            content="cited",
            tool_calls=[],
            tokens_used=1,
            latency_ms=1,
            model_used=PAYLOADS[1],
            error_id=None,
        )
        made = await service.create(
            Principal(owner, "visitor"), conversation, days=1, with_files=False
        )
        await bob.page.goto(f"{sharing.url}/share/{made.share_id}")
        await inert(bob, made.share_id)
        for page in range(2, len(payloads) // 20 + 2):
            await bob.page.get_by_role("link", name="Show more").click()
            await bob.page.wait_for_url(re.compile(f"from={page * 40 - 39}$"))
            await inert(bob, made.share_id)
        assert foreign.requests == []


async def inert(page: ChatPage, share_id: str) -> None:
    await expect(page.page.get_by_role("button", name="Continue this chat")).to_be_visible()
    await expect(page.page.locator(".body.plain")).to_have_count(0)  # the texts are drawn
    seen = await page.page.evaluate(INERT)
    assert seen["found"] == []
    assert seen["ran"] is None
    assert seen["scripts"] == 2  # the language's, and the page's own
    assert not seen["wide"]
    assert f"/share/{share_id}" in seen["base"]


RICH = (
    "Take `List<T>` and List<String>, ~5 of them, for $5 or $10.\n\n"
    "Now \\(x^2\\).\n\n```python\nx = 1\n```\n\n```mermaid\ngraph TD; A --> B\n```"
)


async def shared(sharing: Served, page: ChatPage, question: str, answer: str) -> str:
    """Store a conversation of the page's visitor, and return the address of a share of it."""
    runtime, owner, conversation = (
        sharing.application.runtime,
        await _owner(page),
        new_conversation_id(),
    )
    ticket = await runtime.memory.begin_turn(
        owner, NewTurn(conversation, question, key="k", origin=ConversationOrigin())
    )
    await _finish(runtime.memory, owner, ticket.turn_id, answer)
    assert runtime.shares is not None
    made = await runtime.shares.create(
        Principal(owner, "visitor"), conversation, days=1, with_files=False
    )
    return f"{sharing.url}/share/{made.share_id}"


async def test_a_shared_chat_is_drawn_as_the_chat_s_own_page_draws_it(
    sharing: Served, people: People
) -> None:
    address = await shared(sharing, await people.open(sharing), "  # as <b>typed</b>", RICH)
    reader = (await people.tab(sharing)).page
    await reader.goto(address)
    answer = reader.locator("section.assistant .body")
    await expect(answer.locator("math")).to_have_count(1)
    await expect(answer.locator(".hljs-number")).to_have_text("1")
    await expect(answer.locator("img.cmw-diagram")).to_be_visible()
    await expect(answer).to_contain_text("List<T> and List<String>, ~5 of them, for $5 or $10.")
    await expect(answer.get_by_role("button", name="Copy").first).to_be_visible()
    own = reader.locator("section.user .body")
    assert await own.evaluate("(one) => one.textContent") == "  # as <b>typed</b>"
    await expect(own).to_have_css("white-space", "pre-wrap")


async def test_a_shared_chat_can_be_read_without_scripts(
    sharing: Served, people: People, browser: Browser
) -> None:
    address = await shared(sharing, await people.open(sharing), "asked <b>so</b>", RICH)
    context = await browser.new_context(java_script_enabled=False)
    people.watch.over(context)
    page = await context.new_page()
    await page.goto(address)
    texts = page.locator(".body")
    assert await texts.all_text_contents() == ["asked <b>so</b>", RICH]
    await expect(texts.last).to_have_css("white-space", "pre-wrap")
    await expect(page.get_by_role("button", name="Continue this chat")).to_have_count(0)
    await context.close()


@SCHEMES
@SIZES
async def test_a_shared_chat_and_the_dialog_fit_and_can_be_read(
    size: ViewportSize, dark: bool, sharing: Served, people: People
) -> None:
    shape = f"{size['width']}-{'dark' if dark else 'light'}"
    page = await people.open(sharing, viewport=size, dark=dark)
    runtime, owner = sharing.application.runtime, await _owner(page)
    service = runtime.shares
    assert service is not None

    async def content() -> AsyncIterator[bytes]:
        yield papers.picture()

    principal, conversation = Principal(owner, "visitor"), new_conversation_id()
    picture = await runtime.files.add(principal, "p.png", "", content())
    ticket = await runtime.memory.begin_turn(
        owner,
        NewTurn(
            conversation,
            "Look at this picture",
            key="k",
            origin=ConversationOrigin(),
            files=[picture.file_id],
        ),
    )
    await runtime.memory.finish_turn(
        owner,
        ticket.turn_id,
        status="interrupted",
        content=ANSWER,
        tool_calls=[],
        tokens_used=1,
        latency_ms=1,
        model_used="model-1",
        error_id=None,
    )
    await page.open(f"?c={conversation}")
    shown = await open_dialog(page)
    await shown.get_by_label("With the files of this chat").check()
    await shown.get_by_role("button", name="Make a link").click()
    field = shown.get_by_role("textbox", name="Link")
    await expect(field).to_be_visible()
    box = await shown.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size["width"]
    assert box["y"] > 0
    contrasts = await page.frame.evaluate(CONTRASTS.replace(CHAT_PARTS, ".cmw-share *"))
    assert len(contrasts) > 5
    assert [found for found in contrasts if found[2] < READABLE] == []
    await _picture(page, f"share-dialog-{shape}")
    reader = await people.tab(sharing, viewport=size, dark=dark)
    await reader.page.goto(await field.input_value())
    image = reader.page.get_by_role("img", name="p.png")
    await expect(image).to_be_visible()
    await image.scroll_into_view_if_needed()
    await expect(image).to_have_js_property("complete", True)
    assert await image.evaluate("(one) => one.naturalWidth") > 0
    assert not await reader.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    measured = await reader.page.evaluate(CONTRASTS.replace(CHAT_PARTS, "body > * *"))
    assert len(measured) > 10
    assert [found for found in measured if found[2] < READABLE] == []
    await _picture(reader, f"shared-chat-{shape}")


ANSWER = (
    """# A heading

A paragraph with **bold**, `code`, a [link](https://example.com/) and a long word: """
    + "w" * 200
    + """

| left | right |
|:-----|------:|
| 1 | 2 |

```
print("a line of code that is long enough to need room of its own on a telephone, and more of it")
```

> a quotation

1. one
2. two
"""
)

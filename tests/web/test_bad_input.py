"""Answers that no drawing is made for, on the page, in the widget and in a shared chat: drawn safely,
or shown as they were written with a sentence that says why."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from cmw_agent.identity.principals import Principal
from cmw_agent.identity.widget_tokens import WidgetTokens
from memory.records import ConversationOrigin, NewTurn, new_conversation_id
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, served, settings_for
from tests.web.conftest import People
from tests.web.other_site import OtherSite, other_site
from tests.web.test_text_safety import FOUND
from tests.web.test_widget import LENS
from tests.web.test_xss import _finish, _owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ROWS = "| 1 | 2 | 3 | 4 | 5 |\n"
HEAD = "| a | b | c | d | e |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Bad:
    """An answer; `note` is in the sentence that says why it is not formatted, None where it is."""

    answer: str
    note: str | None = None
    holds: str = ""  # a selector of what it becomes


BAD = {
    "1 MB": Bad("twenty letters a word " * 48_000, "too long"),
    "5,000 cells": Bad(HEAD + ROWS * 999, holds="tbody tr:nth-child(999)"),
    "more cells": Bad(HEAD + ROWS * 1_000, "too large"),
    "200 nested lists": Bad("\n".join("  " * n + f"- level {n}" for n in range(200)), "too deeply"),
    "an unclosed fence": Bad("text\n\n```python\nx = 1\n" * 2 + "**end**", holds="pre.cmw-code"),
    "10,000 dollars": Bad("$" * 10_000),
    "10,000 dollars in words": Bad("$x " * 10_000),
    "hostile SVG": Bad("<svg onload=window.__xss=1><script>window.__xss=1</script><use href='https://a.example/x#a'/></svg>"),
    "hostile MathML": Bad("<math href='javascript:window.__xss=1'><maction actiontype=statusline xlink:href='javascript:1'>x</maction></math>"),
    "overrides in text": Bad("see \u202egnp.exe\u202c and \u2066x\u2069", holds="[data-name=RLO]"),
    "overrides in code": Bad("```js\nif (a\u202e\u2066 /* end */ ) {}\n```", holds="code [data-name=RLO]"),
    "299,000 characters": Bad("A paragraph with **bold** words.\n\n" * 8_700, holds="p:nth-child(8700)"),
}  # fmt: skip
DRAWN = "(one) => !('drawing' in one.dataset) && !one.querySelector('[data-pending]')"
SEEN = "(one) => one.textContent"
LOOK = "(one) => { const host = () => one; return (" + FOUND + ")(); }"


@dataclass(slots=True)
class Web:
    """The app, which shares chats, and a site with its widget."""

    app: Served
    site: OtherSite


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(model: OpenAIDouble, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    folder = tmp_path_factory.mktemp("bad")
    async with other_site() as site:
        (folder / "agents.toml").write_text(
            f'[[agents]]\nid = "shop"\nallowed_origins = ["{site.origin}"]\n'
        )
        settings = settings_for(
            folder, openai_base_url=model.base_url, model="stage", log_level="ERROR", shares="link"
        )
        async with served(settings) as app:
            line = f'<script src="{app.url}/widget.js" data-agent="shop" data-open="true" defer></script>'
            site.page = f"<!doctype html><html lang=en><head>{line}</head><body><h1>A shop</h1>"
            yield Web(app, site)


async def store(
    web: Web, owner: str, conversation: str, answer: str, agent: str = "assistant"
) -> None:
    memory = web.app.application.runtime.memory
    origin = ConversationOrigin(agent_id=agent)
    ticket = await memory.begin_turn(
        owner, NewTurn(conversation, "asked", key=answer[:9], origin=origin)
    )
    await _finish(memory, owner, ticket.turn_id, answer)


async def harmless(page: Page, text: Locator, bad: Bad) -> None:
    """Wait until a text is drawn, and look at what it has become."""
    await expect(text).to_have_count(1)
    handle = await text.element_handle()
    assert handle is not None
    await page.wait_for_function(DRAWN, arg=handle)
    assert await text.evaluate(LOOK) == []
    assert await page.evaluate("window.__xss ?? null") is None
    notes = text.locator(".cmw-note")
    if bad.note is not None:
        await expect(notes).to_have_count(1)
        await expect(notes).to_contain_text(bad.note)
        seen = "".join((await text.evaluate(SEEN)).split())
        assert "".join(bad.answer.split()) in seen
        return
    await expect(notes).to_have_count(0)
    if bad.holds:
        await expect(text.locator(bad.holds).first).to_be_attached()
    words = set(re.findall(r"[A-Za-z]{3,}", bad.answer)) - {"python"}
    missing = words - set(re.findall(r"[A-Za-z]{3,}", await text.evaluate(SEEN)))
    assert missing <= {"js"}


@pytest.mark.parametrize("name", BAD)
async def test_the_page_draws_it_safely(web: Web, people: People, name: str) -> None:
    page = await people.open(web.app)
    conversation = new_conversation_id()
    await store(web, await _owner(page), conversation, BAD[name].answer)
    await page.open(f"?c={conversation}")
    await harmless(page.page, page.log.locator(".cmw-answer"), BAD[name])
    await page.ask("and then?")  # the page goes on


@pytest.mark.parametrize("name", BAD)
async def test_a_shared_chat_draws_it_safely(web: Web, people: People, name: str) -> None:
    # By each its own owner: an owner may make thirty copies in an hour.
    owner, conversation = f"owner-of-{BAD[name].answer[:5]!r}", new_conversation_id()
    runtime = web.app.application.runtime
    await store(web, owner, conversation, BAD[name].answer)
    assert runtime.shares is not None
    made = await runtime.shares.create(
        Principal(owner, "visitor"), conversation, days=1, with_files=False
    )
    page = (await people.tab(web.app)).page
    await page.goto(f"{web.app.url}/share/{made.share_id}?from=2")  # where the answer begins
    await expect(page.locator(".body.plain")).to_have_count(0)
    await harmless(page, page.locator("section.assistant .body"), BAD[name])


@pytest.mark.parametrize("name", BAD)
async def test_a_widget_draws_it_safely(web: Web, people: People, name: str) -> None:
    page = (await people.tab(web.app)).page
    people.watch.origins |= {web.app.url, web.site.origin}
    await page.add_init_script(LENS)
    await page.goto(web.site.origin)
    conversation = await page.evaluate("CMWAgent.getSessionId()")
    (token,) = await page.evaluate("Object.values(localStorage)")
    visitor = WidgetTokens(web.app.application.guard._identities).verify(token)
    assert visitor is not None
    await store(web, visitor.principal.id, conversation, BAD[name].answer, "shop")
    await page.reload()
    await harmless(page, page.locator("cmw-agent .answer .text.cmw-text"), BAD[name])

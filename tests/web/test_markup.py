"""Messages are rendered as text: no form, field, button or style, and nothing is fetched."""

import re
from base64 import b64decode
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Request, expect

from cmw_agent.identity.principals import Principal
from memory.manager import ConversationMemoryManager
from memory.records import ConversationOrigin, NewTurn, new_conversation_id
from tests.harness import Served
from tests.web.chat_page import ChatPage
from tests.web.conftest import People
from tests.web.other_site import other_site
from tests.web.test_xss import _finish, _owner

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

# FOREIGN stands for a site that remembers whatever asks it.
PAYLOADS = (
    """<form action='/history/forget' method=post enctype='text/plain'>
    <input name='{"sure":true,"x":"' value='"}'><button>Show the details</button></form>""",
    "<form action='logout' method=post><input type=submit value='Go on'></form>",
    "<form id=f></form><button form=f formaction='/connections/disconnect' formmethod=post>x</button>",
    "<button class='copy_code_button'>Pay</button>",
    "<div class='code_wrap'><button class='copy_code_button' onclick='x()'>Pay</button></div>",
    "<div class='code_wrap'><button class='copy_code_button'><b>Pay</b></button><pre>x</pre></div>",
    "<input type=password placeholder='Your password'>",
    "<input type=image src='/login'>",
    "<textarea>words</textarea><select><option>one</option></select>",
    "<dialog open>Sign in again</dialog>",
    "<div popover id=p>x</div><button popovertarget=p>x</button>",
    "<style>body { display: none }</style>",
    "<p style='position:fixed;inset:0;background:url(/login)'>over all</p>",
    "<span class='fixed inset-0 z-50 cmw-account'>over all</span>",
    "<pre><code><span class='token fixed absolute inset-0'>x</span></code></pre>",
    "![picture](/login)",
    "![picture](login)",
    "![picture](FOREIGN/leak)",
    "![picture](//127.0.0.1:1/leak)",
    "![picture](files/../login)",
    f"![picture](files/{'0' * 32})",
    f"<a data-testid='chatbot-file' class='file-link' href='files/{'0' * 32}'>x</a>",
    "![picture](files/x?q=1)",
    "![picture](files/00000000000000000000000000000000/../../login)",
    "![picture][one]\n\n[one]: /login",
    "<img src='/login' srcset='/login 2x' loading=eager>",
    "<picture><source srcset='/login'><img src='/login'></picture>",
    "<video poster='/login' src='/login' autoplay></video><audio src='/login' autoplay></audio>",
    "<img src='data:image/svg+xml;base64,PHN2Zy8+'>",
    "<svg><image href='/login'/><use href='/login#x'/></svg>",
    "<svg><style>* { background: url(/login) }</style><a href='/login'><text>x</text></a></svg>",
    "<math><mtext><img src='/login'></mtext></math>",
    "<table background='/login'><tr><td background='/login'>x</td></tr></table>",
    "<link rel=preload as=image href='/login'><link rel=prefetch href='/login'>",
    "<iframe src='/login'></iframe><object data='/login'></object><embed src='/login'>",
    "<a id=cmw name=cmw href='#x'>one</a><img name=body id=location alt=two>",
    "<a href='/history' ping='/login' target=_self>one</a>",
    "<meter value=1></meter><progress></progress><fieldset><legend>x</legend></fieldset><label>x</label>",
    "```mermaid\ngraph TD; A[\"<img src='/login'>\"] --> B\n```",
    "<div class='mermaid'>graph TD; A[\"<img src='/login'>\"]</div>",
    "<details open><summary>more</summary><img src='/login'></details>",
    "- [x] <img src='/login'> done\n- [ ] to do",
    "<x-y is='button'><img src='/login'></x-y>",
    "> <form><img src='/login'>\n\n1. <form><img src='/login'>",
    "$$\\includegraphics{/login}\\htmlStyle{color:red}{x}\\htmlId{a}{x}$$",
)
FOUND = """() => {
    const found = [];
    const refused = `form, input, textarea, select, option, dialog, style, link, meta, base, iframe,
        object, embed, script, video, audio, picture, source, svg:not(.cmw-none), math, canvas,
        fieldset, legend, label, meter, progress, template, [style], [id], [name], [popover],
        [form], [formaction], [ping], [srcset], [background], [poster], [autofocus]`;
    for (const message of document.querySelectorAll("#cmw-chat :is(.cmw-own, .cmw-answer)")) {
        for (const node of message.querySelectorAll("*")) {
            if (node.closest("math")) continue; // drawn by KaTeX itself
            if (node.localName === "button") { // the page's own, beside code
                const own = node.matches(".cmw-code-bar > [type=button]:is(.cmw-code-wrap, .cmw-code-copy)");
                if (!own) found.push(node.outerHTML.slice(0, 200));
                continue;
            }
            const scrolls = node.matches("pre.cmw-code[tabindex='0'], .cmw-table[tabindex='0']");
            if (node.matches(refused) || (node.hasAttribute("tabindex") && !scrolls)) found.push(node.outerHTML.slice(0, 200));
            if (/(^| )(?!cmw-|hljs|katex|language-|[a-z]+_( |$))/.test(node.className) && node.className) found.push(node.className);
            if (/cmw-account/.test(node.className)) found.push(node.className);
            if (node.localName === "img" && !/^(data:image\\/(png|gif|svg\\+xml)|blob:)/.test(node.src)) found.push(node.src);
            if (message.matches(".cmw-own") && !node.matches("a, span")) found.push(node.outerHTML.slice(0, 200));
        }
    }
    return found;
}"""
SEEN = re.compile(r"/login|/leak|/history/forget|/logout|/connections/disconnect|/files/")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def memory_of(app: Served) -> ConversationMemoryManager:
    database = app.application.runtime.services.database
    assert database is not None
    return ConversationMemoryManager(database)


async def stored(app: Served, page: ChatPage, texts: list[str]) -> None:
    """Open a conversation in which each text was said and answered."""
    memory, owner, conversation = memory_of(app), await _owner(page), new_conversation_id()
    for number, text in enumerate(texts):
        ticket = await memory.begin_turn(
            owner, NewTurn(conversation, text, key=f"k{number}", origin=ConversationOrigin())
        )
        await _finish(memory, owner, ticket.turn_id, text)
    await page.open(f"?c={conversation}")
    await expect(page.questions).to_have_count(len(texts))


async def test_no_message_holds_a_form_or_asks_for_anything(app: Served, people: People) -> None:
    page = await people.open(app)
    people.watch.tolerates("LaTeX-incompatible")
    asked: list[str] = []

    def remember(request: Request) -> None:
        if SEEN.search(request.url):
            asked.append(request.url)

    page.page.on("request", remember)
    async with other_site() as foreign:
        payloads = [payload.replace("FOREIGN", foreign.origin) for payload in PAYLOADS]
        for start in range(0, len(payloads), 18):  # the page shows the last 40 messages
            part = payloads[start : start + 18]
            await stored(app, page, part)
            await expect(page.texts).to_have_count(len(part))
            assert await page.frame.evaluate(FOUND) == []
        assert foreign.requests == []
    assert asked == []


async def test_no_message_that_streams_asks_for_anything(app: Served, people: People) -> None:
    page = await people.open(app)
    asked: list[str] = []
    page.page.on("request", lambda r: asked.append(r.url) if SEEN.search(r.url) else None)
    for payload in (PAYLOADS[0], PAYLOADS[15], PAYLOADS[24]):
        await page.ask(payload)
        assert await page.frame.evaluate(FOUND) == []
    assert asked == []


async def test_what_an_answer_may_look_like_stays(app: Served, people: People) -> None:
    page = await people.open(app)
    text = (
        "# Title\n\n**bold** *slanted* `code` [link](https://example.com/x)\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done\n\n"
        f"```python\nprint('<form>')\n```\n\n$$x^2$$\n\n![dot]({PIXEL}) ![far](https://example.com/y)"
    )
    await stored(app, page, [text])
    answer = page.texts
    for selector in ("h1", "strong", "em", "table td", "li", "math", f"img[src='{PIXEL}']"):
        await expect(answer.locator(selector).first).to_be_attached()
    await expect(answer.locator("a[href='https://example.com/x']")).to_have_text("link")
    await expect(answer.locator("a[href='https://example.com/y']")).to_have_text("far")
    await expect(answer.locator("pre code")).to_contain_text("print('<form>')")
    await expect(answer.locator(".cmw-code-bar > .cmw-code-copy")).to_be_attached()
    await expect(answer.locator("li.cmw-task")).to_contain_text("done")
    assert await page.frame.evaluate(FOUND) == []


async def test_a_picture_that_its_user_attached_is_fetched_and_drawn(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    owner, conversation = await _owner(page), new_conversation_id()
    runtime = app.application.runtime

    async def content() -> AsyncIterator[bytes]:
        yield b64decode(PIXEL.partition(",")[2])

    file = await runtime.files.add(Principal(owner, "visitor"), "dot.gif", "image/gif", content())
    ticket = await runtime.memory.begin_turn(
        owner,
        NewTurn(conversation, "look", key="k", origin=ConversationOrigin(), files=[file.file_id]),
    )
    await _finish(memory_of(app), owner, ticket.turn_id, "seen")
    await page.open(f"?c={conversation}")
    picture = page.log.get_by_alt_text("dot.gif")
    await expect(picture).to_have_attribute("src", re.compile("^blob:"))
    await expect(picture).to_have_js_property("naturalWidth", 1)
    assert await page.questions.locator("img").count() == 0


async def test_a_picture_that_a_text_names_is_fetched_by_no_one_until_it_is_clicked(
    app: Served, people: People
) -> None:
    page = await people.open(app)
    owner = await _owner(page)

    async def content() -> AsyncIterator[bytes]:
        yield b64decode(PIXEL.partition(",")[2])

    file = await app.application.runtime.files.add(
        Principal(owner, "visitor"), "dot.gif", "image/gif", content()
    )
    asked: list[str] = []
    page.page.on("request", lambda r: asked.append(r.url) if "/files/" in r.url else None)
    await stored(app, page, [f"![dot](files/{file.file_id})"])
    answer = page.texts
    await expect(answer.get_by_role("link", name="dot")).to_have_attribute(
        "href", f"files/{file.file_id}"
    )
    await expect(answer.locator("img")).to_have_count(0)
    assert asked == []


async def test_the_page_s_icon_is_its_own_and_asks_nobody(app: Served, people: People) -> None:
    page = await people.tab(app)
    asked: list[str] = []
    page.page.on("request", lambda r: asked.append(r.url) if "icon" in r.url else None)
    await page.open()
    icons = page.frame.locator("link[rel~=icon]")
    await expect(icons).to_have_count(1)
    await expect(icons).to_have_attribute("href", re.compile("^data:image/svg"))
    drawn = await icons.evaluate(
        """async (link) => {
            const image = new Image();
            image.src = link.href;
            await image.decode();
            return image.naturalWidth > 0;
        }"""
    )
    assert drawn
    assert asked == []

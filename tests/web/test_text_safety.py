"""Hostile texts: nothing runs, loads or reaches outside; what costs too much is shown as written."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.web import test_markup, test_xss
from tests.web.text_page import TextPage, text_page

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

FOREIGN = "https://foreign.example"
OWN = (
    "[x](vbscript:msgbox(1))",
    "[x](data:image/svg+xml;base64,PHN2Zy8+)",
    "[x](&#106;avascript:window.__xss=1)",
    "[x](java\nscript:window.__xss=1)",
    "[x](\x01javascript:window.__xss=1)",
    "[x](<javascript:window.__xss=1>)",
    "[x][r]\n\n[r]: javascript:window.__xss=1",
    "<javascript:window.__xss=1>",
    "![x](data:image/svg+xml,<svg onload=window.__xss=1>)",
    f"![x]({FOREIGN}/a.png \"' onerror='window.__xss=1\")",
    "[x](https://a.example \"' onclick='window.__xss=1\")",
    "[x](https://a.example/'onclick='window.__xss=1)",
    '[x](https://a.example/"onclick="window.__xss=1)',
    f"![{'[' * 5}<img src=x onerror=window.__xss=1>](x)",
    "</span></div></p><img src=x onerror=window.__xss=1>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror=window.__xss=1>",
    "<svg><animate onbegin=window.__xss=1 attributeName=x dur=1s>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.__xss=1</script>'></foreignObject></svg>",
    "<noscript><p title='</noscript><img src=x onerror=window.__xss=1>'>",
    "<a href='x' style='position:fixed;inset:0'>x</a>",
    "\\href{javascript:window.__xss=1}{x}",
    f"\\includegraphics{{{FOREIGN}/a.png}}",
    "\\htmlClass{cmw-code-copy}{x}\\htmlStyle{position:fixed}{y}\\htmlData{a=b}{z}",
    "\\text{<img src=x onerror=window.__xss=1>}",
    "\\def\\a{\\a\\a}\\a",
    "\u202e\u2066<script>window.__xss=1</script>",
)
PAYLOADS = tuple(
    payload.replace("FOREIGN", FOREIGN)
    for payload in (*test_xss.PAYLOADS, *test_markup.PAYLOADS, *OWN)
)
PLACES = {
    "text": "before {} after",
    "heading": "# {}",
    "item": "- {}\n  - {}",
    "quote": "> {}",
    "code": "```html\n{}\n```",
    "code span": "`` {} ``",
    "language": "```{}\ncode\n```",
    "link's text": "[{}](https://a.example)",
    "link's address": "[x]({})",
    "link's title": '[x](https://a.example "{}")',
    "picture's text": "![{}](https://a.example/p.png)",
    "picture's address": "![x]({})",
    "table": "| a |\n|---|\n| {} |",
    "task": "- [x] {}",
    "formula": "\\( {} \\) $${}$$",
    "formula's block": "$$\n{}\n$$",
    "definition": "[x]\n\n[x]: {}",
    "emphasis": "**{}** ~~{}~~",
}
# What a text may become, and with which attributes; all else is found.
FOUND = """() => {
    const elements = new Set(("a blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr img li ol p pre s span strong "
        + "table tbody td th thead tr ul math annotation menclose merror mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace "
        + "msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover semantics").split(" "));
    const found = [];
    for (const node of host().querySelectorAll("*")) {
        const own = node.matches(".cmw-code-bar > button[type=button]:is(.cmw-code-wrap, .cmw-code-copy)");
        if (!elements.has(node.localName) || (node.localName === "button" && !own)) found.push(node.outerHTML);
        for (const { name, value } of node.attributes) {
            if (/^on|^(style|id|name|srcset|ping|form|formaction|action|background|xlink:href|autofocus)$/.test(name)) {
                found.push(`${name}=${value}`);
            }
            if (name === "class" && !/^[\\w +#.-]*$/.test(value)) found.push(`${name}=${value}`);
            if (name === "class" && /(^| )(?!cmw-|hljs|katex|[a-z]+_( |$))/.test(value)) found.push(`${name}=${value}`);
            if (name === "href") {
                const { protocol } = new URL(value, document.baseURI);
                if (!["http:", "https:", "mailto:"].includes(protocol)) found.push(`${name}=${value}`);
            }
            if (name === "src" && !/^data:image\\/(png|jpeg|gif|webp|avif|bmp|svg\\+xml);/.test(value)) {
                found.push(`${name}=${value}`);
            }
        }
    }
    return [...found, ...(window.__xss === undefined ? [] : ["ran"])];
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def text(browser: Browser) -> AsyncIterator[TextPage]:
    """A page that draws texts; nothing of it leaves for elsewhere, and no script fails."""
    async with text_page(browser) as page:
        await page.draw("$x$\n\n```python\nx\n```")  # the libraries are there from now on
        yield page
        assert await page.errors() == []
        assert page.foreign == []


async def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60


# Draws each text whole, for each page on which texts are drawn, and as the beginning of more; gives
# the first that became what it must not.
EACH = f"""async (sources) => {{
    const look = {FOUND};
    for (const source of sources) {{
        const found = [];
        for (const kind of ["answer", "share", "widget"]) {{
            await draw(source, kind);
            found.push(...look());
        }}
        make("widget");
        view.update(source, false);
        found.push(...look());
        if (found.length) return [source, ...found];
    }}
    return [];
}}"""


@pytest.mark.parametrize("place", PLACES)
async def test_payloads_are_inert(text: TextPage, place: str) -> None:
    sources = [PLACES[place].replace("{}", payload) for payload in PAYLOADS]
    assert await text.eval(EACH, sources) == []


async def test_payloads_in_ones_own_message_are_text(text: TextPage) -> None:
    for payload in PAYLOADS:
        await text.eval("(text) => { make(); cmwPane.drawPlain(host(), text); }", payload)
        assert await text.eval("host().textContent") == payload.replace("\u202e", "").replace(
            "\x01", ""
        )
        assert await text.eval(FOUND) == [], payload


DIAGRAMS = (
    'graph TD; A["<img src=x onerror=window.__xss=1>"] --> B',
    f"graph TD; A[\"<img src='{FOREIGN}/x'>\"] --> B",
    'graph TD; A --> B; click A "javascript:window.__xss=1"',
    "graph TD; A --> B; click A call window.alert()",
    f'%%{{init: {{"themeCSS": "* {{ background: url({FOREIGN}/x) }}"}}}}%%\ngraph TD; A --> B',
    '%%{init: {"securityLevel": "loose", "htmlLabels": true}}%%\ngraph TD; A["<b onclick=window.__xss=1>x</b>"]',
    "sequenceDiagram\n  A->>B: <script>window.__xss=1</script>",
    "classDiagram\n  class A{ <img src=x onerror=window.__xss=1> }",
    f"graph TD; A[x]; style A fill:url({FOREIGN}/x)",
    "graph TD; A[$$\\href{javascript:window.__xss=1}{x}$$]",
    'pie title <svg onload=window.__xss=1>\n  "a": 1',
    'graph TD; A@{ img: "https://foreign.example/x.png", label: "x" }',
)


async def test_payloads_in_diagrams_are_inert(text: TextPage) -> None:
    for diagram in DIAGRAMS:
        await text.draw(f"```mermaid\n{diagram}\n```\n\n```mermaid\ngraph TD; A --> B\n```")
        # diagrams are drawn one after another: the second tells of the first
        await text.page.wait_for_selector(".cmw-code-box:nth-child(2) img.cmw-diagram")
        assert await text.eval(FOUND) == [], diagram
        pictures = await text.eval(
            "[...host().querySelectorAll('img')].map((one) => decodeURIComponent(one.src))"
        )
        for picture in pictures:
            assert "<script" not in picture, diagram
            assert "<foreignObject" not in picture, diagram
            assert " onerror" not in picture, diagram
            assert "javascript:" not in picture, diagram


LONG = "w" * 20 + " "
HUGE = {
    "1 MB of words": (LONG * 50_000, "too long"),
    "1 MB on lines": ("a line of an answer\n" * 52_000, "too long"),
    "a paragraph of 60,000 characters": (LONG * 3_000, "too long"),
    "20,000 table cells": ("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 10_000, "too large"),
    "cells that the parser adds": (
        "|" + "a|" * 200 + "\n|" + "-|" * 200 + "\n" + "|x\n" * 300,
        "too large",
    ),
    "200 nested lists": ("\n".join("  " * n + f"- level {n}" for n in range(200)), "too deeply"),
    "200 nested quotes": ("> " * 200 + "deep", "too deeply"),
}


@pytest.mark.parametrize("name", HUGE)
async def test_what_costs_too_much_is_shown_whole_with_a_sentence(
    text: TextPage, name: str
) -> None:
    source, sentence = HUGE[name]
    await text.draw(source)
    notes = await text.eval("[...host().querySelectorAll('.cmw-note')].map((one) => one.innerText)")
    assert len(notes) == 1
    assert sentence in notes[0]
    shown = await text.eval(
        "[...host().querySelectorAll('.cmw-plain, .cmw-plain-part')].map((one) => one.textContent).join('\\n')"
    )
    assert "".join(shown.split()) == "".join(source.split())


COSTLY = {
    "10,000 dollars": "$" * 10_000,
    "10,000 dollars with words": "$x " * 10_000,
    "10,000 open formulas": "\\(x " * 10_000,
    "10,000 line breaks": "a\n" * 10_000,
    "10,000 brackets": "[" * 10_000,
    "5,000 open pictures": "![" * 5_000,
    "10,000 open links": "[a](" * 10_000,
    "nested emphasis": "*a **b " * 5_000,
    "10,000 items": "- item\n" * 10_000,
    "a lazy quote": "> a\n" * 10_000,
    "10,000 backslashes of a path": "C:\\a" + "\\a" * 10_000,
    "10,000 drives": "C:\\ " * 10_000,
    "10,000 powers": "1**1 " * 9_000,
    "10,000 open indices": "<sub>" * 9_000,
    "a row of open formulas": "| a | b |\n|---|---|\n|" + "\\(x|" * 8_000,
    "an open environment": "\\begin{align}" * 3_000,
    "an open fence": "```python\n" + "x = 1  # note\n" * 15_000,
    "10,000 overrides": "\u202e" * 10_000,
    "10,000 tags": "\U000e0041" * 10_000,
    "5,000 cells": "| a | b | c | d | e |\n|---|---|---|---|---|\n"
    + "| 1 | 2 | 3 | 4 | 5 |\n" * 999,
    "7,000 references": "[a][b] " * 7_000 + "\n\n[b]: https://a.example",
}


@pytest.mark.parametrize("name", COSTLY)
async def test_costly_texts_are_drawn(text: TextPage, name: str) -> None:
    await text.draw(COSTLY[name])
    assert await text.eval("host().querySelector('.cmw-note')") is None
    assert await text.eval("host().childElementCount") >= 1


async def test_of_10_000_formulas_the_first_are_drawn_and_the_rest_stay_readable(
    text: TextPage,
) -> None:
    await text.draw("$x^2$ " * 8_000)
    assert await text.eval("host().querySelectorAll('math').length") == 500
    assert await text.eval("host().querySelectorAll('.cmw-math').length") == 8_000
    assert (await text.text()).count("x^2") == 7_500

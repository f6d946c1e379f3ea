"""What a message's text becomes: drawn by the bundled script alone, in Chromium."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize

from tests.web.text_page import PLAIN_ORIGIN, TextPage, text_page

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

PHONE = ViewportSize(width=390, height=800)
FILE = f"files/{'0a' * 16}"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
CODE = "```python\nif a:\n\treturn '<b>'  # comment\n```"
DIAGRAM = "```mermaid\ngraph TD\n  A[one] --> B[two]\n```"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def text(browser: Browser) -> AsyncIterator[TextPage]:
    """A page that draws texts; nothing of it leaves for elsewhere, and no script fails."""
    async with text_page(browser) as page:
        yield page
        assert await page.errors() == []
        assert page.foreign == []


async def count(text: TextPage, selector: str) -> int:
    found: int = await text.eval("(s) => host().querySelectorAll(s).length", selector)
    return found


async def style(text: TextPage, selector: str, name: str) -> str:
    value: str = await text.eval(
        "([s, name]) => getComputedStyle(host().querySelector(s))[name]", [selector, name]
    )
    return value


AS_WRITTEN = (
    "Generic: List<String> and Vec<u8>",
    "<custom>kept</custom> <!-- a comment --> <br> </div>",
    "~1.34 and ~5.4, 5~7U",
    "it costs $5 and $10, or US$5/$6, $10,000–$20,000",
    "set $HOME and $PATH, 5$ or 6$",
    "a snake_case_name, 2*3*4 and 10*x*y",
    "C:\\a\\b and \\\\server",
    "1986\\. A year",
    "see (above) at 10:30, 50% & more; x < y > z",
    "[ ] not a list, [1] and [note]",
    "&nbsp stays",
)


@pytest.mark.parametrize("written", AS_WRITTEN)
async def test_what_is_no_markdown_is_shown_as_it_is_written(text: TextPage, written: str) -> None:
    await text.draw(written)
    seen = written
    for escaped in ("\\\\", "\\."):
        seen = seen.replace(escaped, escaped[1:])
    assert (await text.text()).strip() == seen


async def test_formulas_are_drawn_from_every_usual_delimiter(text: TextPage) -> None:
    formulas = ("\\(x^2\\)", "\\[x^2\\]", "$$x^2$$", "$x^2$", "\\(x\\)", "$E = mc^2$")
    for formula in formulas:
        await text.draw(f"before {formula} after")
        assert await count(text, ".cmw-math math") == 1, formula
    for formula in ("$$\nx\n- y\n= z\n$$", "\\[\n\\frac{a}{b}\n\\]", "- item\n\n  $$\n  x\n  $$"):
        await text.draw(f"before\n{formula}")
        assert await count(text, "div.cmw-math[data-display] math") == 1, formula


async def test_what_stands_high_or_low_in_a_formula_is_smaller_without_a_font_for_it(
    text: TextPage,
) -> None:
    await text.draw("$x^{y^2}$ $a_i$ $\\sum_{i=1}^n$ $$\\int_0^1$$")
    sizes = await text.eval(
        """[...host().querySelectorAll("msup, msub, msubsup, munderover")].flatMap((one) => {
            const [base, ...scripts] = [...one.children].map((part) => parseFloat(getComputedStyle(part).fontSize));
            return scripts.map((size) => size / base);
        })"""
    )
    assert len(sizes) >= 7
    assert all(0.6 < ratio < 0.75 for ratio in sizes), sizes


async def test_a_formula_that_is_none_shows_its_source(text: TextPage) -> None:
    await text.draw("$$\\nonesuch{x}$$")
    assert await text.text() == "\\nonesuch{x}"
    await text.draw("\\(see above\\) and \\[1\\]")
    assert await text.text() == "(see above) and [1]"


async def test_a_newline_within_a_paragraph_is_a_line_break(text: TextPage) -> None:
    await text.draw("one\ntwo\n\nthree")
    assert await text.text() == "one\ntwo\n\nthree"


async def test_emphasis_beside_cjk_punctuation_is_drawn(text: TextPage) -> None:
    await text.draw("**“重要”**是 and ~~gone~~")
    assert await text.text() == "“重要”是 and gone"
    assert await count(text, "strong") == 1
    assert await count(text, "s") == 1


async def test_lists_keep_paragraphs_depth_and_numbers(text: TextPage) -> None:
    await text.draw("7. one\n\n   second paragraph\n8. two\n   - a\n     - b\n       - c")
    assert await count(text, "ol[start='7'] > li:first-child > p") == 2
    gap = "host().querySelectorAll('li:first-child > p')"
    boxes = await text.eval(f"[...{gap}].map((one) => one.getBoundingClientRect().toJSON())")
    assert boxes[1]["top"] > boxes[0]["bottom"]
    sizes = await text.eval(
        "[...host().querySelectorAll('li')].map((one) => getComputedStyle(one).fontSize)"
    )
    assert len(sizes) == 5
    assert len(set(sizes)) == 1


async def test_a_done_task_looks_done(text: TextPage) -> None:
    await text.draw("- [x] one\n- [ ] two\n- [x](https://a.example)")
    done, undone = "[role=img][aria-label=done]", "[role=img][aria-label='to do']"
    assert await count(text, f"li {done}") == 1
    assert await count(text, f"li {undone}") == 1
    for box, has_tick in ((done, True), (undone, False)):
        tick = "(one) => getComputedStyle(host().querySelector(one), '::after').content !== 'none'"
        assert await text.eval(tick, box) is has_tick
    assert await count(text, "li a") == 1


async def test_text_from_right_to_left_is_laid_out_so(text: TextPage) -> None:
    await text.draw("مرحبا، this is it.\n\nabc\n\n- שלום\n\n  עוד\n- abc\n\n> مرحبا")
    found = await text.eval(
        "[...host().querySelectorAll('p, ul, li, blockquote')].map((one) =>"
        " [one.localName, getComputedStyle(one).direction])"
    )
    assert found == [
        ["p", "rtl"],
        ["p", "ltr"],
        ["ul", "rtl"],
        ["li", "rtl"],
        ["p", "rtl"],
        ["p", "rtl"],
        ["li", "ltr"],
        ["p", "ltr"],
        ["blockquote", "rtl"],
        ["p", "rtl"],
    ]
    assert await count(text, "p[dir=auto]") == 6


async def test_code_has_its_language_its_colours_and_a_copy_with_tabs(text: TextPage) -> None:
    await text.draw(CODE)
    assert await text.eval("host().querySelector('.cmw-code-language').innerText") == "python"
    assert await count(text, "code .hljs-comment") == 1
    assert await text.copied() == "if a:\n\treturn '<b>'  # comment"


async def test_code_is_copied_where_the_browser_has_no_clipboard_for_scripts(
    browser: Browser,
) -> None:
    async with text_page(browser, origin=PLAIN_ORIGIN) as text:
        assert await text.eval("navigator.clipboard") is None
        await text.draw("```\nthe older\tway\n```")
        await text.page.get_by_role("button", name="Copy").click()
        assert await text.eval("document.activeElement.matches('.cmw-code-copy')") is True
        await text.draw("```\nthe older\tway\n```")
        assert await text.copied() == "the older\tway"


async def test_code_is_wrapped_on_demand_and_scrolls_by_keyboard(text: TextPage) -> None:
    await text.draw(f"```\n{'word ' * 200}\n```")
    region = text.page.get_by_role("group", name="Code")
    await region.focus()
    is_focused = "document.activeElement === host().querySelector('pre')"
    assert await text.eval(is_focused) is True
    width = "[host().querySelector('pre').scrollWidth, host().querySelector('pre').clientWidth]"
    whole, shown = await text.eval(width)
    assert whole > shown
    wrap = text.page.get_by_role("button", name="Wrap lines", pressed=False)
    await wrap.click()
    assert await text.page.get_by_role("button", name="Wrap lines", pressed=True).count() == 1
    whole, shown = await text.eval(width)
    assert whole == shown


CONTRAST = """(selectors) => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const parts = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    };
    const light = (colour) => {
        const [r, g, b] = parts(colour).map((one) => {
            const share = one / 255;
            return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const below = (node) => {
        for (let one = node; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (!/(, 0\\)|\\/ 0\\)|transparent)$/.test(colour)) return colour;
        }
        return "white";
    };
    return selectors.map((selector) => {
        const node = host().querySelector(selector);
        const pair = [light(getComputedStyle(node).color), light(below(node))].sort();
        return [selector, (pair[1] + 0.05) / (pair[0] + 0.05)];
    });
}"""
COLOURED = "```js\n// note\nclass A { f(x) { return `a${1}` + /b/ + new Map(); } }\n```\n\n" + CODE


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_colour_of_code_can_be_read(text: TextPage, theme: str) -> None:
    await text.eval("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
    try:
        await text.draw(COLOURED)
        classes = await text.eval(
            "[...new Set([...host().querySelectorAll('[class^=hljs]')].map((one) =>"
            " '.' + [...one.classList].join('.')))]"
        )
        assert len(classes) > 5
        found = await text.eval(CONTRAST, ["code", ".cmw-code-language", *classes])
        faint = [(selector, ratio) for selector, ratio in found if ratio < 4.5]
        assert not faint
    finally:
        await text.eval("document.body.classList.remove('dark')")


async def test_a_wide_table_scrolls_by_itself_and_its_words_stay_whole(browser: Browser) -> None:
    names = [f"Considerable{number}" for number in range(9)]
    rows = [names, ["---"] * 9, ["internationalization of things"] * 9]
    async with text_page(browser, PHONE) as text:
        await text.draw("\n".join(f"| {' | '.join(row)} |" for row in rows))
        region = text.page.get_by_role("group", name="Table")
        await region.focus()
        assert await text.eval("document.activeElement.matches('.cmw-table')") is True
        assert await text.eval("document.documentElement.scrollWidth <= innerWidth") is True
        broken = await text.eval(
            """[...host().querySelectorAll("th, td")].flatMap((cell) => {
                const node = cell.firstChild, text = node.data, broken = [];
                for (const { index, 0: word } of text.matchAll(/\\S+/g)) {
                    const range = new Range();
                    range.setStart(node, index);
                    range.setEnd(node, index + word.length);
                    if (range.getClientRects().length > 1) broken.push(word);
                }
                return broken;
            })"""
        )
        assert broken == []


async def test_only_pictures_in_the_text_and_files_of_the_owner_are_drawn(text: TextPage) -> None:
    markdown = f"![a]({PIXEL}) ![b](https://a.example/b.png) ![c]({FILE}) ![d](/login)"
    await text.draw(markdown)
    assert await count(text, "img") == 1
    assert await text.eval("[...host().querySelectorAll('a')].map((one) => one.innerText)") == [
        "b", "c", "d",
    ]  # fmt: skip
    await text.eval(
        "(markdown) => { make('answer', { fileUrl: () => 'data:image/png;base64,AA==' });"
        " view.update(markdown, true); }",
        markdown,
    )
    assert await count(text, "img[alt=c]") == 1
    await text.eval(
        "(m) => { make('share', { fileUrl: () => null }); view.update(m, true); }", markdown
    )
    assert await count(text, "a") == 1
    assert "c d (/login)" in await text.text()


@pytest.mark.parametrize("kind", ["share", "widget"])
async def test_elsewhere_links_lead_to_the_web_and_to_mail_alone(text: TextPage, kind: str) -> None:
    lines = (
        "[own](/logout) [query](?c=1) [part](#x) [connect](https://connect.composio.dev/link/x)",
        "[again](https://a@connect.composio.dev.:443/x) https://connect.composio.dev/y",
        "[web](https://a.example) [mail](mailto:a@a.example)",
    )
    await text.draw("\n\n".join(lines), kind)
    links = await text.eval("[...host().querySelectorAll('a')].map((one) => one.innerText)")
    assert links == ["web", "mail"]
    assert "own (/logout) query (?c=1) part (#x)" in await text.text()


async def test_links_open_a_new_tab_and_name_no_referrer(text: TextPage) -> None:
    await text.draw("[a](https://a.example) <https://b.example> https://c.example. www.d.example")
    links = await text.eval(
        "[...host().querySelectorAll('a')].map((one) => [one.getAttribute('href'), one.target, one.rel])"
    )
    safe = ["_blank", "noopener noreferrer"]
    assert links == [[f"https://{name}.example", *safe] for name in "abc"]
    await text.draw("[a](https://a.example)", kind="share")
    assert await text.eval("host().querySelector('a').rel") == "noopener noreferrer nofollow ugc"


async def test_ones_own_message_stands_as_it_was_typed(text: TextPage) -> None:
    typed = "# x\n\n\n  <div>__init__</div>\t*a*\nC:\\a\\*.txt https://a.example/b_(c)."
    await text.eval("(typed) => { make(); cmwPane.drawPlain(host(), typed); }", typed)
    assert await text.eval("host().textContent") == typed
    assert await text.text() == typed
    assert await text.eval("host().querySelector('a').href") == "https://a.example/b_(c)"
    assert await count(text, "*") == 1


async def test_unseen_characters_are_shown_and_copied(text: TextPage) -> None:
    await text.draw(
        "flip \u202eme \U000e0041 \U0001f3f4\U000e0067\U000e007f ok\n\n```\na\u2066b\u200b\tc\n```"
    )
    names = "[...host().querySelectorAll('.cmw-control')].map((one) => one.dataset.name)"
    assert await text.eval(names) == ["RLO", "U+E0041", "LRI", "ZWSP"]
    assert "\u202e" not in await text.eval("host().textContent")
    assert await text.copied() == "a\u2066b\u200b\tc"


async def test_a_diagram_is_drawn_as_a_picture_once_its_fence_is_closed(text: TextPage) -> None:
    await text.eval("(open) => { make(); view.update(open, false); }", DIAGRAM[:-4])
    assert await count(text, "[data-pending]") == 0
    assert await count(text, "pre code") == 1
    await text.draw(DIAGRAM)
    await text.page.wait_for_selector("img.cmw-diagram")
    picture = await text.eval("decodeURIComponent(host().querySelector('img').src)")
    assert picture.startswith("data:image/svg+xml")
    assert not re.search(r"<script|<foreignObject|\son\w+=|<a[ >]", picture)
    size: Any = await text.eval("host().querySelector('img').naturalWidth")
    assert size > 20


async def test_a_diagram_that_cannot_be_drawn_stays_code(text: TextPage) -> None:
    await text.draw("```mermaid\ngraph nonsense ][\n```")
    await text.page.wait_for_function("!document.querySelector('#dcmw-diagram')")
    assert await text.eval("host().querySelector('code').innerText") == "graph nonsense ][\n"
    assert await count(text, "img") == 0

"""A text that grows: the same as at once, without flicker, and what is final stays untouched."""

import itertools
import random
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.campaigns import campaign
from tests.web.markdown_documents import document, pieces
from tests.web.text_page import TextPage, text_page

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

DOCUMENTS = campaign("CMW_MARKDOWN_DOCS")  # how many random documents are streamed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def text(browser: Browser) -> AsyncIterator[TextPage]:
    """A page that draws texts; nothing of it leaves for elsewhere, and no script fails."""
    async with text_page(browser) as page:
        yield page
        assert await page.errors() == []
        assert page.foreign == []


SAME = """async ([whole, pieces]) => {
    await draw(whole);
    keep();
    await stream(pieces);
    return isAsKept();
}"""


@pytest.mark.timeout(300 + DOCUMENTS)
async def test_a_stream_in_any_pieces_draws_what_the_whole_text_draws(text: TextPage) -> None:
    for seed in range(DOCUMENTS):
        rng = random.Random(seed)
        whole = document(rng)
        parts = pieces(rng, whole)
        assert await text.eval(SAME, [whole, parts]), f"seed {seed}: {whole!r} in {parts!r}"


async def test_final_blocks_and_a_selection_in_them_are_left_alone(text: TextPage) -> None:
    await text.eval("make(); view.update('# One\\n\\nTwo *words*.\\n\\n- three\\n\\nFour', false)")
    kept = await text.eval(
        """async () => {
            const nodes = [...host().childNodes].slice(0, 3), second = nodes[1].firstChild;
            const touched = [];
            const watch = new MutationObserver((all) => touched.push(...all));
            for (const node of nodes) watch.observe(node, {
                childList: true, subtree: true, attributes: true, characterData: true });
            getSelection().setBaseAndExtent(second, 1, second, 3);
            let text = "# One\\n\\nTwo *words*.\\n\\n- three\\n\\nFour";
            for (let number = 0; number < 50; number += 1) {
                text += number % 7 ? ` word${number}` : `\\n\\nParagraph ${number}`;
                view.update(text, false);
                await null;
            }
            view.update(text, true);
            await new Promise((done) => setTimeout(done, 0));
            return {
                same: nodes.every((node, index) => host().childNodes[index] === node),
                touched: touched.length,
                selected: getSelection().toString(),
                blocks: host().childElementCount,
            };
        }"""
    )
    assert kept == {"same": True, "touched": 0, "selected": "wo", "blocks": 12}


async def test_the_text_of_a_growing_paragraph_is_one_node_that_grows(text: TextPage) -> None:
    same = await text.eval(
        """() => {
            make();
            view.update("Some **bold** words", false);
            const [before, , after] = host().firstChild.childNodes;
            view.update("Some **bold** words and more", false);
            const now = host().firstChild.childNodes;
            return now[0] === before && now[2] === after && after.data === " words and more";
        }"""
    )
    assert same is True


GROWING = (
    "Some **bold words** and *emphasis*, `code of it`, ~~gone~~ and [a link](https://a.example/x) here.\n\n"
    "- item **one**\n- item two\n\n1. first\n2. second\n\n> quoted *words*\n\n## Heading\n\n"
    "Text before a rule\n\n---\n\n```python\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n"
    "A formula \\(x^2\\) and $$y$$ then ![a picture](https://a.example/p.png).\n\nText\n- list at once\n"
)
SIGNS = ("**", "~~", "](", "`", "\\(", "$$", "![", "|", "---", "##", "> ")


async def test_no_sign_of_markdown_is_shown_and_taken_back(text: TextPage) -> None:
    shown = await text.eval(
        """async (whole) => {
            const shown = [];
            for (let end = 1; end <= whole.length; end += 1) {
                make(); // a view that has just drawn may rest
                view.update(whole.slice(0, end), false);
                const part = (selector) => host().querySelector(selector)?.innerText ?? "";
                const prose = host().cloneNode(true);
                // A busy machine draws these in a later frame.
                for (const late of prose.querySelectorAll(".cmw-math, pre")) late.remove();
                const length = prose.textContent.replaceAll("\\n", "").length;
                shown.push([whole.slice(0, end), length, host().innerText, part("h2"), part(".cmw-code-language")]);
            }
            return shown;
        }""",
        GROWING,
    )
    for source, _, seen, heading, language in shown:
        found = [sign for sign in SIGNS if sign in seen]
        assert not found, f"{source[-40:]!r} shows {found}"
        assert language in ("", "python"), f"{source[-40:]!r} names {language!r}"
        assert heading in "Heading", f"{source[-40:]!r} makes {heading!r} a heading"
    for (_, before, *_), (source, length, *_) in itertools.pairwise(shown):
        assert before <= length, f"{source[-40:]!r} takes something back"


UNFINISHED = (
    "half **bo",
    "a [link](htt",
    "`code",
    "- ",
    "1.",
    "```",
    "| a | b |",
    "$$x",
    "\\[ y",
    "![p](",
    "*",
    "# ",
)


@pytest.mark.parametrize("source", UNFINISHED)
async def test_what_never_ends_is_shown_as_it_is_written_at_the_end(
    text: TextPage, source: str
) -> None:
    await text.eval("(source) => { make(); view.update(source, false); }", source)
    await text.eval("(source) => view.update(source, true)", source)
    await text.eval("keep()")
    await text.draw(source)
    assert await text.eval("isAsKept()")


async def test_a_definition_at_the_end_makes_links_of_what_was_final(text: TextPage) -> None:
    await text.stream(
        [
            "See [one] and [two][1].\n\nMore.\n\nMore.\n\n",
            "[one]: https://a.example\n",
            "\n[1]: https://b.example",
        ]
    )
    links = "[...host().querySelectorAll('a')].map((one) => one.getAttribute('href'))"
    assert await text.eval(links) == ["https://a.example", "https://b.example"]


async def test_a_text_that_is_another_than_before_is_drawn_anew(text: TextPage) -> None:
    await text.eval("make(); view.update('One.\\n\\nTwo.\\n\\nThree.', false)")
    await text.eval("view.update('Other.\\n\\nTwo.', false)")
    assert await text.text() == "Other.\n\nTwo."
    await text.eval("view.update('', true)")
    assert await text.text() == ""


async def test_a_costly_text_is_drawn_less_often_and_whole_at_the_end(text: TextPage) -> None:
    drawn = await text.eval(
        """async () => {
            make();
            let text = "| a | b |\\n|---|---|\\n", drawn = 0, last = 0;
            for (let row = 0; row < 2000; row += 1) {
                text += `| row ${row} | **b** |\\n`;
                view.update(text, false);
                const rows = host().querySelectorAll("tr").length;
                if (rows !== last) drawn += 1;
                last = rows;
            }
            view.update(text, true);
            await settled();
            return [drawn, host().querySelectorAll("tr").length];
        }"""
    )
    assert drawn[1] == 2001
    assert drawn[0] < 1000


SLICED = {
    "paragraphs": ("".join(f"paragraph {n} **end**\n\n" for n in range(4_000)), 5),
    "a list": ("".join(f"- item {n} **end**\n" for n in range(4_000)), 2),
    "code": ("```text\n" + "".join(f"line {n} end\n" for n in range(4_000)) + "```\n", 2),
    "a definition": ("[x][r] end\n\n" * 4_000 + "[r]: https://a.example\n", 2),
}


@pytest.mark.parametrize("name", SLICED)
async def test_a_long_text_is_drawn_in_slices_between_which_the_page_answers(
    text: TextPage, name: str
) -> None:
    source, slices = SLICED[name]
    seen = await text.eval(
        """async (source) => {
            make();
            view.update(source, true);
            let answered = 0;
            const lengths = [host().textContent.length];
            while ("drawing" in host().dataset) {
                await new Promise((done) => setTimeout(done));
                answered += 1;
                lengths.push(host().textContent.length);
            }
            await settled();
            return { answered, grows: lengths.every((one, at) => !at || one >= lengths[at - 1]), text: host().textContent };
        }""",
        source,
    )
    assert seen["answered"] >= slices
    assert seen["grows"] or name == "a definition"  # which makes `[x][r]` an `x`
    assert seen["text"].count("end") == 4_000
    if name == "paragraphs":
        numbers = re.findall(r"paragraph (\d+)", seen["text"])
        assert numbers == [str(number) for number in range(4_000)]
    if name == "a definition":
        assert await text.eval("host().querySelectorAll('a').length") == 4_000


async def test_a_text_that_grows_while_its_beginning_is_drawn_never_shrinks(text: TextPage) -> None:
    lengths = await text.eval(
        """async () => {
            make();
            let source = "```text\\n", lengths = [];
            for (let step = 0; step < 60; step += 1) {
                source += "a line of code\\n".repeat(200);
                view.update(source, step === 59);
                lengths.push(host().textContent.length);
                if (step % 7 === 0) await new Promise((done) => setTimeout(done));
            }
            await settled();
            return [...lengths, host().textContent.length];
        }"""
    )
    assert lengths == sorted(lengths)
    assert lengths[-1] > 60 * 200 * len("a line of code\n") - 10


async def test_a_view_that_is_destroyed_draws_no_more(text: TextPage) -> None:
    left = await text.eval(
        """async () => {
            await draw("$x$"); // the library is there
            const waiting = new Set(), { setTimeout, clearTimeout } = window;
            window.setTimeout = (...all) => { const id = setTimeout(...all); waiting.add(id); return id; };
            window.clearTimeout = (id) => { waiting.delete(id); clearTimeout(id); };
            try {
                const gone = make();
                view.update("**x** ".repeat(4000), false); // costs a rest
                view.update("$y$ ".repeat(400), false);
                const before = waiting.size;
                view.update(Array.from({ length: 400 }, (_, one) => `$x_${one}$`).join(" "), true);
                view.update("more", false);
                view.destroy();
                gone.textContent = "mine now";
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return [before, waiting.size, gone.innerHTML];
            } finally {
                Object.assign(window, { setTimeout, clearTimeout });
                make();
            }
        }"""
    )
    assert left == [1, 0, "mine now"]

"""What models really write, beside CommonMark's own examples: how each looks in Chromium."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.web.text_page import TextPage, text_page

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

TABLE = "| a | b |\n|---|---|\n"
# The text that is seen, white space as one space, and how many elements of each kind there are.
VARIANTS: dict[str, tuple[str, str, dict[str, int]]] = {
    "generics in a heading": ("## Use List<T> here", "Use List<T> here", {"h2": 1}),
    "generics in a table": (TABLE + "| Map<K, V> | Vec<u8> |", "a b Map<K, V> Vec<u8>", {"td": 2}),
    "generics in a link": ("[List<T>](https://a.example/x)", "List<T>", {"a": 1}),
    "generics in a list": ("- Option<T>\n- Box<dyn Fn()>", "Option<T> Box<dyn Fn()>", {"li": 2}),
    "generics in emphasis": ("**List<T>** *M<K,V>*", "List<T> M<K,V>", {"strong": 1, "em": 1}),
    "a component": ("<MyPart p={x} /> <!-- c -->", "<MyPart p={x} /> <!-- c -->", {"p *": 0}),
    "a break in a cell": (TABLE + "| one<br>two | x<br/>y |", "a b one two x y", {"td br": 2}),
    "a break elsewhere": ("one<br>two", "one<br>two", {"br": 0}),
    "what is folded": (
        "<details>\n<summary>More</summary>\n\nin **it**\n\n</details>",
        "<details> <summary>More</summary> in it </details>",
        {"details": 0, "strong": 1},
    ),
    "indices and keys": (
        "H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>",
        "H2O, x2, Ctrl",
        {"sub": 1, "sup": 1, "kbd": 1},
    ),
    "an index with more in it": ("x<sub><b>1</b></sub>", "x<sub><b>1</b></sub>", {"sub": 0}),
    "entities": ("&lt;div&gt; &amp; &copy; &hearts;", "<div> & © ♥", {}),
    "tildes at prices": ("It costs ~$5 or ~10€", "It costs ~$5 or ~10€", {"s": 0, "math": 0}),
    "tildes in chemistry": ("H~2~O and CO~2~", "H~2~O and CO~2~", {"s": 0, "sub": 0}),
    "tildes of ranges": ("5~7, 10~20, ~~gone~~", "5~7, 10~20, gone", {"s": 1}),
    "tildes of paths": ("~/bin and ~root/.ssh", "~/bin and ~root/.ssh", {"s": 0}),
    "prices": ("$5 and $10, $5-$10, $1.5M to $2M", "$5 and $10, $5-$10, $1.5M to $2M", {"math": 0}),
    "prices with words": ("From $5 (five) to $10 (ten)", "From $5 (five) to $10 (ten)", {"math": 0}),
    "variables": ("$HOME/$USER and ${X}", "$HOME/$USER and ${X}", {"math": 0}),
    "formulas in cells": (TABLE + "| $x^2$ | \\(y\\) |", "a b", {"td math": 2}),
    "bars in formulas of cells": (TABLE + "| $P(A|B)$ | 1 |", "a b", {"td": 2, "td math": 1}),
    "bars in code of cells": (TABLE + "| 1 | `p|q` |", "a b 1 p|q", {"td": 2, "td code": 1}),
    "escaped bars": (TABLE + "| x \\| y | 2 |", "a b x | y 2", {"td": 2}),
    "more cells than columns": (TABLE + "| 1 | 2 | 3 |", "a b 1 2 | 3", {"td": 2}),
    "fewer cells than columns": (TABLE + "| 1 |", "a b 1", {"td": 2}),
    "bars in a quoted row": (
        "> | a | b |\n> |---|---|\n> | 1 | `p|q` |",
        "a b 1 p|q",
        {"blockquote td": 2},
    ),
    "a table below text": ("text\n" + TABLE + "| 1 | 2 |", "text a b 1 2", {"table": 1}),
    "a table in a list": ("- x\n\n  | a |\n  |---|\n  | 1 |", "x a 1", {"li table": 1}),
    "formulas in lists": ("- \\( a \\)\n- $$b^2$$\n1. \\[ c \\]", "", {"li math": 3}),
    "an environment": ("\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", "", {"math": 1, "mtr": 2}),
    "an open environment": ("\\begin{align}\na &= b", "\\begin{align} a &= b", {"math": 0}),
    "brackets in code": ("`\\(x\\)` `$x$` `\\[y\\]`", "\\(x\\) $x$ \\[y\\]", {"code": 3, "math": 0}),
    "Chinese quotes": ("**“重要”**是", "“重要”是", {"strong": 1}),
    "Chinese brackets": ("这是**重点（注意）**的部分", "这是重点（注意）的部分", {"strong": 1}),
    "Japanese": ("**「強調」**です。*（斜体）*です", "「強調」です。（斜体）です", {"strong": 1, "em": 1}),
    "Korean": ("한국어**(강조)**입니다", "한국어(강조)입니다", {"strong": 1}),
    "emphasis behind a sign": (
        "**Note:**text, **Важно:**текст, **50%**of, ***both:***x",
        "Note:text, Важно:текст, 50%of, both:x",
        {"strong": 4, "em": 1},
    ),
    "emphasis of quotations": (
        "слово**«важно»**слово **“Quote”**s it's**\"bold\"**here",
        "слово«важно»слово “Quote”s it's\"bold\"here",
        {"strong": 3},
    ),
    "emphasis in brackets": ("(**a**) f(**kw) g(*args, **kw)", "(a) f(**kw) g(*args, **kw)", {"strong": 1, "em": 0}),
    "formulas beside Chinese": ("其中$a$和$b_1$的和，价格$5和$6元，从$5到$人", "", {"math": 2}),
    "formulas beside Thai": ("ภาษา$x$ไทย", "", {"math": 1}),
    "chemistry": ("$\\ce{2H2 + O2 -> 2H2O}$", "", {"math": 1}),
    "products of letters": ("a*b and c*d, **x*y and z**", "a*b and c*d, x*y and z", {"em": 0, "strong": 1}),
    "emphasis within a word": ("un*frigging*believable *two words*more", "unfriggingbelievable two wordsmore", {"em": 2}),
    "patterns of paths": ("/src/*/a/*.ts and src/**/*.js", "/src/*/a/*.ts and src/**/*.js", {"em": 0, "strong": 0}),
    "emphasis in emphasis": (
        "***注意：***请看 **粗*斜*体** **b *i* b**",
        "注意：请看 粗斜体 b i b",
        {"strong": 3, "em": 3},
    ),
    "names with underlines": ("snake_case_name foo__bar__baz", "snake_case_name foo__bar__baz", {"em": 0, "strong": 0}),
    "products and powers": (
        "2*3*4, 5 * 6 * 7, x**2 + y**2, 2**10",
        "2*3*4, 5 * 6 * 7, x**2 + y**2, 2**10",
        {"em": 0, "strong": 0},
    ),
    "emphasis beside digits": ("**Step 1**2 and **3**", "Step 12 and 3", {"strong": 2}),
    "code in a list": ("1. one\n\n   ```js\n   let a;\n   ```\n\n2. two", "", {"ol": 1, "li": 2, "li pre": 1}),
    "code in a tight list": ("- item\n  ```\n  code\n  ```\n- next", "", {"ul": 1, "li": 2, "li pre": 1}),
    "code between items": ("1. one\n```js\nlet a;\n```\n2. two", "", {"pre": 1, "ol[start='2']": 1}),
    "a footnote": ("A claim[^1].\n\n[^1]: The note.", "A claim[^1]. [^1]: The note.", {"a": 0}),
    "citations": ("as shown [1][2] and [3]", "as shown [1][2] and [3]", {"a": 0}),
    "an address with brackets": (
        "https://a.example/A_(b) (https://a.example/x) <https://a.example/?q=1&r=2>.",
        "https://a.example/A_(b) (https://a.example/x) https://a.example/?q=1&r=2.",
        {"a": 3, "a[href='https://a.example/A_(b)']": 1, "a[href='https://a.example/x']": 1},
    ),
    "an address in Chinese": ("请看https://a.example/x。谢谢", "请看https://a.example/x。谢谢", {"a[href='https://a.example/x']": 1}),
    "an address in emphasis": ("**https://a.example/x**", "https://a.example/x", {"strong a[href='https://a.example/x']": 1}),
    "an address at a sentence's end": ("https://a.example/z...", "https://a.example/z...", {"a[href='https://a.example/z']": 1}),
    "nested tasks": ("- [ ] a\n  - [x] b\n    - [ ] c", "", {".cmw-task": 3, "li li li .cmw-box": 1, "[data-done]": 1}),
    "numbered tasks": ("1. [ ] a\n2. [x] b", "", {"ol .cmw-task": 2, "[data-done]": 1}),
    "numbers that go on": ("3. three\n4. four", "three four", {"ol[start='3']": 1}),
    "numbers from nought": ("0. zero\n1. one", "zero one", {"ol[start='0']": 1}),
    "numbers with brackets": ("1) a\n2) b", "a b", {"ol li": 2}),
    "hard breaks": ("one  \ntwo\\\nthree", "one two three", {"br": 2}),
    "a heading without a space": ("#Heading\n#5 is best", "#Heading #5 is best", {"h1": 0}),
    "a heading below text": ("text\n## Title ##\nmore", "text Title more", {"h2": 1, "p": 2}),
    "Windows paths": (
        "C:\\Users\\n\\*.txt, D:\\_x_ and C:\\Program Files (x86)\\App\\*.txt",
        "C:\\Users\\n\\*.txt, D:\\_x_ and C:\\Program Files (x86)\\App\\*.txt",
        {"em": 0},
    ),
    "a Windows share": ("\\\\srv\\share\\_a_ and **C:\\a\\_b_**", "\\\\srv\\share\\_a_ and C:\\a\\_b_", {"em": 0, "strong": 1}),
    "escapes": ("\\*not\\* \\_x\\_ \\# 1\\. a", "*not* _x_ # 1. a", {"em": 0, "li": 0}),
    "a regular expression in code": ("`^\\d+$|a*b*`", "^\\d+$|a*b*", {"code": 1}),
    "a difference": ("```diff\n- old\n+ new\n```", "", {".hljs-deletion": 1, ".hljs-addition": 1}),
    "a fence in a fence": ("````md\n```js\nx\n```\n````", "", {"pre": 1}),
    "a fence with more behind it": ('```python title="a.py" {1,3}\nx = 1\n```', "", {"pre[data-language=python]": 1}),
    "a family": ("👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪", "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪", {".cmw-control": 0}),
    "lines of a console": ("\x1b[31mred\x1b[0m", "[31mred[0m", {"[data-name=ESC]": 2}),
    "unseen signs in words": ("a\u200bb\u00adc", "a\u200bb\u00adc", {".cmw-control": 0}),
    "a list below text": ("text:\n- a\n- b", "text: a b", {"p": 1, "ul": 1}),
    "lists of two kinds": ("1. a\n   - b\n     1. c\n   - d\n2. e", "a b c d e", {"ol": 2, "li ul": 1, "ol ul ol": 1}),
    "a second paragraph": ("- a\n\n  second\n- b", "a second b", {"li": 2, "li:first-child p": 2}),
    "quotes in quotes": ("> a\n>> b\n>\n> c", "a b c", {"blockquote": 2}),
    "windows' line ends": ("a\r\n\r\n- b\r\n- c", "a b c", {"li": 2}),
    "right to left in a list": ("- مرحبا\n- English", "مرحبا English", {"ul[dir=rtl]": 1, "li[dir=ltr], ul > li:last-child": 1}),
    "right to left in a table": ("| الاسم | b |\n|---|---|\n| سعر | 5 |", "الاسم b سعر 5", {".cmw-table[dir=rtl]": 1}),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def text(browser: Browser) -> AsyncIterator[TextPage]:
    """A page that draws texts; nothing of it leaves for elsewhere, and no script fails."""
    async with text_page(browser) as page:
        yield page
        assert await page.errors() == []
        assert page.foreign == []


async def test_there_are_enough_variants() -> None:
    assert len(VARIANTS) >= 60


@pytest.mark.parametrize("name", VARIANTS)
async def test_what_models_write_looks_as_it_is_meant(text: TextPage, name: str) -> None:
    source, shown, counts = VARIANTS[name]
    await text.draw(source)
    found: dict[str, Any] = await text.eval(
        "(names) => Object.fromEntries(names.map((one) => [one, host().querySelectorAll(one).length]))",
        list(counts),
    )
    assert found == counts
    if shown:
        # The browser leaves out what it has not laid out yet.
        await text.eval(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        written = await text.text()
        without_controls = " ".join(written.split())
        if "math" not in "".join(counts):
            assert without_controls == shown
        assert shown in without_controls
    assert await text.eval("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    "source", ["https://a.example/" + "x" * 400, "word" * 500, "👨‍👩‍👧‍👦" * 200]
)
async def test_what_has_no_space_stays_within_the_page(text: TextPage, source: str) -> None:
    await text.draw(source)
    assert await text.eval("document.documentElement.scrollWidth <= innerWidth")
    assert await text.text() == source


async def test_an_item_against_its_list_s_direction_keeps_its_sign_within_the_text(
    text: TextPage,
) -> None:
    for source in ("- one\n- مرحبا", "- مرحبا\n- one"):
        await text.draw(source)
        room = await text.eval(
            """(() => {
                const list = host().querySelector("ul").getBoundingClientRect();
                const item = host().querySelector("li:last-child").getBoundingClientRect();
                return Math.min(item.left - list.left, list.right - item.right);
            })()"""
        )
        assert room >= 20, source

"""Formatting for WhatsApp: Markdown is converted and split into parts without loss."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmw_agent.channels.whatsapp.answering import ALONE, private
from cmw_agent.channels.whatsapp.formatting import FENCE, MAX_CHARS, ROOM, split, whatsapp
from cmw_agent.language import languages


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**bold** and __bold__", "*bold* and *bold*"),
        ("*it* and _it_", "_it_ and _it_"),
        ("~~gone~~", "~gone~"),
        ("***both***", "*_both_*"),
        ("# Title\ntext", "*Title*\ntext"),
        ("### **Title** ###", "*Title*"),
        ("# a # b  ##\t", "*a # b*"),
        ("**a **b** c__", "*a **b* c__"),
        ("__a **b__ c**", "*a **b* c**"),
        ("[docs](https://a.example/b?c=d)", "docs (https://a.example/b?c=d)"),
        ("[https://a.example](https://a.example)", "https://a.example"),
        ('[a](https://a.example "title")', "a (https://a.example)"),
        ("[a](https://a.example/b_(c)_d)", "a (https://a.example/b_(c)_d)"),
        ("![pic](https://a.example/p.png)", "pic (https://a.example/p.png)"),
        ("![pic](https://a.example/p.png =9x9)", "pic (https://a.example/p.png)"),
        ("<https://a.example>", "https://a.example"),
        ("https://a.example/__main__.html?q=*b*", "https://a.example/__main__.html?q=*b*"),
        ("[b](https://a.example/__c__) __HTTP://d__", "b (https://a.example/__c__) *HTTP://d*"),
        (
            "[https://a_b_](https://c) **https://d** ~~http://e~~",
            "https://a_b_ (https://c) *https://d* ~http://e~",
        ),
        ("* one\n* two\n  + three", "- one\n- two\n  - three"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("> quoted", "> quoted"),
        ("---", "———"),
        ("2 * 3 * 4 and a*b*c", "2 * 3 * 4 and a*b*c"),
        ("snake_case_name and __init__.py", "snake_case_name and *init*.py"),
        ("`**code**` stays", "`**code**` stays"),
        ("```python\nx = '**a**'\n```", "```\nx = '**a**'\n```"),
        ("```\nnever closed", "```\nnever closed\n```"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 |  |", "- a: 1, b: 2\n- a: 3"),
        ("| no table |", "| no table |"),
        ("| a | b |\n|---|---|\n| **1** | [2](x) |", "- a: *1*, b: 2 (x)"),
        ("> | a | b |\n> |---|---|\n> | 1 | 2 |", "- a: 1, b: 2"),
        ("~~~py\n*x*\n~~~", "```\n*x*\n```"),
        ("- **a**: *b*\n\n  more\n  > * c", "- *a*: _b_\n\n  more\n  > - c"),
        ("[<https://a.example>](https://b.example)", "https://a.example (https://b.example)"),
        ("*a **b** c* and **a *b* c**", "_a *b* c_ and *a _b_ c*"),
        ("**a *b** c*", "*a *b* c*"),
        (r"\# and \*stars\*", "# and *stars*"),
        (">" * 30 + " **deep**", ">" * 30 + " **deep**"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("", ""),
        ("Hi\n\n\xa0\nhello **world**", "Hi\n\n\xa0\nhello *world*"),
        ("\xa0\nthe only answer", "the only answer"),
        ("\x0c\nline1\nline2", "line1\nline2"),
        ("line1\n\xa0\n**line2**", "line1\n\xa0\n*line2*"),
        ("- \xa0\n  text here", "- \xa0\n  text here"),
        ("- item\n\tcontinued **text**", "- item\n\tcontinued *text*"),
        ("1. item\n\tcontinued text", "1. item\n\tcontinued text"),
        ("* a\n\t* b\n\t\tc\n> d\ne", "- a\n\t- b\n\t\tc\n> d\ne"),
        ("a \n**b**  \nc", "a \n*b*  \nc"),
        ("```two words\nx\n```", "```two words\nx\n```"),
        ("~~~ two words\nx\n~~~", "``` two words\nx\n```"),
        ("```word", "```word\n```"),
        ("- | a | b |\n  |---|---|\n  | 1 | 2 |", "- a: 1, b: 2"),
        ("2. | a | b |\n   |---|---|\n   | 1 | 2 |\n   | 3 | 4 |", "2. a: 1, b: 2\n- a: 3, b: 4"),
        ("1. | a | b |\n   |---|---|", "1. a, b"),
        ("| a |\n|---|\n| 1 | 2 |", "- a: 1, 2"),
    ],
)
def test_markdown_becomes_whatsapp_s_own(markdown: str, shown: str) -> None:
    assert whatsapp(markdown) == shown


HOST = "connect.composio.dev"


@pytest.mark.parametrize(
    "link",
    [
        *(f"{HOST}{more}/link/ab12" for more in ("", ".", ":443", ".:443", ":", "\\")),
        *(f"{scheme}{HOST.upper()}/link/ab12" for scheme in ("http://", "https://", "<https://")),
        f"[here](https://{HOST}:443/link/ab12)",
        f'[here]( <https://{HOST}./link/ab12> "t")',
        f"![[a](https://{HOST}/link/ab12 (x))",
    ],
)
def test_a_group_sees_no_link_that_connects_however_it_is_written(link: str) -> None:
    shown = private(f"Open {link} now.\n{link}\n**done**", language=languages().english)
    assert "ab12" not in shown
    assert f"{HOST}/" not in shown
    assert shown.endswith(f"*done*\n\n{ALONE}")


def test_what_is_left_out_and_markdown_s_signs_leave_no_link_behind() -> None:
    assert (
        private("# connect.**composio**.dev/link/a b", language=languages().english)
        == f"*  b*\n\n{ALONE}"
    )
    shown = private(f"connect[x]({HOST}/y).composio.dev/link/a", language=languages().english)
    assert shown == f"connect .composio.dev/link/a\n\n{ALONE}"
    assert (
        private(f"https://{HOST}.example/x", language=languages().english)
        == f"https://{HOST}.example/x"
    )


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="ab*_~`#[]()|- \n\t\xa0\x0c<>!.\ue000", max_size=300))
def test_any_text_can_be_shown(text: str) -> None:
    shown = whatsapp(text)
    assert shown == shown.strip()
    assert [c for c in shown if c.isalpha()] == [c for c in text if c.isalpha()] or "<" in text
    assert "\ue000" not in shown


# without links, names of languages and tables, which leave out or repeat some on purpose
PIECES = (
    *("x", "**x**", "*x*", "__x", "`x`", "~~x~~", "\n```\n", "- ", "* ", "1. ", "> ", "# ", "\\"),
    *("\n", "\n\n", "\n    ", " ", "\t", "\xa0", "\x0c", "\u2003", "\x1f", "\x85"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_no_letter_is_lost_none_doubled_and_none_moved(pieces: list[str]) -> None:
    text = "".join(piece.replace("x", chr(0x4E00 + n)) for n, piece in enumerate(pieces))
    shown = whatsapp(text)
    assert [c for c in shown if c.isalpha()] == [c for c in text if c.isalpha()]
    assert len(shown.split("\n")) <= len(text.split("\n")) + 1  # a block of code is closed


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="ab. \n", max_size=400), st.integers(2 * ROOM + 1, 60))
def test_parts_are_short_enough_and_lose_no_word(text: str, most: int) -> None:
    parts = split(text, most)
    assert all(0 < len(part) <= most for part in parts)
    assert all(part.strip() for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(alphabet="xy \n", max_size=120), max_size=6), st.integers(24, 80))
def test_no_part_leaves_a_block_of_code_open(pieces: list[str], most: int) -> None:
    text = "".join(
        piece if place % 2 else f"\n{FENCE}\n{piece}\n{FENCE}\n"
        for place, piece in enumerate(pieces)
    )
    parts = split(text, most)
    for part in parts:
        assert len(part) <= most
        assert part.count(FENCE) % 2 == 0, parts
    kept = "".join("".join(parts).replace(FENCE, "").split())
    assert kept == "".join(text.replace(FENCE, "").split())


def test_a_text_is_cut_where_it_reads_best() -> None:
    assert split("a" * 30 + "\n\n" + "b" * 30, 40) == ["a" * 30, "b" * 30]
    assert split("One two three. " * 5, 40) == ["One two three. One two three."] * 2 + [
        "One two three."
    ]
    assert split("x" * MAX_CHARS) == ["x" * MAX_CHARS]
    assert [len(part) for part in split("x" * (MAX_CHARS + 1))] == [MAX_CHARS - ROOM, ROOM + 1]
    assert split(" \n ") == []
    with pytest.raises(ValueError, match="short"):
        split("x", 2 * ROOM)

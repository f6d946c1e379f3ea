"""Answers in shared chats are rendered without HTML, and no text of one holds the processor for long."""

import html
import re

import pytest

from cmw_agent.web.api.markdown import MAX_BRACKETS, MAX_CHARS, MAX_LINES, rendered
from tests.hostile.growth import TRIES, cost
from tests.web.test_xss import PAYLOADS

TAG = re.compile(r"<(/?)([a-z0-9]+)((?:\s[^>]*)?)>")
ELEMENTS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
ATTRIBUTES = re.compile(r'\s([a-z-]+)="([^"]*)"')
ALLOWED = {"href", "rel", "target", "class", "align", "start", "title"}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_becomes_an_element_or_attribute_that_could_run_or_load(payload: str) -> None:
    for text in (payload, f"> {payload}", f"| {payload} |\n|---|\n| {payload} |", f"# {payload}"):
        for _, element, rest in TAG.findall(str(rendered(text))):
            assert element in ELEMENTS
            for name, value in ATTRIBUTES.findall(rest):
                assert name in ALLOWED
                if name == "href":
                    assert html.unescape(value).startswith(("http://", "https://", "mailto:"))


def test_a_link_leads_elsewhere_without_a_referrer_and_a_picture_is_a_link() -> None:
    link = '<a href="https://a.example/" rel="nofollow noopener noreferrer ugc" target="_blank">'
    assert f"{link}x</a>" in rendered("[x](https://a.example/)")
    assert f"{link}p</a>" in rendered("![p](https://a.example/)")
    assert f"{link}p</a>" in rendered("[![p](https://b.example/)](https://a.example/)")
    assert "<a" not in rendered("[x](//a.example) [y](/logout) [z](ftp://a.example)")


def test_nothing_of_a_text_is_left_out_however_deeply_it_is_nested() -> None:
    for depth in range(1, 60):
        for text in (">" * depth + " needle", "- " * depth + "needle", "[" * depth + "needle"):
            assert "needle" in rendered(text), text


ORDINARY = (
    "Some **bold** words, `code` and more of it, as answers have them.\n\n- one\n- two\n\n" * 400
)[:MAX_CHARS]
# What the parser takes long for: as much of it as is still rendered, and far more.
WORST = {
    "brackets": "[" * MAX_BRACKETS,
    "pictures": "![" * MAX_BRACKETS,
    "links": "[a](" * MAX_BRACKETS,
    "angles": "![a](<b" * MAX_BRACKETS,
    "lines": "a\n" * MAX_LINES,
    "items": "- a\n" * MAX_LINES,
    "quotes": "> a\n" * MAX_LINES,
    "cells": "|a" * 10 + "\n" + "|-" * 10 + "\n" + "|\n" * 490,
    "emphasis": "*a **b " * (MAX_CHARS // 7),
    "underscores": "_a" * (MAX_CHARS // 2),
    "code": "`a" * (MAX_CHARS // 2),
    "ticks": "".join("`" * length + " " for length in range(1, 200))[:MAX_CHARS],
    "escapes": "\\[" * MAX_BRACKETS,
    "entities": "&a" * (MAX_CHARS // 2),
    "autolinks": "<a " * (MAX_CHARS // 3),
}
MAX_RATIO = 10.0


@pytest.mark.parametrize("name", WORST)
def test_no_text_takes_many_times_as_long_as_an_ordinary_one(name: str) -> None:
    text = WORST[name]
    assert "plain" not in rendered(text)[:20]

    def is_bounded(factor: int) -> bool:
        return cost(rendered, lambda size: text * size, factor) <= MAX_RATIO * cost(
            rendered, lambda _: ORDINARY, 1
        )

    for factor in (1, 2, 50):
        assert any(is_bounded(factor) for _ in range(TRIES)), factor

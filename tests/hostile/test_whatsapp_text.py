"""Processing time of WhatsApp texts is linear in their length."""

import gc
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from cmw_agent.channels.whatsapp.answering import private
from cmw_agent.channels.whatsapp.formatting import split
from cmw_agent.language import languages

SIZES = (0, 500, 4_000, 32_000)
MOST = 20.0  # times the work, of eight times the text
TRIES = 3
LEAST = 0.002  # seconds; below this, what is measured is the measuring
CONNECTS = "[a](connect.composio.dev/"
HOSTILE = {
    "a heading of spaces": ("# a", " ", "b"),
    "a heading of closing signs": ("# a", " #", " x"),
    "pictures without an end": ("", "![a](x", ""),
    "a picture's title": ("![a](", "x", " "),
    "labels without an end": ("", "[", ""),
    "pictures' labels without an end": ("", "![", ""),
    "links without an end": ("", "[a](x ", ""),
    "links with brackets in them": ("[a](x", "[b](y()", ""),
    "links' titles without an end": ("", '[a](x "', ""),
    "links' spaces": ("", "[a](x" + " " * 40, ""),
    "addresses without an end": ("", "<http://x", ""),
    "addresses": ("", "https://a_*", ""),
    "an address that ends with marks": ("http://a", "_", " b"),
    "labels that begin with addresses": ("", "[https://", ""),
    "bold without an end": ("", "**a ", ""),
    "two kinds of bold without an end": ("", "**a __b ", ""),
    "bold in bold": ("", "**a**b ", ""),
    "struck without an end": ("", "~~a ", ""),
    "signs of emphasis alone": ("", "*", "a"),
    "emphasis without an end": ("", "*a ", ""),
    "code without an end": ("", "` \n", ""),
    "much code": ("", "`a`", ""),
    "blocks without an end": ("", "```a ", ""),
    "links that connect without an end": ("", CONNECTS + " ", ""),
    "hosts that connect": ("", "connect.composio.dev:1", ""),
    "a host's number": ("connect.composio.dev:", "1", ""),
    "a rule": ("", "- ", "x"),
    "a table's ruler of spaces": ("| a |\n", " ", "x-"),
    "a table's ruler behind a dash": ("| a |\n-", " ", "x"),
    "a table's ruler of dashes": ("| a |\n", "-", "x"),
    "rows without a table": ("", "| a | ", "\n"),
    "quotes in quotes": ("", ">", "a"),
    "quotes": ("", "> > a\n", ""),
    "lists in lists": ("", "* ", "a"),
    "lists": ("", "- a\n", ""),
    "pictures in pictures": ("", "![", "](x)" * 60),
    "links in links": ("", "[", "](x)" * 60),
    "labels with an end": ("", "[a] ", ""),
    "escapes": ("", "\\*", ""),
    "code of more and more signs": ("", "a", " ".join("`" * n for n in range(1, 30))),
    "three kinds of marks": ("", "***a **b *c ", ""),
    "spaces": ("a", " ", "b"),
    "line ends": ("a", "\n", "b"),
    "lines of other white space": ("a\n", "\xa0\n", "b"),
    "lines of an item": ("- ", "a\n\t", "b"),
    "names of languages": ("", "``` a", "\n"),
}


def cost(parts: tuple[str, str, str], size: int) -> float:
    """Return the processor's seconds for an answer of this size."""
    first, often, last = parts
    text = first + often * ((size - len(first) - len(last)) // len(often)) + last
    found = []
    for _ in range(3):
        begun = time.thread_time()
        split(private(text, language=languages().english))
        found.append(time.thread_time() - begun)
    return max(min(found), LEAST)


def growth(parts: tuple[str, str, str], smaller: int, larger: int) -> float:
    """Return how many times the work of the smaller size the larger one is."""
    before = cost(parts, smaller)
    return cost(parts, larger) / before


@pytest.fixture(scope="module")
def _uncollected() -> Iterator[None]:
    """What other tests have left is collected before anything is measured, and not meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("case", HOSTILE)
def test_the_work_grows_with_the_text_and_no_faster(case: str) -> None:
    for smaller, larger in pairwise(SIZES):
        # what disturbs a measurement passes, and the work of a text does not
        assert any(growth(HOSTILE[case], smaller, larger) <= MOST for _ in range(TRIES)), larger


@pytest.mark.parametrize("often", ["|b|\n", "|b" * 20 + "|\n", "| b | c |\n"])
def test_a_table_s_rows_do_not_repeat_its_names_without_bound(often: str) -> None:
    names = "|" + "long name " * 1_600 + "|" + "d|" * 20
    table = f"{names}\n|{'-|' * 21}\n" + often * (16_000 // len(often))
    shown = private(table, language=languages().english)
    assert len(shown) <= 10 * len(table)
    assert "long name" in shown
    assert shown.count("b") == table.count("b")

"""Prices: exact sums, rounded once; an unknown price is not zero."""

from decimal import Decimal

import pytest

from cmw_agent.config.validators import Price, prices
from cmw_agent.llm.pricing import cost_micros, dollars

PRICES = prices("gpt-4o-mini=0.15/0.60, free=0/0, a=b/c=0.5/1, dear=999999/999999")


@pytest.mark.parametrize(
    ("model", "asked", "said", "cost"),
    [
        ("gpt-4o-mini", 0, 0, 0),
        ("gpt-4o-mini", 1_000_000, 1_000_000, 750_000),
        ("gpt-4o-mini", 1000, 500, 450),
        ("gpt-4o-mini", 1, 0, 0),
        ("gpt-4o-mini", 3, 0, 0),  # 0.45
        ("gpt-4o-mini", 10, 0, 2),  # 1.5: half up
        ("gpt-4o-mini", 30, 0, 5),  # 4.5: half up, not to even
        ("a=b/c", 1, 0, 1),
        ("free", 10**9, 10**9, 0),
        ("dear", 10**9, 0, 999_999 * 10**9),
        ("gpt-4o", 1000, 1000, None),
        ("GPT-4o-mini", 1000, 1000, None),
        ("", 1000, 1000, None),
    ],
)
def test_tokens_cost_what_the_settings_say(
    model: str, asked: int, said: int, cost: int | None
) -> None:
    assert cost_micros(PRICES, model, asked, said) == cost


def test_many_answers_add_up_to_what_they_cost_together() -> None:
    tenth = (Price("m", Decimal("0.1"), Decimal("0.2")),)
    assert cost_micros(tenth, "m", 3, 0) == 0  # 0.3; three tenths are no float here
    assert cost_micros(tenth, "m", 1, 2) == 1  # 0.5 exactly
    assert cost_micros((), "m", 1, 2) is None


def test_the_last_of_several_prices_counts() -> None:
    assert cost_micros(prices("m=1/1,m=2/2"), "m", 1, 1) == 4


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "$0.00"),
        (1, "<$0.0001"),
        (99, "<$0.0001"),
        (100, "$0.0001"),
        (150, "$0.0002"),
        (1_249, "$0.0012"),
        (50_000, "$0.0500"),
        (999_949, "$0.9999"),
        (999_950, "$1.00"),
        (1_000_000, "$1.00"),
        (1_234_999, "$1.23"),
        (1_235_000, "$1.24"),
        (1_234_567_890_000, "$1,234,567.89"),
    ],
)
def test_an_amount_is_shown_as_people_read_it(micros: int, shown: str) -> None:
    assert dollars(micros) == shown

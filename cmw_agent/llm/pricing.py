"""Computes the cost of an answer, in whole millionths of a dollar, which add up without rounding."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP

from cmw_agent.config.validators import Price

CENT = 10_000  # millionths of a dollar
SMALLEST = 100  # millionths of a dollar: the smallest amount that is shown as a number
SMALLEST_PER_DOLLAR = 1_000_000 // SMALLEST


def cost_micros(
    prices: Iterable[Price], model: str, input_tokens: int, output_tokens: int
) -> int | None:
    """Return the cost of a model call, in millionths of a dollar, rounded half up.

    Args:
        prices: From the settings; the last one counts where a model has several.
        model: The model's id.
        input_tokens: Tokens that the model read.
        output_tokens: Tokens that the model wrote.

    Returns:
        The cost, or None where the model has no price (which is not a cost of 0).
    """
    price = {entry.model: entry for entry in prices}.get(model)
    if price is None:
        return None
    # A price in dollars per million tokens is one in millionths of a dollar per token.
    exact = price.input * input_tokens + price.output * output_tokens
    return int(exact.to_integral_value(ROUND_HALF_UP))


def dollars(micros: int) -> str:
    """Return an amount in millionths of a dollar as text, such as ``$0.0012`` or ``$1.23``."""
    if micros == 0:
        return "$0.00"
    if micros < SMALLEST:
        return "<$0.0001"
    smallest = (micros + SMALLEST // 2) // SMALLEST
    if smallest < SMALLEST_PER_DOLLAR:
        return f"$0.{smallest:04}"
    cents = (micros + CENT // 2) // CENT
    return f"${cents // 100:,}.{cents % 100:02}"

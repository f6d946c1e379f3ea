"""What an answer cost: exact in millionths of a dollar, which add up without rounding again."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP

from cmw_agent.config.validators import Price

CENT = 10_000  # all in millionths of a dollar
SMALLEST = 100  # of what is shown by its amount
PARTS = 1_000_000 // SMALLEST  # of a dollar


def cost_micros(
    prices: Iterable[Price], model: str, input_tokens: int, output_tokens: int
) -> int | None:
    """Return what these tokens cost, in millionths of a dollar, rounded half up.

    Args:
        prices: As the settings hold them; where a model has several, the last one counts.
        model: Its name as the endpoint knows it.
        input_tokens: What the model read.
        output_tokens: What the model wrote.

    Returns:
        None where the model has no price, which is not the same as costing nothing.
    """
    price = {known.model: known for known in prices}.get(model)
    if price is None:
        return None
    # Dollars for a million tokens are millionths of a dollar for one.
    exact = price.input * input_tokens + price.output * output_tokens
    return int(exact.to_integral_value(ROUND_HALF_UP))


def dollars(micros: int) -> str:
    """Return millionths of a dollar as an amount to read, such as ``$0.0012`` or ``$1.23``."""
    if micros == 0:
        return "$0.00"
    if micros < SMALLEST:
        return "<$0.0001"
    parts = (micros + SMALLEST // 2) // SMALLEST
    if parts < PARTS:
        return f"$0.{parts:04}"
    cents = (micros + CENT // 2) // CENT
    return f"${cents // 100:,}.{cents % 100:02}"

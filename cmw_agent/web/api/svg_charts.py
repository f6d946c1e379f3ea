"""Plots as inline SVG, without a script and without a text inside that would shrink with them.

Labels stand in HTML around the plot; each bar has a title that says its figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

HEIGHT = 100.0
WIDTH = 10.0  # of one bar with its gap, in units of the plot
GAP = 2.0
LEAST = 1.5  # height of the smallest bar that there is: it must be seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar from `low` to `high`, or none where `high` is None; `title` says it in words."""

    title: str
    high: float | None
    low: float = 0.0


def bars(label: str, values: Sequence[Bar]) -> str:
    """Return upright bars side by side, as wide as there is room."""
    most = max((bar.high for bar in values if bar.high is not None), default=0.0) or 1.0
    drawn = "".join(_upright(place, bar, most) for place, bar in enumerate(values))
    width = WIDTH * max(len(values), 1)
    return (
        f'<svg class="plot" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {width:g} {HEIGHT:g}" preserveAspectRatio="none">{drawn}</svg>'
    )


def lying(share: float) -> str:
    """Return one bar that lies: `share` of the room, between 0 and 1."""
    width = min(max(share, 0.0), 1.0) * 100
    return (
        '<svg class="bar" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">'
        f'<rect class="ground" width="100" height="8"/><rect width="{width:.1f}" height="8"/></svg>'
    )


def _upright(place: int, bar: Bar, most: float) -> str:
    left = place * WIDTH
    # All of the column answers the pointer, not the bar alone.
    column = f'<rect class="column" x="{left:g}" width="{WIDTH:g}" height="{HEIGHT:g}"/>'
    shape = ""
    if bar.high is not None and bar.high > 0:
        height = max((bar.high - bar.low) / most * HEIGHT, LEAST)
        top = min((1 - bar.high / most) * HEIGHT, HEIGHT - height)
        shape = (
            f'<rect x="{left + GAP / 2:g}" y="{top:.2f}" '
            f'width="{WIDTH - GAP:g}" height="{height:.2f}"/>'
        )
    return f"<g>{column}{shape}<title>{escape(bar.title)}</title></g>"

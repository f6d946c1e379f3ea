"""Draws charts as inline SVG, without a script, by the macros of ``templates/svg_charts.svg``."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

HEIGHT = 100.0
WIDTH = 10.0  # of one bar with its gap, in units of the chart
GAP = 2.0
MIN_HEIGHT = 1.5  # of the smallest bar that there is: it must be seen


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar from `low` to `high`, or none where `high` is None; `title` says it in words."""

    title: str
    high: float | None
    low: float = 0.0


class _Shape(NamedTuple):
    left: str
    top: str
    width: str
    height: str


class _Column(NamedTuple):
    title: str
    left: str
    width: str
    bar: _Shape | None


def environment() -> Environment:
    """Return an environment for this package's templates that escapes every value."""
    return Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined
    )


@functools.cache
def _macros() -> Any:
    return environment().get_template("svg_charts.svg").module


def bars(label: str, values: Sequence[Bar]) -> Markup:
    """Draw upright bars side by side, as wide as there is room."""
    highest = max((bar.high for bar in values if bar.high is not None), default=0.0) or 1.0
    columns = [_column(index, bar, highest) for index, bar in enumerate(values)]
    width = WIDTH * max(len(values), 1)
    svg: Markup = _macros().bars(label, f"{width:g}", f"{HEIGHT:g}", columns)
    return svg


def share_bar(share: float) -> Markup:
    """Draw one horizontal bar that fills `share` of the room, between 0 and 1."""
    width = min(max(share, 0.0), 1.0) * 100
    svg: Markup = _macros().share(f"{width:.1f}")
    return svg


def _column(index: int, bar: Bar, highest: float) -> _Column:
    left = index * WIDTH
    shape = None
    if bar.high is not None and bar.high > 0:
        height = max((bar.high - bar.low) / highest * HEIGHT, MIN_HEIGHT)
        top = min((1 - bar.high / highest) * HEIGHT, HEIGHT - height)
        shape = _Shape(f"{left + GAP / 2:g}", f"{top:.2f}", f"{WIDTH - GAP:g}", f"{height:.2f}")
    return _Column(bar.title, f"{left:g}", f"{WIDTH:g}", shape)

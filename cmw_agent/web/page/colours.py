"""Derives the page's colours from the operator's one, so that text stays readable on each."""

from typing import Final

READABLE: Final = 4.5  # contrast of text, WCAG 2.2 level AA
WHITE: Final = "#ffffff"
BLACK: Final = "#0b1220"
LIGHT_PAGE: Final = "#f1f5f9"  # the darkest ground of marks in the light
DARK_PAGE: Final = "#1e293b"  # the lightest ground of marks in the dark
STEPS: Final = 20

Channels = tuple[int, int, int]


def colour_css(colour: str) -> str:
    """Return the style sheet that sets the page's colour variables.

    Args:
        colour: The operator's colour, as ``#rrggbb``.
    """
    on_colour = WHITE if contrast(WHITE, colour) >= READABLE else BLACK
    hover = mixed(colour, "#000000" if on_colour == WHITE else WHITE, 0.15)
    light, dark = readable(colour, LIGHT_PAGE, "#000000"), readable(colour, DARK_PAGE, WHITE)
    return (
        f":root{{--cmw-colour:{colour};--cmw-on-colour:{on_colour};--cmw-hover:{hover};"
        f"--cmw-accent:{light};--cmw-soft:{mixed(WHITE, colour, 0.12)}}}"
        f".dark{{--cmw-accent:{dark};--cmw-soft:{mixed('#172033', colour, 0.3)}}}"
    )


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    """Return `one` with a share of `other` from 0 to 1."""
    parts = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)


def readable(colour: str, ground: str, towards: str) -> str:
    """Return `colour`, mixed with as much of `towards` as text of it needs on `ground`."""
    shades = (mixed(colour, towards, step / STEPS) for step in range(STEPS))
    return next((shade for shade in shades if contrast(shade, ground) >= READABLE), towards)


def _channels(colour: str) -> Channels:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

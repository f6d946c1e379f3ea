"""The page's own look: name, logo, colour, icon, welcome text, examples and footer.

The settings say how the app looks, and each agent may differ in `agents.toml`.
"""

import re
from dataclasses import dataclass
from typing import Final

from cmw_agent.config.pictures import Picture
from cmw_agent.config.validators import line
from cmw_agent.language import wording

NAME: Final = "CMW Agent"
COLOUR: Final = "#0f766e"
WELCOME: Final[str] = wording("What can I do for you?")
FOOTER: Final[str] = wording("Answers can be wrong. Your conversations are yours alone.")
EXAMPLES: Final[tuple[str, ...]] = (
    wording("My name is Alice"),
    wording("What time is it in Tokyo?"),
    wording("What is 17.5 * (3 + 4)?"),
    wording("What can you do?"),
)
MAX_EXAMPLES: Final = 8
MAX_CHARS: Final = 200  # of a text of the look
NONE: Final = "none"
COLOUR_FORM = re.compile(r"#[0-9a-f]{6}")
COLOUR_ALLOWED = "a colour such as #0f766e"
TEXT_ALLOWED = f"text of at most {MAX_CHARS} characters on one line"
EXAMPLES_ALLOWED = f"at most {MAX_EXAMPLES} texts of at most {MAX_CHARS} characters each"


@dataclass(frozen=True, slots=True)
class Look:
    """How the page looks.

    Attributes:
        name: Name of the app.
        logo: Picture beside the name; None for none.
        colour: Colour of buttons and marks, as ``#rrggbb``.
        icon: Icon of the tab and of the installed app; None for the app's own.
        welcome: Heading of an empty chat.
        examples: Messages that an empty chat offers.
        footer: Line below the box; empty for none.
    """

    name: str = NAME
    logo: Picture | None = None
    colour: str = COLOUR
    icon: Picture | None = None
    welcome: str = WELCOME
    examples: tuple[str, ...] = EXAMPLES
    footer: str = FOOTER


DEFAULT_LOOK: Final = Look()


def colour(text: str) -> str:
    """Return a colour as ``#rrggbb`` in small letters."""
    found = text.strip().lower()
    if not COLOUR_FORM.fullmatch(found):
        raise ValueError
    return found


def short_line(text: str) -> str:
    """Return one line of printable characters of at most `MAX_CHARS`."""
    found = line(text)
    if len(found) > MAX_CHARS:
        raise ValueError
    return found


def optional_line(text: str) -> str:
    """Return the line as `short_line` does; empty for ``none``."""
    return "" if text.strip().lower() == NONE else short_line(text)


def examples(text: str) -> tuple[str, ...]:
    """Return the texts between the ``|`` of `text`; none for ``none``."""
    if text.strip().lower() == NONE:
        return ()
    found = tuple(short_line(part) for part in text.split("|") if part.strip())
    if not 0 < len(found) <= MAX_EXAMPLES:
        raise ValueError
    return found

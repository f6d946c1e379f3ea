"""Texts that are translated later: where they are written, the reader's language is not known yet."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


def filled(text: str, values: Mapping[str, object]) -> str:
    """Return `text` with each ``{name}`` replaced by that value; names without one stay."""
    return PLACEHOLDER.sub(
        lambda match: str(values[match[1]]) if match[1] in values else match[0], text
    )


class Wording(str):
    """A text in English that knows how it is made, so that `Language.translate` can make it anew.

    Attributes:
        singular: The catalogue's id: the English text with its placeholders.
        plural: The English text for several; None where the text has no number.
        number: The number that chooses between them.
        values: What stands for the placeholders; a `Wording` among them is translated too.
    """

    singular: str
    plural: str | None
    number: int
    values: Mapping[str, object]

    def __new__(
        cls, singular: str, plural: str | None, count: int, values: Mapping[str, object]
    ) -> "Wording":
        """Return the English text as a string."""
        grouped = {name: _grouped(value) for name, value in values.items()}
        shown = grouped if plural is None else {"count": f"{count:,}", **grouped}
        chosen = singular if plural is None or count == 1 else plural
        made = super().__new__(cls, filled(chosen, shown) if shown else chosen)
        made.singular, made.plural, made.number = singular, plural, count
        made.values = MappingProxyType(dict(values))
        return made

    def counting(self, count: int) -> "Wording":
        """Return the same text for another number."""
        return Wording(self.singular, self.plural, count, self.values)

    def using(self, **values: object) -> "Wording":
        """Return the same text with further values."""
        return Wording(self.singular, self.plural, self.number, {**self.values, **values})

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes an equal one, for copies and pickles."""
        return Wording, (self.singular, self.plural, self.number, dict(self.values))


def _grouped(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else value


def wording(text: str, /, **values: object) -> Wording:
    """Mark a text for the catalogue, and return it in English.

    Args:
        text: A literal, with ``{name}`` where a value is to stand.
        values: The values.
    """
    return Wording(text, None, 1, values)


class Joined(str):
    """Texts one behind the other, each of which can still be translated.

    Attributes:
        parts: The texts.
        separator: What stands between two of them.
    """

    parts: tuple[str, ...]
    separator: str

    def __new__(cls, parts: tuple[str, ...], separator: str = " ") -> "Joined":
        """Return the texts as one string."""
        made = super().__new__(cls, separator.join(parts))
        made.parts, made.separator = parts, separator
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes an equal one, for copies and pickles."""
        return Joined, (self.parts, self.separator)


def joined(*texts: str | None) -> str:
    """Return texts one behind the other, without those that are empty."""
    present = tuple(text for text in texts if text)
    return present[0] if len(present) == 1 else Joined(present)


def wordings(singular: str, several: str, /, count: int, **values: object) -> Wording:
    """Mark a text that depends on a number for the catalogue, and return it in English.

    Args:
        singular: A literal for one, with ``{count}`` where the number is to stand.
        several: A literal for any other number.
        count: The number.
        values: Further values.
    """
    return Wording(singular, several, count, values)

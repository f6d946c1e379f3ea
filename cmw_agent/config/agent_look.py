"""Reads an agent's own look from its table in `agents.toml`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from cmw_agent.config import look as looks
from cmw_agent.config.pictures import ALLOWED, Picture, PictureError, read_picture
from cmw_agent.config.toml_tables import TableValueError, is_texts, text


class InFolder(Protocol):
    """What names the folder of relative paths."""

    @property
    def folder(self) -> Path:
        """The folder of the file."""


def _picture(value: object, known: InFolder) -> Picture:
    if not isinstance(value, str):
        raise TableValueError(f"the path or data: address of {ALLOWED}")
    try:
        return read_picture(value, known.folder)
    except PictureError as error:
        raise TableValueError(f"{ALLOWED}, but {error}", is_hidden=True) from None


def _colour(value: object, _known: InFolder) -> str:
    return text(value, looks.colour, looks.COLOUR_ALLOWED, 7)


def _line(value: object, _known: InFolder) -> str:
    return text(value, looks.short_line, looks.TEXT_ALLOWED, looks.MAX_CHARS)


def _footer(value: object, known: InFolder) -> str:
    return "" if value == "" else _line(value, known)


def _examples(value: object, known: InFolder) -> tuple[str, ...]:
    if not is_texts(value) or len(value) > looks.MAX_EXAMPLES:
        raise TableValueError(f"a list of {looks.EXAMPLES_ALLOWED}")
    return tuple(_line(item, known) for item in value)


# Every key of an agent's look, with the function that validates its value.
LOOK_READERS: Final[Mapping[str, Callable[[Any, InFolder], Any]]] = MappingProxyType(
    {
        "logo": _picture,
        "icon": _picture,
        "colour": _colour,
        "welcome": _line,
        "examples": _examples,
        "footer": _footer,
    }
)

"""All languages of the app: English, and each one that has a catalogue in this package."""

import functools
import io
from collections.abc import Iterable, Mapping
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final

from babel import Locale, negotiate_locale
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from cmw_agent.language.language import Language
from cmw_agent.language.stored_texts import StoredTexts

CATALOGUES: Final = Path(__file__).parent / "catalogues"
SOURCE: Final = "en"  # the language that the texts are written in
SCRIPT_PLACE: Final = "scripts"  # what a catalogue says of texts that scripts use
MAX_HEADER_CHARS: Final = 1_000
SEPARATOR: Final = "-"


class Languages:
    """The languages that a reader may get.

    Args:
        catalogues: The catalogues by their language's tag; English needs none.
    """

    def __init__(self, catalogues: Mapping[str, Catalog]) -> None:
        english = Language(SOURCE, Locale.parse(SOURCE), NullTranslations(), {}, "n != 1")
        others = (_language(tag, catalogue) for tag, catalogue in sorted(catalogues.items()))
        self._by_tag = {language.tag: language for language in (english, *others)}

    @property
    def all(self) -> tuple[Language, ...]:
        """The languages, English first."""
        return tuple(self._by_tag.values())

    @property
    def english(self) -> Language:
        """The language of who says nothing."""
        return self._by_tag[SOURCE]

    def of(self, tag: str | None) -> Language:
        """Return the language of a tag, such as ``ru`` or ``ru-RU``; English for others."""
        return self._match([tag or ""]) or self.english

    def choose(self, accept_language: str | None, *chosen: str | None) -> Language:
        """Return the language for a reader.

        Args:
            accept_language: The header of that name, as the reader's browser sends it.
            chosen: What the reader has chosen, the most important one first; what names no language
                of the app counts as nothing.
        """
        return (
            self._match(tag[:MAX_HEADER_CHARS] for tag in chosen if tag)
            or self._match(_preferred(accept_language or ""))
            or self.english
        )

    def _match(self, tags: Iterable[str]) -> Language | None:
        by_tag = {tag.lower(): language for tag, language in self._by_tag.items()}
        found = negotiate_locale([tag.lower() for tag in tags], list(by_tag), sep=SEPARATOR)
        return by_tag.get(found) if found is not None else None


@functools.cache
def languages() -> Languages:
    """Return the languages of the app, read once from the catalogues of this package."""
    return Languages({path.stem: read_catalogue(path) for path in CATALOGUES.glob("*.po")})


def read_catalogue(path: Path) -> Catalog:
    """Return a catalogue; its file is named after its language's tag.

    Raises:
        PoFileError: The file is no catalogue.
    """
    with path.open("rb") as file:
        return read_po(file, locale=path.stem.replace(SEPARATOR, "_"), abort_invalid=True)


def _language(tag: str, catalogue: Catalog) -> Language:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    texts = {
        _first(entry.id): list(entry.string) if isinstance(entry.string, tuple) else entry.string
        for entry in catalogue
        if entry.string
        and all(entry.string)
        and any(name == SCRIPT_PLACE for name, _line in entry.locations)
    }
    locale = Locale.parse(tag, sep=SEPARATOR)
    stored = StoredTexts.of(_first(entry.id) for entry in catalogue if entry.id and entry.string)
    return Language(tag, locale, GNUTranslations(compiled), texts, catalogue.plural_expr, stored)


def _first(message_id: str | tuple[str, ...] | list[str]) -> str:
    return message_id if isinstance(message_id, str) else message_id[0]


def _preferred(accept_language: str) -> list[str]:
    """Return the tags of an ``Accept-Language``, the most wanted first; without what is refused."""
    weighted = []
    for part in accept_language[:MAX_HEADER_CHARS].split(","):
        tag, _, parameter = part.partition(";")
        weighted.append((_quality(parameter), tag.strip()))
    return [tag for quality, tag in sorted(weighted, key=lambda pair: -pair[0]) if tag and quality]


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

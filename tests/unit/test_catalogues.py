"""The catalogues hold exactly the texts of the code, and each translates them all."""

import re

import pytest
from babel.messages import Catalog
from babel.messages.catalog import Message

from cmw_agent.language.extraction import (
    WIDGET_TEXTS,
    extracted,
    source_files,
    template,
    updated,
    widget_texts,
)
from cmw_agent.language.languages import CATALOGUES, read_catalogue
from cmw_agent.language.wording import PLACEHOLDER

PATHS = sorted(CATALOGUES.glob("*.po"))
# Each call of a marker with a literal; Babel's own reader of scripts could miss one.
SCRIPT_CALL = re.compile(r"(?<![\w$])tn?\(\s*[\"'`]")
PYTHON_CALL = re.compile(r"\b(?:wordings?|n?gettext)\(\s*f?[\"']")


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def catalogue(request: pytest.FixtureRequest) -> Catalog:
    return read_catalogue(request.param)


def _ids(entry: Message) -> tuple[str, ...]:
    return (entry.id,) if isinstance(entry.id, str) else tuple(entry.id)


def _texts(entry: Message) -> tuple[str, ...]:
    return (entry.string or "",) if isinstance(entry.string, str | None) else tuple(entry.string)


def _entries(catalogue: Catalog) -> list[Message]:
    return [entry for entry in catalogue if entry.id]


def test_every_marked_call_is_found_by_the_extraction() -> None:
    for path in source_files():
        pattern = PYTHON_CALL if path.suffix == ".py" else SCRIPT_CALL
        if path.suffix == ".html":
            continue
        calls = len(pattern.findall(path.read_text(encoding="utf-8")))
        assert len(list(extracted(path))) == calls, path


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_catalogue_is_as_the_code_has_it(path: object) -> None:
    assert path in PATHS
    found = next(item for item in PATHS if item == path)
    assert found.read_bytes() == updated(read_catalogue(found)), "run `make catalogue`"


def test_the_widget_speaks_as_the_catalogues_do() -> None:
    assert WIDGET_TEXTS.read_bytes() == widget_texts(PATHS), "run `make catalogue`"


def test_a_catalogue_holds_the_codes_texts_and_no_others(catalogue: Catalog) -> None:
    assert {_ids(entry) for entry in _entries(catalogue)} == {
        _ids(entry) for entry in _entries(template())
    }
    assert not catalogue.obsolete


def test_every_text_is_translated_and_none_is_a_guess(catalogue: Catalog) -> None:
    missing = [_ids(entry)[0] for entry in _entries(catalogue) if not all(_texts(entry))]
    assert not missing
    assert not [_ids(entry)[0] for entry in _entries(catalogue) if entry.fuzzy]


def test_translations_have_the_same_placeholders(catalogue: Catalog) -> None:
    for entry in _entries(catalogue):
        wanted = set(PLACEHOLDER.findall(_ids(entry)[-1]))
        for text in _texts(entry):
            found = set(PLACEHOLDER.findall(text))
            assert found == wanted or wanted - found == {"count"}, (entry.id, text)
            if isinstance(entry.id, str):
                assert found == wanted, (entry.id, text)


def test_translations_begin_and_end_as_the_texts_do(catalogue: Catalog) -> None:
    for entry in _entries(catalogue):
        for text in _texts(entry):
            original = _ids(entry)[0]
            assert text.strip() == text or original.strip() != original, text
            assert text.endswith("…") == original.endswith("…"), (original, text)


def test_a_number_has_as_many_forms_as_the_language_says(catalogue: Catalog) -> None:
    for entry in _entries(catalogue):
        if not isinstance(entry.id, str):
            assert len(_texts(entry)) == catalogue.num_plurals, entry.id
    if str(catalogue.locale) == "ru":
        assert catalogue.num_plurals == 3

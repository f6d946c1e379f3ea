"""Languages: which one a reader gets, and what a text, a number and a day become in it."""

import copy
import datetime as dt
import pickle

import pytest

from cmw_agent.language import languages, wording, wordings
from cmw_agent.language.request_language import request_language

NOON = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        (None, "en"),
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("RU-ru", "ru"),
        ("de-DE, de;q=0.9, ru;q=0.5, en;q=0.4", "ru"),
        ("ru;q=0.1, en;q=0.8", "en"),
        ("ru;q=0, en", "en"),
        ("ru;q=0", "en"),
        ("xx, *;q=0.5", "en"),
        ("ru;q=mad, en", "en"),
        (";;,,q=,-,--", "en"),
        ("en," * 2_000 + "ru", "en"),
    ],
)
def test_the_browsers_languages_choose_among_those_that_there_are(
    header: str | None, tag: str
) -> None:
    assert languages().choose(header).tag == tag


def test_what_the_reader_has_chosen_wins_and_what_is_no_language_counts_as_nothing() -> None:
    found = languages()
    assert found.choose("en", None, "ru").tag == "ru"
    assert found.choose("ru", "en").tag == "en"
    assert found.choose("ru", "xx", "").tag == "ru"
    assert found.choose("ru", "../../etc", "e" * 5_000).tag == "ru"
    assert found.of("ru-RU").tag == "ru"
    assert found.of(None).tag == found.of("xx").tag == "en"


def _scope(query: str = "", **headers: str) -> dict[str, object]:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": lines, "query_string": query.encode()}


def test_a_requests_language_is_its_pages_then_its_addresses_then_the_choice() -> None:
    page = {"accept_language": "ru", "cookie": "cmw_language=en"}
    assert request_language(_scope(accept_language="ru")).tag == "ru"
    assert request_language(_scope(**page)).tag == "en"
    assert request_language(_scope("lang=ru", **page)).tag == "ru"
    assert request_language(_scope("lang=ru", x_cmw_language="en", **page)).tag == "en"


def test_a_wording_is_its_english_text_until_it_is_translated() -> None:
    russian = languages().of("ru")
    inner = wording("New chat")
    text = wording("{name} was denied.", name=inner)
    assert text == "New chat was denied."
    assert russian.translate(text) == f"{russian.gettext('New chat')}: отклонено."
    assert russian.translate("New chat") == russian.translate(inner) == "Новый чат"
    assert languages().english.translate(text) == text


def test_a_wording_comes_whole_through_copies_and_pickles() -> None:
    text = wordings("{count} file", "{count} files", 1_200)
    for other in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):  # noqa: S301
        assert other == "1,200 files"
        assert (other.singular, other.plural, other.number) == (
            "{count} file",
            "{count} files",
            1200,
        )


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "1 сообщение"),
        (2, "2 сообщения"),
        (5, "5 сообщений"),
        (11, "11 сообщений"),
        (21, "21 сообщение"),
        (1_000, "1\N{NO-BREAK SPACE}000 сообщений"),
    ],
)
def test_numbers_choose_their_form(count: int, expected: str) -> None:
    russian = languages().of("ru")
    assert russian.ngettext("{count} message", "{count} messages", count) == expected
    assert russian.translate(wordings("{count} message", "{count} messages", count)) == expected


def test_a_value_is_never_a_format_and_an_unknown_text_stays() -> None:
    english = languages().english
    assert english.gettext("{name} was denied.", name="{name} {other}") == (
        "{name} {other} was denied."
    )
    assert languages().of("ru").translate("An operator’s own {welcome}") == (
        "An operator’s own {welcome}"
    )
    assert english.gettext("") == languages().of("ru").gettext("") == ""


def test_days_and_times_are_written_as_the_language_does() -> None:
    english, russian = languages().english, languages().of("ru")
    assert english.date(NOON) == "Nov 30, 2026"
    assert russian.date(NOON) == "30 нояб. 2026\N{NARROW NO-BREAK SPACE}г."
    assert russian.datetime(NOON, dt.UTC).startswith("30 нояб. 2026")
    assert "12:00" in russian.time(NOON, dt.UTC)


def test_a_language_names_itself() -> None:
    assert [(item.name, item.direction) for item in languages().all] == [
        ("English", "ltr"),
        ("Русский", "ltr"),
    ]

"""Validation of messages."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.core.sanitize import BIDI, CONTROLS, sanitize_json, validate_message


@given(st.text())
def test_what_is_taken_is_whole_text_and_taking_it_again_changes_nothing(text: str) -> None:
    try:
        taken = validate_message(text, 1000)
    except InvalidMessageError:
        return
    assert taken == taken.strip() != ""
    assert taken.encode()
    assert not CONTROLS.search(taken)
    assert not BIDI.search(taken)
    assert validate_message(taken, 10_000) == taken


@pytest.mark.parametrize("text", ["hello", "Grüße 👩‍👩‍👧", "a\n\tb", "שלום", "`code` <b>"])
def test_plain_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert validate_message(text, 100) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("\u202e\u2066", "empty"),
        ("a\x00b", "control"),
        ("a\x1b[31mb", "control"),
        ("a\x9bb", "control"),
        ("a\ud800b", "broken"),
        ("x" * 101, "too long"),
        (None, "text"),
        (7, "text"),
        (["a"], "text"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(text: object, word: str) -> None:
    with pytest.raises(InvalidMessageError, match=word):
        validate_message(text, 100)


def test_line_ends_become_one_kind_and_direction_tricks_go() -> None:
    assert validate_message("a\r\nb\rc", 100) == "a\nb\nc"
    assert validate_message("pay \u202e001\u202c now", 100) == "pay 001 now"


@given(st.text())
def test_mended_text_can_be_stored_and_mending_changes_nothing_else(text: str) -> None:
    taken = sanitize_json(text)
    assert taken.encode().decode() == taken
    assert "\0" not in taken
    assert len(taken) == len(text)
    assert all(a == b or b == "\ufffd" for a, b in zip(text, taken, strict=True))


def test_what_json_cannot_say_is_named_and_what_is_too_deep_is_cut() -> None:
    assert sanitize_json({"a\0": [float("nan"), float("-inf"), 1.5, None, ("x",)]}) == {
        "a\ufffd": ["nan", "-inf", 1.5, None, ["x"]]
    }
    deep: object = "bottom"
    for _ in range(100):
        deep = [deep]
    assert json.dumps(sanitize_json(deep), ensure_ascii=False) == "[" * 20 + '"…"' + "]" * 20

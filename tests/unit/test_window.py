"""The context window: whole exchanges, newest first, within the budget."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory.conversations.context_window import (
    MESSAGE_TOKENS,
    cost,
    exceeds,
    fit,
    max_rows,
    surplus,
    tokens_in,
)
from memory.records import ContextMessage


def question(seq: int, content: str) -> ContextMessage:
    return ContextMessage(seq, "user", content)


def answer(seq: int, content: str) -> ContextMessage:
    return ContextMessage(seq, "assistant", content)


def shown(newest_first: list[ContextMessage], budget: int) -> list[str]:
    return [message.content for message in fit(newest_first, budget)]


@st.composite
def conversations(draw: st.DrawFn) -> list[ContextMessage]:
    """Rows newest first, cut off anywhere, as a page of a table may be."""
    texts = st.text(max_size=60)
    rows: list[ContextMessage] = []
    for _ in range(draw(st.integers(0, 12))):
        rows.append(question(len(rows), draw(texts)))
        rows.append(answer(len(rows), draw(texts)))
    start, end = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    return rows[start : len(rows) - end][::-1]


BUDGETS = st.integers(-10, 400)
# the first text that Hypothesis draws builds its tables of Unicode, which takes seconds
unhurried = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(conversations(), BUDGETS)
def test_a_window_begins_with_the_user(rows: list[ContextMessage], budget: int) -> None:
    window = fit(rows, budget)
    assert not window or window[0].role == "user"


@unhurried
@given(conversations(), BUDGETS)
def test_a_window_holds_the_newest_question(rows: list[ContextMessage], budget: int) -> None:
    questions = [row for row in rows if row.role == "user"]
    assert [row for row in fit(rows, budget) if row.role == "user"][-1:] == questions[:1]


@unhurried
@given(conversations(), BUDGETS)
def test_a_window_keeps_within_its_budget(rows: list[ContextMessage], budget: int) -> None:
    window = fit(rows, budget)
    assert len(window) <= 1 or sum(map(cost, window)) <= budget


@unhurried
@given(conversations(), BUDGETS)
def test_a_window_is_a_tail_without_empty_answers(rows: list[ContextMessage], budget: int) -> None:
    window = fit(rows, budget)
    spoken = [row for row in rows[::-1] if row.role == "user" or row.content]
    assert window == spoken[len(spoken) - len(window) :] or window == spoken[-2:-1]


@unhurried
@given(conversations(), BUDGETS)
def test_no_answer_stands_without_its_question(rows: list[ContextMessage], budget: int) -> None:
    sequence = [row.seq for row in fit(rows, budget)]
    for row in fit(rows, budget):
        assert row.role == "user" or row.seq - 1 in sequence


@unhurried
@given(conversations(), BUDGETS)
def test_what_exceeds_the_budget_needs_no_older_rows(
    rows: list[ContextMessage], budget: int
) -> None:
    if exceeds(rows, budget) and fit(rows, budget):
        older = [answer(-1, "older"), question(-2, "old")]
        assert fit(rows + older, budget) == fit(rows, budget)


@unhurried
@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), max_size=12),
    st.integers(-10, 600),
)
def test_a_window_that_is_kept_is_the_one_that_would_be_read(
    turns: list[tuple[str, str]], budget: int
) -> None:
    rows: list[ContextMessage] = []
    kept: list[ContextMessage] = []
    for asked, told in turns:
        rows.append(question(len(rows), asked))
        kept.append(rows[-1])
        gone, tokens = surplus(kept, sum(map(cost, kept)), budget)
        kept = kept[gone:]
        assert tokens == sum(map(cost, kept))
        assert kept == fit(rows[: -max_rows(budget) - 1 : -1], budget)
        if told:
            rows.append(answer(len(rows), told))
            kept.append(rows[-1])


def test_the_newest_exchanges_are_the_ones_that_stay() -> None:
    rows = [
        question(5, "third"),
        answer(4, "b" * 40),
        question(3, "second"),
        answer(2, "a" * 40),
        question(1, "first"),
    ]
    assert shown(rows, 10_000) == ["first", "a" * 40, "second", "b" * 40, "third"]
    two_exchanges = sum(cost(row) for row in rows[:3])
    assert shown(rows, two_exchanges) == ["second", "b" * 40, "third"]
    assert shown(rows, two_exchanges - 1) == ["third"]
    assert shown(rows, 0) == ["third"]


def test_a_small_old_exchange_does_not_slip_in_over_a_large_one() -> None:
    rows = [
        question(5, "now"),
        answer(4, "x" * 4000),
        question(3, "large"),
        answer(2, "small"),
        question(1, "small"),
    ]
    assert shown(rows, 500) == ["now"]


def test_empty_answers_go_and_partial_ones_stay() -> None:
    rows = [
        question(7, "now"),
        answer(6, "Half of"),
        question(5, "three"),
        answer(4, "A part"),
        question(3, "two"),
        answer(2, ""),
        question(1, "one"),
    ]
    assert shown(rows, 1000) == ["one", "two", "A part", "three", "Half of", "now"]


def test_nothing_of_nothing() -> None:
    assert fit([], 100) == []
    assert fit([answer(2, "no question")], 100) == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("four", 1),
        ("fives", 2),
        ("Привет", 6),
        ("東京", 3),
        ("👍", 2),
        ("aé", 2),
    ],
)
def test_tokens_are_estimated_on_the_safe_side(text: str, tokens: int) -> None:
    assert tokens_in(text) == tokens
    assert cost(question(1, text)) == tokens + MESSAGE_TOKENS


@unhurried
@given(st.text(), st.text())
def test_an_estimate_never_shrinks_with_more_text(text: str, more: str) -> None:
    assert tokens_in(text) <= tokens_in(text + more)


def test_a_larger_budget_is_worth_more_rows_and_any_one_exchange() -> None:
    assert max_rows(-5) == max_rows(0) == 2
    assert max_rows(8000) == 100
    assert max_rows(80_000) == 1000

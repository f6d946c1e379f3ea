"""Why an answer is rated as it is: stored with the rating, and gone with it."""

import pytest

from memory.engine.database import Database
from memory.errors import ConversationNotFoundError, InvalidTextError
from memory.records import RatingExplanation
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

WHY = RatingExplanation("not_complete", "Łódź is missing")
Rating = tuple[str | None, str | None, str | None]


async def rating_of(store: Store, owner: str = ALICE, seq: int = 2) -> Rating:
    messages = await store.messages(owner, "a", all_versions=True)
    (found,) = (message for message in messages if message.seq == seq)
    return found.feedback, found.feedback_reason, found.feedback_comment


async def rated(store: Store) -> None:
    await store.exchange(ALICE, "a", "question", "answer")
    await store.rate(ALICE, "a", 2, "dislike", WHY)


async def test_an_explanation_is_kept_with_the_rating_that_it_explains(store: Store) -> None:
    await rated(store)
    assert await rating_of(store) == ("dislike", "not_complete", "Łódź is missing")
    await store.rate(ALICE, "a", 2, "dislike")
    assert await rating_of(store) == ("dislike", "not_complete", "Łódź is missing")
    await store.rate(ALICE, "a", 2, "dislike", RatingExplanation(None, "something else"))
    assert await rating_of(store) == ("dislike", None, "something else")


@pytest.mark.parametrize("feedback", ["like", None])
async def test_an_explanation_is_gone_with_its_rating(store: Store, feedback: str | None) -> None:
    await rated(store)
    await store.rate(ALICE, "a", 2, feedback)  # type: ignore[arg-type]
    assert await rating_of(store) == (feedback, None, None)


async def test_what_is_not_rated_has_no_explanation(store: Store) -> None:
    await store.exchange(ALICE, "a", "question", "answer")
    await store.rate(ALICE, "a", 2, None, WHY)
    assert await rating_of(store) == (None, None, None)


async def test_nobody_explains_a_rating_of_another_s_answer(
    store: Store, database: Database
) -> None:
    await rated(store)
    before = await rows_of(database)
    for seq in (1, 2, 3):
        with pytest.raises(ConversationNotFoundError):
            await store.rate(BOB, "a", seq, "like", RatingExplanation(None, "mine"))
    assert await rows_of(database) == before


async def test_a_comment_that_no_database_keeps_is_refused(store: Store) -> None:
    await rated(store)
    with pytest.raises(InvalidTextError):
        await store.rate(ALICE, "a", 2, "like", RatingExplanation(None, "a\0b"))
    assert await rating_of(store) == ("dislike", "not_complete", "Łódź is missing")


async def test_an_explanation_stays_with_its_version_and_is_in_no_fork(store: Store) -> None:
    await rated(store)
    fork = await store.fork(ALICE, "a", 2, context={}, copies={})
    copied = (await store.messages(ALICE, fork))[-1]
    assert (copied.feedback, copied.feedback_reason, copied.feedback_comment) == (None, None, None)
    ticket = await store.begin_retry(ALICE, "a", key="again")
    assert await store.finish(ALICE, ticket.turn_id, "another answer")
    assert await rating_of(store) == ("dislike", "not_complete", "Łódź is missing")
    assert await rating_of(store, seq=ticket.answer_seq) == (None, None, None)


async def test_an_explanation_moves_at_a_sign_in_and_goes_with_its_conversation(
    store: Store, database: Database, clock: Clock
) -> None:
    await rated(store)
    assert await store.take_over("account", ALICE) == 1
    assert await rating_of(store, "account") == ("dislike", "not_complete", "Łódź is missing")
    clock.advance(1)
    await store.forget("account")
    left = {table for table, rows in (await rows_of(database)).items() if rows}
    assert left == {"agent_logins"}  # the sign-in goes on

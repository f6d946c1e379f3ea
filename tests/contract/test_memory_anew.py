"""A conversation deleted for good and created again under the same id is a new conversation."""

from memory.records import ContextState, ConversationOrigin, NewTurn
from tests.contract.conftest import ALICE, Clock, Store


async def test_who_knows_a_forgotten_conversation_is_told_the_new_one_whole(
    store: Store, clock: Clock
) -> None:
    first = await store.begin_turn(
        ALICE, NewTurn("c1", "one", key="1", origin=ConversationOrigin(), budget=1000)
    )
    await store.finish(ALICE, first.turn_id, "yes")
    known = ContextState(first.answer_seq, 0, first.conversation_created_at)
    await store.forget(ALICE)
    clock.advance(1)
    await store.exchange(ALICE, "c1", "two", "yes")
    third = await store.begin_turn(
        ALICE,
        NewTurn("c1", "three", key="3", origin=ConversationOrigin(), budget=1000, known=known),
    )
    assert not third.follows
    assert [item.content for item in third.window] == ["two", "yes", "three"]


async def test_a_summary_of_what_was_forgotten_is_not_kept(store: Store, clock: Clock) -> None:
    for number in range(4):
        await store.exchange(ALICE, "c1", f"{number} is a long message " * 20, "yes")
    part = await store.claim_older(ALICE, "c1", before_seq=7, min_tokens=1)
    assert part is not None
    await store.forget(ALICE)
    clock.advance(1)
    await store.exchange(ALICE, "c1", "anew", "yes")
    assert not await store.store_summary(ALICE, "c1", part, "what was forgotten")
    assert (await store.conversation(ALICE, "c1")).summary is None

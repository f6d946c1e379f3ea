"""Summaries of a conversation's older part: handed out once, for its owner, on each database."""

import asyncio

from tests.contract.conftest import ALICE, BOB, Clock, Store

LONG = "lorem ipsum dolor sit amet " * 12


async def test_one_part_is_given_out_once_and_to_its_owner(store: Store, clock: Clock) -> None:
    for n in range(6):
        await store.exchange(ALICE, "a", f"question {n}", LONG)
    claims = await asyncio.gather(
        *(store.claim_older(ALICE, "a", before_seq=9, min_tokens=100) for _ in range(5)),
        store.claim_older(BOB, "a", before_seq=9, min_tokens=100),
    )
    (part,) = [claim for claim in claims if claim is not None]
    assert claims[-1] is None
    assert [item.seq for item in part.messages] == list(range(1, 9))
    assert not await store.store_summary(BOB, "a", part, "his")
    assert await store.store_summary(ALICE, "a", part, "notes")
    assert not await store.store_summary(ALICE, "a", part, "late")
    assert (await store.conversation(ALICE, "a")).summary == "notes"
    assert await store.claim_older(ALICE, "a", before_seq=9, min_tokens=1) is None
    following = await store.claim_older(ALICE, "a", before_seq=11, min_tokens=1)
    assert following is not None
    assert [item.seq for item in following.messages] == [9, 10]
    assert following.summary == "notes"


async def test_a_claim_that_nobody_kept_is_given_out_again(store: Store, clock: Clock) -> None:
    await store.exchange(ALICE, "a", "question", LONG)
    assert await store.claim_older(ALICE, "a", before_seq=3, min_tokens=1) is not None
    assert await store.claim_older(ALICE, "a", before_seq=3, min_tokens=1) is None
    clock.advance(121)
    part = await store.claim_older(ALICE, "a", before_seq=3, min_tokens=1)
    assert part is not None
    assert not await store.store_summary(ALICE, "a", part, None)
    assert await store.claim_older(ALICE, "a", before_seq=3, min_tokens=1) is not None
    assert await store.claim_older(ALICE, "a", before_seq=3, min_tokens=10_000) is None

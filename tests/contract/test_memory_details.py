"""What the memory stores of an answer beside its text: thoughts, finish reason, sources, pictures."""

from dataclasses import replace

import pytest

from memory.errors import InvalidTextError, UnknownFileError
from memory.maintenance.retention import Retention
from memory.receipts import broken
from memory.records import (
    AnswerDetails,
    NewTurn,
    PictureRecord,
    SourceRecord,
    StoredMessage,
    TurnTicket,
)
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of
from tests.contract.test_memory_files import added

THOUGHT = "zebrathought"
SOURCES = (SourceRecord("https://a.example/ł", "Ä title"), SourceRecord("https://b.example", ""))
DETAILS = AnswerDetails(
    thinking_ms=1500,
    sources=SOURCES,
    cached_tokens=3,
    reasoning_tokens=4,
    switched_from="model-a",
    note="A picture was not kept.",
)


async def finished(
    store: Store, ticket: TurnTicket, details: AnswerDetails = DETAILS, text: str = "answer"
) -> None:
    assert await store.finish_turn(
        ALICE,
        ticket.turn_id,
        status="interrupted",
        content=text,
        tool_calls=[],
        tokens_used=7,
        latency_ms=90,
        model_used="model-b",
        error_id=None,
        thinking=THOUGHT,
        finish_reason="length",
        details=details,
    )


def of(message: StoredMessage) -> tuple[str | None, str | None, AnswerDetails]:
    return message.thinking, message.finish_reason, message.details


async def test_an_answer_keeps_its_thoughts_finish_reason_and_details(store: Store) -> None:
    ticket = await store.begin(ALICE, "s1", "question")
    await finished(store, ticket)
    question, answer = await store.messages(ALICE, "s1")
    assert of(question) == (None, None, AnswerDetails())
    assert of(answer) == (THOUGHT, "length", DETAILS)
    assert await store.answer(ALICE, ticket.turn_id) == answer


async def test_thoughts_and_details_are_stored_while_the_answer_comes(store: Store) -> None:
    ticket = await store.begin(ALICE, "s1", "question")
    assert await store.checkpoint(
        ALICE, ticket.turn_id, content="a", tool_calls=[], thinking=THOUGHT, details=DETAILS
    )
    assert of((await store.messages(ALICE, "s1"))[1]) == (THOUGHT, None, DETAILS)


async def test_an_answer_without_thoughts_and_details_has_none(store: Store) -> None:
    await store.exchange(ALICE, "s1", "question", "answer")
    assert of((await store.messages(ALICE, "s1"))[1]) == (None, None, AnswerDetails())


@pytest.mark.parametrize("text", ["\0", "\ud800"])
async def test_details_that_cannot_be_stored_are_refused(store: Store, text: str) -> None:
    ticket = await store.begin(ALICE, "s1", "question")
    for thinking, details in (
        (text, AnswerDetails()),
        ("", replace(AnswerDetails(), note=text)),
        ("", replace(AnswerDetails(), sources=(SourceRecord("https://a.example", text),))),
    ):
        with pytest.raises(InvalidTextError):
            await store.checkpoint(
                ALICE, ticket.turn_id, content="", tool_calls=[], thinking=thinking, details=details
            )


async def test_no_window_summary_search_or_title_has_thoughts(store: Store) -> None:
    await finished(store, await store.begin(ALICE, "s1", "question"))
    ticket = await store.begin_turn(ALICE, NewTurn("s1", "again", key="k2", budget=1000))
    assert [m.content for m in ticket.window] == ["question", "answer", "again"]
    part = await store.claim_older(ALICE, "s1", before_seq=4, min_tokens=1)
    assert part is not None
    assert THOUGHT not in repr((ticket, part, await store.conversation(ALICE, "s1")))
    assert await store.search(ALICE, THOUGHT) == []


async def test_an_answer_that_is_given_anew_begins_without_the_old_one_s_thoughts(
    store: Store,
) -> None:
    await finished(store, await store.begin(ALICE, "s1", "question"))
    await store.begin_retry(ALICE, "s1", key="k2")
    assert of((await store.messages(ALICE, "s1"))[1]) == (None, None, AnswerDetails())


async def test_thoughts_follow_a_visitor_who_signs_in(store: Store) -> None:
    await finished(store, await store.begin(ALICE, "s1", "question"))
    assert await store.take_over(BOB, ALICE) == 1
    assert of((await store.messages(BOB, "s1"))[1]) == (THOUGHT, "length", DETAILS)


async def test_nothing_of_an_answer_s_thoughts_stays_when_it_is_deleted(
    store: Store, clock: Clock
) -> None:
    picture = await added(store, clock)
    details = replace(DETAILS, pictures=(PictureRecord(picture, "p.png"),))
    await finished(store, await store.begin(ALICE, "s1", "question"), details)
    await finished(store, await store.begin(ALICE, "s2", "question"))
    await store.delete(ALICE, "s2")
    clock.advance(2 * 3600)
    await Retention(store._database, clock=clock).clean(days=0, idle_seconds=1e9)
    assert [m.thinking for m in await store.messages(ALICE, "s1")] == [None, THOUGHT]
    assert repr(await rows_of(store._database)).count(THOUGHT) == 1
    await store.forget(ALICE)
    assert THOUGHT not in repr(await rows_of(store._database))
    with pytest.raises(UnknownFileError):
        await store.file(ALICE, picture)


async def test_a_picture_becomes_its_answer_s_and_hides_with_it(store: Store, clock: Clock) -> None:
    picture = await added(store, clock)
    ticket = await store.begin(ALICE, "s1", "question")
    details = replace(DETAILS, pictures=(PictureRecord(picture, "p.png"),))
    await finished(store, ticket, details)
    file = await store.file(ALICE, picture)
    assert (file.conversation_id, file.seq) == ("s1", ticket.answer_seq)
    assert [f.file_id for f in await store.files_of(ALICE, "s1", [2])] == [picture]
    await store.delete(ALICE, "s1")
    with pytest.raises(UnknownFileError):
        await store.file(ALICE, picture)


async def test_a_picture_that_is_not_the_owner_s_does_not_become_the_answer_s(
    store: Store, clock: Clock
) -> None:
    theirs = await added(store, clock, BOB)
    details = replace(DETAILS, pictures=(PictureRecord(theirs, "p.png"),))
    await finished(store, await store.begin(ALICE, "s1", "question"), details)
    assert (await store.file(BOB, theirs)).conversation_id is None
    assert await store.files_of(ALICE, "s1") == []
    assert (await store.messages(ALICE, "s1"))[1].status == "interrupted"


async def test_a_receipt_follows_the_one_before_it_in_its_conversation(store: Store) -> None:
    for text in ("one", "two"):
        for conversation in ("s1", "s2"):
            ticket = await store.begin(ALICE, conversation, text)
            await finished(store, ticket, AnswerDetails(receipt={"version": 1, "text": text}))
    chains = []
    for conversation in ("s1", "s2"):
        messages = await store.messages(ALICE, conversation)
        chain = [each.details.receipt for each in messages if each.details.receipt]
        assert [each["text"] for each in chain] == ["one", "two"]
        assert broken(chain) == []
        chains.append(chain)
    assert chains[0] == chains[1]  # the same content has the same hashes

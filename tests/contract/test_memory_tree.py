"""The tree of messages: versions of messages, the path that is shown, and forks."""

from typing import Any

import pytest
import sqlalchemy as sa

from memory.conversations import forks
from memory.conversations.turns import MAX_VERSIONS
from memory.engine.database import Database
from memory.errors import (
    ConversationBusyError,
    ConversationNotFoundError,
    ForkTooLongError,
    MessageNotShownError,
    NotOwnMessageError,
    TooManyVersionsError,
    UnknownFileError,
)
from memory.records import (
    AnswerDetails,
    ContextState,
    ConversationOrigin,
    NewTurn,
    PictureRecord,
)
from memory.schema import agent_messages, agent_sessions
from tests.contract.conftest import ALICE, BOB, LEASE, Clock, Store, rows_of
from tests.contract.test_memory_files import added


async def three_exchanges(store: Store) -> None:
    """Messages 1 to 6."""
    for number in (1, 2, 3):
        await store.exchange(ALICE, "s", f"question {number}", f"answer {number}")


async def again(store: Store, seq: int | None, text: str | None = None) -> int:
    """Retry, or edit, a message and finish the answer; return the answer's seq."""
    ticket = await store.begin_retry(ALICE, "s", key=f"{seq}{text}", seq=seq, text=text)
    assert await store.finish(ALICE, ticket.turn_id, f"new answer {ticket.answer_seq}")
    return ticket.answer_seq


async def path(store: Store, conversation_id: str = "s") -> list[int]:
    return [message.seq for message in await store.messages(ALICE, conversation_id)]


async def summarised(store: Store, before_seq: int) -> None:
    part = await store.claim_older(ALICE, "s", before_seq=before_seq, min_tokens=1)
    assert part is not None
    assert await store.store_summary(ALICE, "s", part, "what was said")


async def test_an_edit_in_the_middle_begins_another_path_and_keeps_the_former(
    store: Store,
) -> None:
    await three_exchanges(store)
    ticket = await store.begin_retry(ALICE, "s", key="k", seq=3, text="other", budget=1000)
    assert (ticket.user_seq, ticket.answer_seq, ticket.parent_seq) == (7, 8, 2)
    assert [m.content for m in ticket.window] == ["question 1", "answer 1", "other"]
    assert await store.finish(ALICE, ticket.turn_id, "answer")
    assert await path(store) == [1, 2, 7, 8]
    assert (await store.conversation(ALICE, "s")).message_count == 4
    shown = await store.messages(ALICE, "s")
    assert await store.versions(ALICE, "s", shown) == {7: (3, 7)}
    await store.select_version(ALICE, "s", 3)
    assert await path(store) == [1, 2, 3, 4, 5, 6]
    assert (await store.conversation(ALICE, "s")).message_count == 6


async def test_the_window_of_a_turn_is_of_the_path_that_is_shown(store: Store) -> None:
    await three_exchanges(store)
    await again(store, 1, "first")
    await store.select_version(ALICE, "s", 1)
    await store.select_version(ALICE, "s", 7)
    ticket = await store.begin_turn(ALICE, NewTurn("s", "next", key="n", budget=1000))
    assert ticket.parent_seq == 8
    assert [m.content for m in ticket.window] == ["first", "new answer 8", "next"]


async def test_a_version_is_shown_with_the_newest_of_what_follows_it(store: Store) -> None:
    await three_exchanges(store)
    await again(store, 5, "other question 3")  # 7, 8
    await again(store, 3, "other question 2")  # 9, 10
    await store.select_version(ALICE, "s", 4)
    assert await path(store) == [1, 2, 3, 4, 7, 8]
    await store.select_version(ALICE, "s", 6)
    assert await path(store) == [1, 2, 3, 4, 5, 6]


async def test_a_retry_of_any_answer_answers_its_question_again(store: Store) -> None:
    await three_exchanges(store)
    assert await again(store, 2) == 7
    assert await path(store) == [1, 7]
    assert await again(store, 1) == 8
    shown = await store.messages(ALICE, "s")
    assert await store.versions(ALICE, "s", shown) == {8: (2, 7, 8)}


@pytest.mark.parametrize(
    ("seq", "text", "refusal"),
    [
        (5, "text", MessageNotShownError),
        (6, None, MessageNotShownError),
        (2, "text", NotOwnMessageError),
        (9, "text", ConversationNotFoundError),
        (0, None, ConversationNotFoundError),
        (2**40, None, ConversationNotFoundError),
    ],
)
async def test_what_cannot_be_answered_again_changes_nothing(
    store: Store, database: Database, seq: int, text: str | None, refusal: type[Exception]
) -> None:
    await three_exchanges(store)
    await again(store, 3, "other")
    before = await rows_of(database)
    with pytest.raises(refusal):
        await store.begin_retry(ALICE, "s", key="k", seq=seq, text=text)
    assert await rows_of(database) == before


async def test_while_an_answer_is_written_nothing_is_selected_or_forked(
    store: Store, database: Database, clock: Clock
) -> None:
    await three_exchanges(store)
    await again(store, 6)
    await store.begin(ALICE, "s", "next")
    before = await rows_of(database)
    for call in (
        store.select_version(ALICE, "s", 6),
        store.fork(ALICE, "s", 2, context={}, copies={}),
        store.plan_fork(ALICE, "s", 2),
        store.begin_retry(ALICE, "s", key="k", seq=2),
    ):
        with pytest.raises(ConversationBusyError):
            await call
    assert await rows_of(database) == before
    clock.advance(LEASE + 1)
    await store.select_version(ALICE, "s", 6)
    assert await path(store) == [1, 2, 3, 4, 5, 6]


async def test_a_key_names_one_edit_also_when_its_message_is_no_longer_shown(
    store: Store, database: Database
) -> None:
    await three_exchanges(store)
    first = await store.begin_retry(ALICE, "s", key="k", seq=3, text="other")
    await store.finish(ALICE, first.turn_id, "answer")
    await store.select_version(ALICE, "s", 3)
    before = await rows_of(database)
    repeated = await store.begin_retry(ALICE, "s", key="k", seq=3, text="other")
    assert (repeated.turn_id, repeated.fresh) == (first.turn_id, False)
    assert await rows_of(database) == before


async def test_a_summary_of_what_is_off_the_path_is_dropped(store: Store) -> None:
    await three_exchanges(store)
    await summarised(store, 5)
    ticket = await store.begin_retry(ALICE, "s", key="k", seq=3, text="other", budget=1000)
    assert (ticket.summary, ticket.summarized_through_seq) == (None, 0)
    await store.finish(ALICE, ticket.turn_id, "answer")
    assert (await store.conversation(ALICE, "s")).summary is None


async def test_a_summary_of_another_path_is_dropped_when_a_version_is_selected(
    store: Store,
) -> None:
    await three_exchanges(store)
    await again(store, 5, "other")  # as long a path
    await summarised(store, 8)
    await store.select_version(ALICE, "s", 5)
    assert (await store.conversation(ALICE, "s")).summary is None
    ticket = await store.begin_turn(ALICE, NewTurn("s", "next", key="n", budget=30))
    assert (ticket.summary, ticket.summarized_through_seq) == (None, 0)


async def test_a_summary_of_what_both_paths_share_stays(store: Store) -> None:
    await three_exchanges(store)
    await summarised(store, 3)
    await again(store, 3, "other")
    await store.select_version(ALICE, "s", 3)
    assert (await store.conversation(ALICE, "s")).summary == "what was said"


@pytest.mark.parametrize("change", ["edit", "select"])
async def test_a_summary_that_comes_after_the_path_has_changed_is_not_stored(
    store: Store, change: str
) -> None:
    await three_exchanges(store)
    if change == "select":
        await again(store, 3, "other")
    before_seq = 8 if change == "select" else 5
    part = await store.claim_older(ALICE, "s", before_seq=before_seq, min_tokens=1)
    assert part is not None
    if change == "select":
        await store.select_version(ALICE, "s", 3)
    else:
        await again(store, 3, "other")
    assert not await store.store_summary(ALICE, "s", part, "what was said there")
    assert (await store.conversation(ALICE, "s")).summary is None


async def test_what_a_session_knows_of_another_path_is_not_taken_up(store: Store) -> None:
    """Another page selects a version: the sequence numbers go on as if nothing had happened."""
    await three_exchanges(store)
    await again(store, 5, "other")  # 7, 8
    ticket = await store.begin_turn(ALICE, NewTurn("s", "on", key="a", budget=1000))  # 9, 10
    await store.finish(ALICE, ticket.turn_id, "yes")
    known = ContextState(ticket.answer_seq, 0, ticket.conversation_created_at)
    await store.select_version(ALICE, "s", 6)
    new = NewTurn("s", "next", key="b", budget=1000, known=known)
    later = await store.begin_turn(ALICE, new)
    assert later.user_seq == known.seq + 1
    assert not later.follows
    assert [m.seq for m in later.window] == [1, 2, 3, 4, 5, 6, 11]


async def test_search_finds_what_is_shown(store: Store) -> None:
    await three_exchanges(store)
    await again(store, 5, "needle")
    assert [hit.seq for hit in await store.search(ALICE, "needle")] == [7]
    await store.select_version(ALICE, "s", 5)
    assert await store.search(ALICE, "needle") == []
    await store.select_version(ALICE, "s", 7)
    assert [hit.seq for hit in await store.search(ALICE, "needle")] == [7]


async def test_a_rating_stays_with_its_version_and_usage_counts_all_of_them(store: Store) -> None:
    await three_exchanges(store)
    await store.rate(ALICE, "s", 6, "dislike")
    await again(store, 6)
    assert [m.feedback for m in await store.messages(ALICE, "s")][-1] is None
    assert (await store.cost(ALICE, "s")).tokens == 4 * 7
    await store.select_version(ALICE, "s", 6)
    assert [m.feedback for m in await store.messages(ALICE, "s")][-1] == "dislike"


async def test_each_version_of_a_question_has_its_files(store: Store, clock: Clock) -> None:
    given = await added(store, clock)
    ticket = await store.begin_turn(
        ALICE, NewTurn("s", "look", key="k", origin=ConversationOrigin(), files=[given])
    )
    await store.finish(ALICE, ticket.turn_id, "x")
    await again(store, 1, "look again")
    await again(store, 3, "and again")
    for seq in (1, 3, 5):
        await store.select_version(ALICE, "s", seq)
        of_message = [(f.seq, f.file_id) for f in await store.files_of(ALICE, "s", [seq])]
        assert of_message == [(seq, given)]
        assert [(f.seq, f.file_id) for f in await store.files_of(ALICE, "s")] == [(seq, given)]
    assert await store.files_of(BOB, "s", [3]) == []


async def test_a_fork_is_a_conversation_of_its_own(store: Store) -> None:
    await three_exchanges(store)
    await store.rate(ALICE, "s", 4, "like")
    await again(store, 3, "other")
    fork = await store.fork(ALICE, "s", 7, context={"model": "m"}, copies={})
    copied = await store.messages(ALICE, fork)
    assert [(m.seq, m.parent_seq, m.content) for m in copied] == [
        (1, 0, "question 1"),
        (2, 1, "answer 1"),
        (3, 2, "other"),
        (4, 3, "new answer 8"),
    ]
    conversation = await store.conversation(ALICE, fork)
    assert (conversation.title, conversation.message_count) == ("Fork: question 1", 4)
    assert conversation.context_data == {"model": "m"}
    assert [m.feedback for m in copied] == [None] * 4
    assert (await store.cost(ALICE, fork)).tokens == 0
    await store.exchange(ALICE, fork, "only here", "yes")
    assert await path(store) == [1, 2, 7, 8]
    await store.delete(ALICE, "s")
    assert await path(store, fork) == [1, 2, 3, 4, 5, 6]


async def test_a_fork_has_a_summary_of_what_it_copies_alone(store: Store) -> None:
    await three_exchanges(store)
    await again(store, 2)  # 7: gaps, which a copy has not
    await store.exchange(ALICE, "s", "question", "answer")  # 8, 9
    await summarised(store, 8)
    whole = await store.fork(ALICE, "s", 9, context={}, copies={})
    assert (await store.conversation(ALICE, whole)).summary == "what was said"
    ticket = await store.begin_turn(ALICE, NewTurn(whole, "next", key="n", budget=30))
    assert ticket.summarized_through_seq == 2
    await summarised(store, 10)
    part = await store.fork(ALICE, "s", 7, context={}, copies={})
    assert (await store.conversation(ALICE, part)).summary is None


async def test_a_fork_needs_copies_of_its_files(
    store: Store, database: Database, clock: Clock
) -> None:
    given, picture = await added(store, clock), await added(store, clock)
    ticket = await store.begin_turn(
        ALICE, NewTurn("s", "look", key="k", origin=ConversationOrigin(), files=[given])
    )
    details = AnswerDetails(pictures=(PictureRecord(picture, "p.png"),))
    await store.finish(ALICE, ticket.turn_id, "see", details=details)
    plan = await store.plan_fork(ALICE, "s", 2)
    assert plan.files == ((1, given), (2, picture))
    first, second = await added(store, clock), await added(store, clock)
    theirs = await added(store, clock, BOB)
    before = await rows_of(database)
    for copies in (
        {},
        {given: first},
        {given: first, picture: theirs},
        {given: given, picture: second},
    ):
        with pytest.raises(UnknownFileError):
            await store.fork(ALICE, "s", 2, context={}, copies=copies)
    assert await rows_of(database) == before
    copies = {given: first, picture: second}
    fork = await store.fork(ALICE, "s", 2, context={}, copies=copies)
    assert [(f.seq, f.file_id) for f in await store.files_of(ALICE, fork)] == [
        (1, first),
        (2, second),
    ]
    assert (await store.messages(ALICE, fork))[1].details.pictures == (
        PictureRecord(second, "p.png"),
    )
    assert [f.file_id for f in await store.files_of(ALICE, "s")] == [given, picture]
    assert (await store.begin(ALICE, fork, "next")).has_files


async def test_a_fork_copies_no_more_than_one_transaction_should(store: Store) -> None:
    ticket = await store.begin(ALICE, "s", "question")
    await store.finish(ALICE, ticket.turn_id, "x" * (forks.MAX_CHARS + 1))
    with pytest.raises(ForkTooLongError):
        await store.fork(ALICE, "s", 2, context={}, copies={})


async def test_another_s_versions_are_none(store: Store) -> None:
    await three_exchanges(store)
    await again(store, 6)
    shown = await store.messages(ALICE, "s")
    assert await store.versions(BOB, "s", shown) == {}
    assert await store.versions(ALICE, "absent", shown) == {}
    assert await store.versions(ALICE, "no id\0", shown) == {}
    await store.delete(ALICE, "s")
    assert await store.versions(ALICE, "s", shown) == {}


async def test_a_message_gets_no_more_versions_than_are_listed(
    store: Store, database: Database, clock: Clock
) -> None:
    await store.exchange(ALICE, "s", "question", "answer")
    template: dict[str, Any] = {"session_id": "s", "owner_id": ALICE, "status": "complete"}
    template |= {"created_at": clock(), "turn_id": "", "superseded": True, "content": "former"}
    kinds = ({"role": "user", "parent_seq": 0}, {"role": "assistant", "parent_seq": 1})
    rows = [
        template | kind | {"seq": 3 + 2 * number + offset}
        for number in range(MAX_VERSIONS - 2)
        for offset, kind in enumerate(kinds)
    ]
    last = {"last_seq": rows[-1]["seq"]}

    def fill(connection: sa.Connection) -> None:
        connection.execute(sa.insert(agent_messages), rows)
        connection.execute(sa.update(agent_sessions).values(last))

    await database.write(fill, owner=ALICE)
    await again(store, 1)
    with pytest.raises(TooManyVersionsError):
        await again(store, None)
    await again(store, 1, "edited")
    with pytest.raises(TooManyVersionsError):
        await again(store, None, "edited once more")
    shown = await store.messages(ALICE, "s")
    assert [m.content for m in shown] == ["edited", f"new answer {shown[1].seq}"]
    listed = await store.versions(ALICE, "s", shown)
    assert len(listed[shown[0].seq]) == MAX_VERSIONS
    await again(store, None)  # the edited one has an answer of its own

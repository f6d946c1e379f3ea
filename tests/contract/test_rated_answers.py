"""The queue of rated answers: of owners who agreed, as long as they agree, and nobody else's."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from memory.conversations.imports import ImportedHead, ImportPart, MessageToImport
from memory.engine.database import Database
from memory.records import ConversationOrigin, RatingExplanation
from memory.reports.rated_answers import (
    RatedAnswer,
    RatedFilter,
    _statement,
    rated_answers,
    rated_conversations,
)
from memory.schema import agent_messages, agent_sessions, agent_turns
from tests.contract.conftest import ALICE, BOB, Clock, Store
from tests.contract.worlds import NOW, STRANGER, in_world

ALL = RatedFilter()


@pytest.fixture
async def two(store: Store, clock: Clock) -> None:
    """Alice and Bob have each rated an answer; Alice lets the operator read."""
    for owner, name in ((ALICE, "alice"), (BOB, "bob")):
        await store.exchange(owner, name, f"{name}'s question", f"{name}'s answer")
        why = RatingExplanation("unsafe", f"{name}'s comment")
        await store.rate(owner, name, 2, "dislike", why)
        clock.advance(1)
    await store.set_consent(ALICE, "ratings", is_given=True)


async def questions(database: Database, wanted: RatedFilter = ALL) -> list[str]:
    return [item.question for item in await rated_answers(database, wanted)]


@pytest.mark.usefixtures("two")
async def test_an_answer_is_shown_with_its_question_and_without_its_owner(
    database: Database, clock: Clock
) -> None:
    (found,) = await rated_answers(database, ALL)
    assert found == RatedAnswer(
        number=found.number,
        rated_at=found.rated_at,
        feedback="dislike",
        reason="unsafe",
        comment="alice's comment",
        agent_id="assistant",
        question="alice's question",
        answer="alice's answer",
        status="complete",
        model="model-1",
        tokens=7,
        cost_micros=None,
        latency_ms=90,
        created_at=found.created_at,
        tools=(),
    )
    assert ALICE not in repr(found)
    assert found.rated_at < clock()


@pytest.mark.usefixtures("two")
async def test_nothing_is_shown_without_consent_nor_once_it_is_withdrawn(
    store: Store, database: Database
) -> None:
    assert await questions(database) == ["alice's question"]
    await store.set_consent(BOB, "ratings", is_given=True)
    assert await questions(database) == ["bob's question", "alice's question"]
    await store.set_consent(ALICE, "ratings", is_given=False)
    assert await questions(database) == ["bob's question"]
    await store.forget(BOB)
    assert await questions(database) == []
    await store.exchange(BOB, "bob", "anew", "answer")
    await store.rate(BOB, "bob", 2, "like")
    assert await questions(database) == []  # the consent was erased, too


@pytest.mark.usefixtures("two")
async def test_one_consent_is_no_other_and_is_taken_back_alone(
    store: Store, database: Database
) -> None:
    await store.set_consent(BOB, "traces", is_given=True)
    assert await questions(database) == ["alice's question"]
    await store.set_consent(ALICE, "traces", is_given=True)
    await store.set_consent(ALICE, "ratings", is_given=False)
    assert await questions(database) == []
    for owner in (ALICE, BOB):
        assert await store.consents(owner) == frozenset({"traces"})


@pytest.mark.usefixtures("two")
async def test_the_rated_conversations_of_who_agreed_are_named_once_and_page_by_page(
    store: Store, database: Database
) -> None:
    async def named(after: str = "") -> list[tuple[str, str]]:
        found = await rated_conversations(database, after=after, limit=1)
        return [(item.owner, item.conversation_id) for item in found]

    await store.exchange(ALICE, "alice", "again", "answer")
    await store.rate(ALICE, "alice", 4, "like")
    await store.exchange(ALICE, "later", "question", "answer")
    await store.exchange(ALICE, "unrated", "question", "answer")
    await store.rate(ALICE, "later", 2, "like")
    assert await named() == [(ALICE, "alice")]
    assert await named("alice") == [(ALICE, "later")]
    assert await named("later") == []
    await store.delete(ALICE, "alice")
    assert await named() == [(ALICE, "later")]
    await store.set_consent(ALICE, "ratings", is_given=False)
    assert await named() == []


@pytest.mark.usefixtures("two")
async def test_nobody_s_consent_moves_with_what_they_have_rated(
    store: Store, database: Database
) -> None:
    await store.take_over("account", ALICE)
    assert await questions(database) == []
    await store.set_consent("account", "ratings", is_given=True)
    assert await questions(database) == ["alice's question"]


@pytest.mark.usefixtures("two")
async def test_a_deleted_conversation_and_a_rating_taken_back_are_not_shown(
    store: Store, database: Database
) -> None:
    await store.delete(ALICE, "alice")
    assert await questions(database) == []
    await store.restore(ALICE, "alice")
    assert await questions(database) == ["alice's question"]
    await store.rate(ALICE, "alice", 2, None)
    assert await questions(database) == []


@pytest.mark.usefixtures("two")
async def test_a_version_that_is_not_shown_stays_in_the_queue(
    store: Store, database: Database
) -> None:
    ticket = await store.begin_retry(ALICE, "alice", key="again")
    await store.finish(ALICE, ticket.turn_id, "another answer")
    (found,) = await rated_answers(database, ALL)
    assert (found.question, found.answer) == ("alice's question", "alice's answer")


async def test_a_filter_finds_what_it_names_and_pages_follow_each_other(
    store: Store, database: Database, clock: Clock
) -> None:
    await store.set_consent(ALICE, "ratings", is_given=True)
    for number in range(6):
        await store.exchange(ALICE, f"c{number}", f"q{number}", "answer")
        if number % 2:
            await store.rate(ALICE, f"c{number}", 2, "like")
        else:
            why = RatingExplanation("other" if number else "unsafe")
            await store.rate(ALICE, f"c{number}", 2, "dislike", why)
        clock.advance(number % 3 == 0)  # some are rated at the same moment
    assert await questions(database, RatedFilter(feedback="like")) == ["q5", "q3", "q1"]
    assert await questions(database, RatedFilter(reason="other")) == ["q4", "q2"]
    assert await questions(database, RatedFilter(feedback="like", reason="other")) == []
    seen: list[str] = []
    wanted = ALL
    while page := await rated_answers(database, wanted, limit=2):
        seen += [item.question for item in page]
        wanted = replace(wanted, before=page[-1].position)
    assert seen == [f"q{number}" for number in reversed(range(6))]


async def test_a_rating_that_was_imported_is_not_in_the_queue(
    store: Store, database: Database, clock: Clock
) -> None:
    await store.set_consent(ALICE, "ratings", is_given=True)
    head = ImportedHead("i", "title", clock(), clock(), "active", ConversationOrigin())
    said = [
        MessageToImport("user", "elsewhere", clock()),
        MessageToImport("assistant", "answer", clock(), feedback="like", feedback_comment="good"),
    ]
    await store.import_part(ALICE, ImportPart(head, 0, said, True))
    assert (await store.messages(ALICE, "i"))[1].feedback_comment == "good"
    assert await questions(database) == []


async def test_what_is_in_part_another_s_is_not_shown(database: Database) -> None:
    rated = sa.update(agent_messages).where(agent_messages.c.seq == 2)
    foreign = sa.update(agent_messages).where(agent_messages.c.seq == 1)

    def shown(connection: sa.Connection) -> list[str]:  # Alice has agreed in each world
        values = {"feedback": "like", "rated_at": NOW, "parent_seq": 1, "role": "assistant"}
        connection.execute(rated.where(agent_messages.c.session_id == "hers").values(values))
        return [row[6] for row in connection.execute(_statement(ALL))]

    def hers(connection: sa.Connection) -> None:
        assert [bool(question) for question in shown(connection)] == [True]

    def of_a_stranger_s_conversation(connection: sa.Connection) -> None:
        assert shown(connection) == []

    def after_a_stranger_s_question(connection: sa.Connection) -> None:
        connection.execute(foreign.values(owner_id=STRANGER))
        assert shown(connection) == [""]

    await in_world(database, {}, hers)
    conversation = {agent_sessions: STRANGER, agent_messages: ALICE}
    await in_world(database, conversation, of_a_stranger_s_conversation)
    turn = {agent_turns: STRANGER, agent_messages: ALICE}  # lets owners differ
    await in_world(database, turn, after_a_stranger_s_question)

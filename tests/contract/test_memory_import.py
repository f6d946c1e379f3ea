"""Imports into the memory: part by part, hidden until the last, of one owner alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memory.conversations.imports import (
    ImportedHead,
    ImportMark,
    ImportPart,
    MessageToImport,
)
from memory.engine.database import Database
from memory.errors import ConversationNotFoundError, InvalidTextError
from memory.maintenance.integrity import faults
from memory.maintenance.retention import DELETED_KEPT, Retention
from memory.records import (
    AnswerDetails,
    ConversationOrigin,
    PictureRecord,
    SourceRecord,
    StoredFile,
    ToolRecord,
)
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

LONG_AGO = datetime(2020, 2, 3, 4, 5, tzinfo=UTC)
HEAD = ImportedHead(
    "new", "A title", LONG_AGO, LONG_AGO + timedelta(days=1), "inactive", ConversationOrigin()
)


def message(role: Any, text: str, **more: Any) -> MessageToImport:
    return MessageToImport(role, text, LONG_AGO, **more)


def part(*messages: MessageToImport, after: int = 0, is_last: bool = True) -> ImportPart:
    return ImportPart(HEAD, after, messages, is_last)


async def test_a_conversation_appears_whole_with_its_times_and_is_found(store: Store) -> None:
    first = part(message("user", "a zebra"), message("assistant", "striped"), is_last=False)
    assert await store.import_part(ALICE, first) == 2
    assert await store.conversations(ALICE) == []
    assert await store.search(ALICE, "zebra") == []
    with pytest.raises(ConversationNotFoundError):
        await store.conversation(ALICE, "new")
    assert await store.import_part(ALICE, part(message("user", "more"), after=2)) == 3
    (stored,) = await store.conversations(ALICE)
    assert stored.started_at == LONG_AGO
    assert stored.last_activity_at == LONG_AGO + timedelta(days=1)
    assert (stored.title, stored.message_count, stored.status) == ("A title", 3, "inactive")
    messages = await store.messages(ALICE, "new")
    assert [item.seq for item in messages] == [1, 2, 3]
    assert {item.turn_id for item in messages} == {""}
    assert {item.created_at for item in messages} == {LONG_AGO}
    (hit,) = await store.search(ALICE, "zebr")
    assert (hit.conversation_id, hit.seq) == ("new", 1)


async def test_answers_in_a_row_are_answered_again_and_forked_by_their_question(
    store: Store,
) -> None:
    roles = ("assistant", "user", "assistant", "assistant", "user", "user")
    messages = [message(role, f"{role} {seq}") for seq, role in enumerate(roles, start=1)]
    await store.import_part(ALICE, part(*messages))
    lone = await store.fork(ALICE, "new", 5, context={}, copies={})
    assert [m.content for m in await store.messages(ALICE, lone)][4:] == ["user 5"]
    with pytest.raises(ConversationNotFoundError):  # no question stands before it
        await store.begin_retry(ALICE, "new", key="first", seq=1)
    ticket = await store.begin_retry(ALICE, "new", key="second", seq=4)
    assert ticket.user_seq == 2
    assert await store.finish(ALICE, ticket.turn_id, "once more")
    shown = await store.messages(ALICE, "new")
    assert [(m.seq, m.parent_seq) for m in shown] == [(1, 0), (2, 1), (7, 2)]


async def test_a_tree_is_stored_with_its_path_and_other_versions_can_be_shown(
    store: Store, database: Database
) -> None:
    tree = [
        message("user", "q", parent_seq=0),
        message("assistant", "a", parent_seq=1, is_shown=False),
        message("user", "follows a", parent_seq=2, is_shown=False),
        message("assistant", "b", parent_seq=1),
    ]
    assert await store.import_part(ALICE, part(*tree[:3], is_last=False)) == 3
    assert await store.import_part(ALICE, part(tree[3], after=3)) == 4
    assert (await store.conversation(ALICE, "new")).message_count == 2
    shown = await store.messages(ALICE, "new")
    assert [item.content for item in shown] == ["q", "b"]
    assert await store.versions(ALICE, "new", shown) == {4: (2, 4)}
    await store.select_version(ALICE, "new", 2)
    assert [item.content for item in await store.messages(ALICE, "new")] == ["q", "a", "follows a"]
    assert (await store.conversation(ALICE, "new")).message_count == 3
    assert not any((await faults(database)).values())


async def test_a_question_beside_an_answer_is_a_version_that_can_be_shown(store: Store) -> None:
    tree = [
        message("user", "q"),
        message("assistant", "a", parent_seq=1, is_shown=False),
        message("user", "another", parent_seq=1),
    ]
    await store.import_part(ALICE, part(*tree))
    shown = await store.messages(ALICE, "new")
    assert await store.versions(ALICE, "new", shown) == {3: (2, 3)}
    await store.select_version(ALICE, "new", 2)
    assert [item.content for item in await store.messages(ALICE, "new")] == ["q", "a"]


@pytest.mark.parametrize(
    ("parents", "shown"),
    [
        ((0, 2), (True, True)),  # its own parent
        ((0, 3), (True, True)),
        ((0, -1), (True, True)),
        ((0, 0), (True, True)),  # two shown beginnings
        ((0, 1), (False, True)),  # shown behind what is not
    ],
)
@pytest.mark.parametrize("size", [1, 2])
async def test_messages_that_are_no_tree_with_one_path_are_refused(
    store: Store, parents: tuple[int, ...], shown: tuple[bool, ...], size: int
) -> None:
    tree = [
        message("user", "x", parent_seq=parent, is_shown=is_shown)
        for parent, is_shown in zip(parents, shown, strict=True)
    ]
    with pytest.raises(ValueError, match=r"shown|before"):
        for start in range(0, 2, size):
            await store.import_part(
                ALICE, part(*tree[start : start + size], after=start, is_last=start + size == 2)
            )
    assert await store.conversations(ALICE) == []


async def test_what_an_owner_has_imported_is_known_to_that_owner_alone(store: Store) -> None:
    mark = ImportMark("source", "digest")
    head = replace(HEAD, mark=mark)
    await store.import_part(ALICE, ImportPart(head, 0, [message("user", "x")], is_last=False))
    assert await store.known_import(ALICE, mark) is None
    await store.import_part(ALICE, ImportPart(head, 1, [], is_last=True))
    assert await store.known_import(ALICE, mark) == "same"
    assert await store.known_import(ALICE, replace(mark, digest="other")) == "changed"
    assert await store.known_import(ALICE, replace(mark, source="other")) is None
    assert await store.known_import(BOB, mark) is None
    await store.delete(ALICE, "new")
    assert await store.known_import(ALICE, mark) is None


async def test_a_version_has_the_files_of_the_one_before_it(store: Store) -> None:
    file = StoredFile("hers", None, None, "f.txt", "text/plain", "document", 1, 1, "t", LONG_AGO)
    await store.add_file(ALICE, file, bound_of=lambda *_: None)
    first = message("user", "see", parent_seq=0, is_shown=False, file_ids=["hers"])
    await store.import_part(
        ALICE, part(first, message("user", "edited", parent_seq=0, files_seq=1))
    )
    files = await store.files_of(ALICE, "new", [1, 2])
    assert [(each.file_id, each.seq) for each in files] == [("hers", 1), ("hers", 2)]


async def test_an_imported_conversation_goes_on(store: Store) -> None:
    await store.import_part(ALICE, part(message("user", "a"), message("assistant", "b")))
    await store.exchange(ALICE, "new", "c", "d")
    assert await store.texts(ALICE, "new") == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    assert (await store.conversation(ALICE, "new")).message_count == 4


async def test_what_an_answer_has_is_stored_with_it(store: Store) -> None:
    details = AnswerDetails(thinking_ms=5, sources=(SourceRecord("https://a.example", "A"),))
    answer = message(
        "assistant",
        "yes",
        status="interrupted",
        model_used="gpt-4o",
        thinking="hm",
        tool_calls=[ToolRecord("", "calc", {"a": 1}, "2", True, 0)],
        finish_reason="length",
        feedback="like",
        details=details,
    )
    await store.import_part(ALICE, part(answer))
    (stored,) = await store.messages(ALICE, "new")
    assert (stored.status, stored.model_used, stored.thinking) == ("interrupted", "gpt-4o", "hm")
    assert (stored.finish_reason, stored.feedback, stored.details) == ("length", "like", details)
    assert stored.tool_calls == tuple(answer.tool_calls)
    assert stored.tokens_used is None
    assert (await store.usage_since(ALICE, LONG_AGO)).tokens == 0


async def test_files_become_the_messages_own_where_they_are_the_owner_s(store: Store) -> None:
    for owner, file_id in ((ALICE, "hers"), (ALICE, "picture"), (BOB, "his")):
        file = StoredFile(
            file_id, None, None, "f.txt", "text/plain", "document", 1, 1, "t", LONG_AGO
        )
        await store.add_file(owner, file, bound_of=lambda *_: None)
    picture = AnswerDetails(pictures=(PictureRecord("picture", "f.txt"),))
    question = message("user", "see", file_ids=["hers", "his"])
    answer = message("assistant", "seen", file_ids=["picture"], details=picture)
    await store.import_part(ALICE, part(question, answer))
    files = await store.files_of(ALICE, "new")
    assert [(file.file_id, file.seq) for file in files] == [("hers", 1), ("picture", 2)]
    assert [file.file_id for file in await store.all_files(BOB)] == ["his"]
    assert (await store.file(BOB, "his")).conversation_id is None


@pytest.mark.parametrize("after", [1, 3])
async def test_a_part_that_does_not_follow_is_refused(store: Store, after: int) -> None:
    two = part(message("user", "a"), message("assistant", "b"), is_last=False)
    await store.import_part(ALICE, two)
    with pytest.raises(ConversationNotFoundError):
        await store.import_part(ALICE, part(message("user", "c"), after=after))
    await store.import_part(ALICE, part(after=2))
    assert len(await store.texts(ALICE, "new")) == 2


async def test_no_part_comes_to_another_s_conversation_or_to_a_complete_one(
    store: Store, database: Database
) -> None:
    await store.import_part(ALICE, part(message("user", "hers"), is_last=False))
    await store.exchange(ALICE, "complete", "a", "b")
    before = await rows_of(database)
    for owner, conversation, after in (
        (BOB, "new", 1),
        (BOB, "new", 0),
        (BOB, "complete", 0),
        (BOB, "complete", 2),
        (ALICE, "complete", 0),
        (ALICE, "complete", 2),
    ):
        head = replace(HEAD, conversation_id=conversation)
        with pytest.raises(ConversationNotFoundError):
            await store.import_part(owner, ImportPart(head, after, [message("user", "x")], True))
    assert await rows_of(database) == before


async def test_what_was_cut_off_goes_with_the_deleted_ones(
    store: Store, database: Database, clock: Clock
) -> None:
    await store.import_part(ALICE, part(message("user", "a"), is_last=False))
    retention = Retention(database, clock=clock)
    clock.advance(DELETED_KEPT - 1)
    await store.import_part(ALICE, part(message("assistant", "b"), after=1, is_last=False))
    clock.advance(DELETED_KEPT - 1)
    assert (await retention.clean(days=0, idle_seconds=1e9)).purged == 0
    clock.advance(2)
    assert (await retention.clean(days=0, idle_seconds=1e9)).purged == 1
    assert not (await rows_of(database))["agent_messages"]


async def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    store: Store, database: Database
) -> None:
    for wrong in (
        part(message("user", "a\0b")),
        part(message("assistant", "b", thinking="\ud800")),
        part(message("assistant", "b", model_used="\0")),
        replace(part(message("user", "a")), head=replace(HEAD, title="\0")),
    ):
        with pytest.raises(InvalidTextError):
            await store.import_part(ALICE, wrong)
    with pytest.raises(ValueError, match="too many"):
        await store.import_part(ALICE, part(*[message("user", "a")] * 501))
    assert not (await rows_of(database))["agent_sessions"]


async def test_forgetting_takes_what_is_half_imported(store: Store, database: Database) -> None:
    await store.import_part(ALICE, part(message("user", "a"), is_last=False))
    await store.forget(ALICE)
    with pytest.raises(ConversationNotFoundError):
        await store.import_part(ALICE, part(message("assistant", "b"), after=1))
    assert not (await rows_of(database))["agent_sessions"]
    assert not any((await faults(database)).values())

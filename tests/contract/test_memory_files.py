"""Files of a user's messages, on each database."""

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from memory.conversations.files import UsedBytes
from memory.engine.database import Database
from memory.errors import ConversationNotFoundError, QuotaExceededError, UnknownFileError
from memory.maintenance.retention import Retention
from memory.records import ConversationOrigin, NewTurn, StoredFile
from tests.contract.conftest import ALICE, BOB, Clock, Store, rows_of

ROOM = 1_000


def own_room(used: UsedBytes, wanted: int) -> str | None:
    return "owner" if used.owner + wanted > ROOM else None


def a_file(clock: Clock, size: int = 10) -> StoredFile:
    return StoredFile(
        secrets.token_hex(16), None, None, "ä.txt", "text/plain", "document", size, size, "words",
        clock(), "cut:200000",
    )  # fmt: skip


async def added(store: Store, clock: Clock, owner: str = ALICE) -> str:
    file = a_file(clock)
    await store.add_file(owner, file, bound_of=own_room)
    return file.file_id


async def asked(store: Store, owner: str, session: str, *files: str, key: str = "k") -> bool:
    ticket = await store.begin_turn(
        owner, NewTurn(session, "look", key=key, origin=ConversationOrigin(), files=files)
    )
    await store.finish(owner, ticket.turn_id, "seen")
    return ticket.fresh


async def test_a_file_is_kept_as_it_was_and_given_to_one_message(
    store: Store, clock: Clock
) -> None:
    file = a_file(clock)
    await store.add_file(ALICE, file, bound_of=own_room)
    assert await store.file(ALICE, file.file_id) == file
    ticket = await store.begin_turn(
        ALICE,
        NewTurn(
            "s1", "look", key="k", origin=ConversationOrigin(), files=[file.file_id, file.file_id]
        ),
    )
    assert ticket.has_files
    of_message = replace(file, conversation_id="s1", seq=ticket.user_seq)
    assert await store.files_of(ALICE, "s1") == [of_message]
    assert await store.files_of(ALICE, "s1", [ticket.user_seq]) == [of_message]
    assert await store.files_of(ALICE, "s1", [ticket.answer_seq]) == []
    again = await store.begin_turn(
        ALICE, NewTurn("s1", "look", key="k", origin=ConversationOrigin(), files=[file.file_id])
    )
    assert (again.turn_id, again.fresh) == (ticket.turn_id, False)


async def test_a_message_of_files_alone_names_its_conversation_by_them(
    store: Store, clock: Clock
) -> None:
    files = [await added(store, clock), await added(store, clock)]
    theirs = await added(store, clock, BOB)
    with pytest.raises(UnknownFileError):
        await store.begin_turn(
            ALICE, NewTurn("s1", "", key="k", origin=ConversationOrigin(), files=[theirs])
        )
    ticket = await store.begin_turn(
        ALICE, NewTurn("s1", "", key="k", origin=ConversationOrigin(), files=files, budget=1_000)
    )
    assert [(message.role, message.content) for message in ticket.window] == [("user", "")]
    await store.finish(ALICE, ticket.turn_id, "seen")
    assert (await store.conversation(ALICE, "s1")).title == "ä.txt, ä.txt"
    edited = await store.begin_retry(ALICE, "s1", key="e", text="what is this?")
    await store.finish(ALICE, edited.turn_id, "words")
    assert (await store.conversation(ALICE, "s1")).title == "what is this?"
    await store.select_version(ALICE, "s1", ticket.user_seq)
    assert (await store.conversation(ALICE, "s1")).title == "ä.txt, ä.txt"


async def test_a_conversation_says_whether_it_ever_had_files(store: Store, clock: Clock) -> None:
    assert not (await store.begin(ALICE, "s0", "none")).has_files
    await asked(store, ALICE, "s1", await added(store, clock))
    later = await store.begin(ALICE, "s1", "more")
    assert later.has_files
    await store.finish(ALICE, later.turn_id, "x")
    assert (await store.begin_retry(ALICE, "s1", key="r")).has_files


@pytest.mark.parametrize("case", ["another's", "absent", "given", "no id", "too many"])
async def test_what_cannot_be_attached_stores_nothing(
    store: Store, database: Database, clock: Clock, case: str
) -> None:
    own = await added(store, clock)
    given = await added(store, clock)
    await asked(store, ALICE, "s0", given)
    wrong = {
        "another's": [await added(store, clock, BOB)],
        "absent": ["0" * 32],
        "given": [given],
        "no id": ["a b\0"],
        "too many": [await added(store, clock) for _ in range(10)],
    }[case]
    before = await rows_of(database)
    for session in ("s0", "new"):
        with pytest.raises(UnknownFileError):
            await store.begin_turn(
                ALICE,
                NewTurn(
                    session, "mine", key="k2", origin=ConversationOrigin(), files=[own, *wrong]
                ),
            )
    assert await rows_of(database) == before


async def test_another_s_file_is_one_that_is_not_there(
    store: Store, database: Database, clock: Clock
) -> None:
    file_id = await added(store, clock)
    await asked(store, ALICE, "s1", await added(store, clock))
    before = await rows_of(database)
    for wanted in (file_id, "0" * 32, file_id[:-1], file_id.upper() + "x", "", "%", "\0"):
        for call in (store.file, store.remove_file):
            with pytest.raises(UnknownFileError, match="no such file"):
                await call(BOB, wanted)
    assert await store.files_of(BOB, "s1") == await store.files_of(BOB, "s1", [1]) == []
    assert await store.forget_files(BOB) == []
    assert (await store.used_bytes(BOB)).owner == 0
    assert await rows_of(database) == before


async def test_only_a_file_without_a_message_can_be_removed(store: Store, clock: Clock) -> None:
    free, given = await added(store, clock), await added(store, clock)
    await asked(store, ALICE, "s1", given)
    await store.remove_file(ALICE, free)
    for gone in (free, given):
        with pytest.raises(UnknownFileError):
            await store.remove_file(ALICE, gone)
    assert [f.file_id for f in await store.files_of(ALICE, "s1")] == [given]


async def test_uploads_at_once_cannot_all_take_the_last_room(store: Store, clock: Clock) -> None:
    files = [a_file(clock, 400) for _ in range(6)]
    told = await asyncio.gather(
        *(store.add_file(ALICE, file, bound_of=own_room) for file in files), return_exceptions=True
    )
    assert sum(isinstance(error, QuotaExceededError) for error in told) == 4
    assert (await store.used_bytes(ALICE)).owner == 800
    await store.add_file(BOB, a_file(clock, 400), bound_of=own_room)


async def test_files_go_with_their_conversation_and_hide_with_it(
    store: Store, database: Database, clock: Clock
) -> None:
    given = await added(store, clock)
    await asked(store, ALICE, "s1", given)
    await store.delete(ALICE, "s1")
    assert await store.files_of(ALICE, "s1") == []
    with pytest.raises(UnknownFileError):
        await store.file(ALICE, given)
    await store.restore(ALICE, "s1")
    assert (await store.file(ALICE, given)).conversation_id == "s1"
    await store.delete(ALICE, "s1")
    clock.advance(3601)
    await Retention(database, clock=clock).clean(days=0, idle_seconds=1e9)
    assert (await rows_of(database))["agent_files"] == []


async def test_what_was_never_sent_goes_after_a_day(
    store: Store, database: Database, clock: Clock
) -> None:
    old, given = await added(store, clock), await added(store, clock)
    await asked(store, ALICE, "s1", given)
    clock.advance(timedelta(hours=23).total_seconds())
    new = await added(store, clock)
    retention = Retention(database, clock=clock)
    clock.advance(3601)
    await retention.clean(days=0, idle_seconds=1e9)
    assert await retention.existing_files([old, given, new, "x"]) == {given, new}


async def test_an_edited_question_keeps_its_files(store: Store, clock: Clock) -> None:
    given = await added(store, clock)
    await asked(store, ALICE, "s1", given)
    edited = await store.begin_retry(ALICE, "s1", key="e", text="look again")
    assert [f.seq for f in await store.files_of(ALICE, "s1")] == [edited.user_seq]
    await store.finish(ALICE, edited.turn_id, "x")
    retried = await store.begin_retry(ALICE, "s1", key="r")
    assert retried.user_seq == edited.user_seq


async def test_files_follow_a_visitor_who_signs_in(store: Store, clock: Clock) -> None:
    free, given, other = [await added(store, clock) for _ in range(2)] + [
        await added(store, clock, "user:carol")
    ]
    await asked(store, ALICE, "s1", given)
    await store.take_over(BOB, ALICE)
    assert (await store.file(BOB, free)).file_id == free
    assert [f.file_id for f in await store.files_of(BOB, "s1")] == [given]
    assert (await store.used_bytes(ALICE)).owner == 0
    assert (await store.file("user:carol", other)).file_id == other


async def test_forgetting_takes_all_files_of_one_owner(
    store: Store, database: Database, clock: Clock
) -> None:
    hers = {await added(store, clock), await added(store, clock)}
    given = await added(store, clock)
    await asked(store, ALICE, "s1", given)
    theirs = await added(store, clock, BOB)
    assert set(await store.forget_files(ALICE)) == {*hers, given}
    await added(store, clock)
    await store.forget(ALICE)
    assert [row[0] for row in (await rows_of(database))["agent_files"]] == [theirs]


async def test_files_need_a_conversation_of_the_same_owner(store: Store, clock: Clock) -> None:
    await store.exchange(BOB, "bobs", "hi", "ho")
    own = await added(store, clock)
    with pytest.raises(ConversationNotFoundError):
        await asked(store, ALICE, "bobs", own)
    assert (await store.file(ALICE, own)).conversation_id is None


async def test_the_bytes_of_a_network_and_of_all_count_beside_the_owners(
    store: Store, clock: Clock
) -> None:
    def bound_of(used: UsedBytes, wanted: int) -> str | None:
        if (used.network or 0) + wanted > 1_000:
            return "network"
        return "app" if used.total + wanted > 1_500 else None

    for owner, network in ((ALICE, "n1"), (BOB, "n1"), (BOB, None)):
        file = a_file(clock, 400)
        await store.add_file(owner, file, network=network, bound_of=bound_of)
    assert await store.used_bytes(ALICE, "n1") == UsedBytes(400, 800, 1_200)
    assert await store.used_bytes(ALICE) == UsedBytes(400, None, 1_200)
    with pytest.raises(QuotaExceededError) as refused:
        await store.add_file("vcarol", a_file(clock, 300), network="n1", bound_of=bound_of)
    assert (refused.value.bound, refused.value.used) == ("network", 0)
    with pytest.raises(QuotaExceededError) as refused:
        await store.add_file("vcarol", a_file(clock, 400), network="n2", bound_of=bound_of)
    assert refused.value.bound == "app"
    await store.forget_files(ALICE)
    await store.add_file("vcarol", a_file(clock, 300), network="n1", bound_of=bound_of)


async def test_uploads_at_once_of_different_owners_cannot_all_take_the_last_room(
    store: Store, clock: Clock
) -> None:
    def bound_of(used: UsedBytes, wanted: int) -> str | None:
        return "app" if used.total + wanted > ROOM else None

    told = await asyncio.gather(
        *(
            store.add_file(f"v{number}", a_file(clock, 400), bound_of=bound_of)
            for number in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(error, QuotaExceededError) for error in told) == 4
    assert (await store.used_bytes("v0")).total == 800

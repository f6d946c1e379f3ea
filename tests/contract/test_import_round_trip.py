"""What one owner exports as an archive, another imports: the same texts in the same order."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmw_agent.conversations.archive_export import ArchiveExport
from cmw_agent.conversations.changes import ConversationChanges
from cmw_agent.conversations.importing.run import ImportTarget
from cmw_agent.conversations.importing.service import ImportService
from cmw_agent.conversations.importing.worker import PART_MESSAGES
from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import SessionRegistry
from cmw_agent.files.copies import FileCopies
from cmw_agent.files.service import Files
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from memory.conversations.imports import ImportedHead, ImportPart, MessageToImport
from memory.engine.database import Database
from memory.maintenance.integrity import faults
from memory.records import (
    MAX_COMMENT_CHARS,
    AnswerDetails,
    Arrangement,
    ConversationOrigin,
    FeedbackReason,
    SourceRecord,
    StoredMessage,
    ToolRecord,
)
from tests.campaigns import campaign
from tests.contract.conftest import Store
from tests.harness import settings_for

ALICE, BOB = Principal("v" + "a" * 32, "visitor"), Principal("v" + "b" * 32, "visitor")
START = datetime(2021, 1, 1, tzinfo=UTC)
TRIPS = campaign("CMW_IMPORT_TRIPS")  # for each database
TARGET = ImportTarget("assistant", frozenset({"assistant"}))

# As the app stores them: users' messages without controls and white space around them.
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
questions = st.builds(lambda text: f"q{text}q", texts)
answers = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
tools = st.builds(
    ToolRecord,
    id=st.just(""),
    name=st.sampled_from(("calculate", "search")),
    arguments=st.dictionaries(texts, texts | st.integers(-9, 9) | st.none(), max_size=2),
    result=answers,
    ok=st.booleans(),
    duration_ms=st.just(0),
)
details = st.builds(
    AnswerDetails,
    thinking_ms=st.integers(0, 9_999),
    sources=st.lists(st.builds(SourceRecord, answers, answers), max_size=2).map(tuple),
)
moments = st.integers(0, 10**8).map(lambda seconds: START + timedelta(seconds=seconds))
comments = answers.map(lambda text: text[:MAX_COMMENT_CHARS].strip() or None)


def rated(message: MessageToImport) -> st.SearchStrategy[MessageToImport]:
    """The message without a rating, and with each that a user can give."""
    return (
        st.just(message)
        | st.builds(replace, st.just(message), feedback=st.just("like"), feedback_comment=comments)
        | st.builds(
            replace,
            st.just(message),
            feedback=st.just("dislike"),
            feedback_reason=st.sampled_from((None, *get_args(FeedbackReason))),
            feedback_comment=comments,
        )
    )


messages = st.lists(
    st.builds(MessageToImport, st.just("user"), questions, moments)
    | st.builds(
        MessageToImport,
        st.just("assistant"),
        answers,
        moments,
        status=st.sampled_from(("complete", "interrupted", "failed")),
        model_used=st.sampled_from((None, "gpt-4o")),
        thinking=st.none() | answers.filter(bool),
        tool_calls=st.lists(tools, max_size=2),
        finish_reason=st.sampled_from((None, "length")),
        details=details,
    ).flatmap(rated),
    min_size=1,
    max_size=8,
)


def tree(drafts: Sequence[MessageToImport], parents: Sequence[int]) -> list[MessageToImport]:
    """Make a tree of messages: each follows one before it, and the newest ends the shown path."""
    seqs = [choice % seq for seq, choice in zip(range(1, 99), parents, strict=False)]
    shown, seq = set(), len(drafts)
    while seq:
        shown.add(seq)
        seq = seqs[seq - 1]
    return [
        replace(draft, parent_seq=seqs[at], is_shown=at + 1 in shown)
        for at, draft in enumerate(drafts)
    ]


parents = st.lists(st.integers(0, 99), min_size=8, max_size=8)
trees = st.builds(tree, messages, parents)
arrangements = st.builds(Arrangement, st.booleans(), st.booleans(), st.none() | questions)
conversations = st.lists(st.tuples(questions, trees, arrangements), min_size=1, max_size=3)


class House:
    """The services over one database, as a process has them."""

    def __init__(self, store: Store, folder: Path) -> None:
        found = settings_for(folder, max_tool_calls=1)
        budgets = Budgets.of(found)

        async def known(ids: Sequence[str]) -> set[str]:
            return set(ids)

        maker: Any = None
        files = Files(found, lambda _: store, known, budgets)
        registry = SessionRegistry(maker, capacity=1, idle_seconds=1)
        self.imports = ImportService(found, lambda _: store, files, budgets)
        copies = FileCopies(found, lambda _: store, budgets)
        self.history = ConversationService(
            lambda _: store,
            registry,
            RunningTurns(),
            files,
            copies,
            self.imports,
            budgets,
            ConversationChanges(),
        )
        self.store = store

    async def archive(self, principal: Principal, *, with_versions: bool = True) -> bytes:
        export = ArchiveExport(
            self.history, principal, START, with_thinking=True, with_versions=with_versions
        )
        return b"".join([piece async for piece in export.everything()])

    async def imported(self, principal: Principal, data: bytes) -> dict[str, Any]:
        async def body() -> AsyncGenerator[bytes]:
            source = io.BytesIO(data)
            while piece := source.read(1_000_000):
                yield piece

        return [line async for line in self.imports.run(principal, TARGET, body())][-1]

    async def contents(self, principal: Principal) -> list[Any]:
        """Return what stands in all conversations, newest first."""
        found = []
        async for item in self.history.conversations(principal):
            pages = self.history.messages(principal, item.conversation_id, all_versions=True)
            stored = [bare(message) async for page in pages for message in page]
            order = (item.is_pinned, item.is_archived, item.folder)
            found.append((item.title, item.started_at, item.message_count, order, stored))
        return found


def bare(message: StoredMessage) -> StoredMessage:
    return replace(message, turn_id="", error_id=None)


async def fill(store: Store, given_conversations: Any) -> None:
    for number, (title, given_messages, arrangement) in enumerate(given_conversations):
        at = START + timedelta(days=number)
        origin = ConversationOrigin()
        head = ImportedHead(f"c{number}", title, at, at, "active", origin, None, arrangement)
        await store.import_part(ALICE.id, ImportPart(head, 0, given_messages, True))


async def test_what_is_exported_with_all_versions_is_imported_the_same_and_once(
    store: Store, database: Database, tmp_path: Path
) -> None:
    house, loop = House(store, tmp_path), asyncio.get_running_loop()

    async def trip(given_conversations: Any) -> None:
        for principal in (ALICE, BOB):
            await store.forget(principal.id)
        await fill(store, given_conversations)
        archive, count = await house.archive(ALICE), len(given_conversations)
        done = await house.imported(BOB, archive)
        assert (done["is_complete"], done["imported"], done["refused"]) == (True, count, 0)
        before = await house.contents(ALICE)
        assert await house.contents(BOB) == before
        assert not any((await faults(database)).values())
        # Of what is here already nothing comes a second time: neither to the importer, nor to
        # the one who has exported it, nor where the file has the shown path alone.
        shown = await house.archive(ALICE, with_versions=False)
        for principal, again in ((BOB, archive), (ALICE, archive), (ALICE, shown)):
            done = await house.imported(principal, again)
            assert (done["imported"], done["skipped"]) == (0, count)
        assert await house.contents(BOB) == await house.contents(ALICE) == before

    @settings(
        max_examples=TRIPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(conversations)
    def trips(given_conversations: Any) -> None:
        asyncio.run_coroutine_threadsafe(trip(given_conversations), loop).result()

    await asyncio.to_thread(trips)


async def imported_messages(store: Store, house: House, count: int) -> dict[str, Any]:
    """Import a conversation of so many messages, and find it stored; return its record."""
    record: dict[str, Any] = {"title": "long", "started_at": START.isoformat()}
    roles = ("user", "assistant")
    record["messages"] = [{"role": roles[n % 2], "content": f"number {n}"} for n in range(count)]
    done = await house.imported(BOB, json.dumps(record).encode())
    assert done["sentence"] == "1 conversation from this app was imported."
    (item,) = await store.conversations(BOB.id)
    assert item.message_count == count
    last = await store.messages(BOB.id, item.conversation_id, limit=1)
    assert (last[0].seq, last[0].content) == (count, f"number {count - 1}")
    return record


async def test_messages_of_many_parts_become_one_conversation(store: Store, tmp_path: Path) -> None:
    await imported_messages(store, House(store, tmp_path), 50 * PART_MESSAGES + 1)


@pytest.mark.slow
async def test_a_hundred_thousand_messages_become_one_conversation_and_one_more_none(
    file_store: Store, tmp_path: Path
) -> None:
    house = House(file_store, tmp_path)
    record = await imported_messages(file_store, house, 100_000)
    record["messages"].append({"role": "user", "content": "one too many"})
    done = await house.imported(BOB, json.dumps(record).encode())
    assert "more than 100,000 messages" in done["sentence"]

"""Forks of conversations with files: copies under an upload's limits, and none left behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.chat.approval_gate import ALWAYS
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import NotFoundError, ServiceUnavailableError, UserError
from cmw_agent.files.copies import FileCopies
from cmw_agent.limits.limiter import RateLimitError
from cmw_agent.runtime.runtime import Runtime
from memory.maintenance.retention import UNSENT_KEPT
from tests.harness import settings_for
from tests.rows import rows
from tests.service import all_events, running_app, session_of

CONTENT = b"The ship is the Aurora. " * 20  # kept twice: as bytes and as text


async def body() -> AsyncIterator[bytes]:
    yield CONTENT


async def with_file(runtime: Runtime, **changes: Any) -> tuple[LiveSession, str]:
    """Return a session whose conversation has a message with a file; and the file's id."""
    session = await session_of(runtime)
    file = await runtime.files.add(session.principal, "ship.txt", "", body(), "192.0.2.1")
    await all_events(runtime.chat.turn(session, "look", key="1", files=[file.file_id], **changes))
    return session, file.file_id


def stored_files(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "files").glob("??/*"))


async def test_a_fork_has_copies_of_its_files(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session, given = await with_file(runtime)
        conversation = session.conversation_id
        assert conversation is not None
        fork = await runtime.history.fork(session.principal, conversation, 1, "192.0.2.1")
        (copy,) = await session.memory.files_of(session.owner, fork)
        assert copy.file_id != given
        await runtime.history.delete(session.principal, conversation)
        _, path = await runtime.files.open(session.principal, copy.file_id)
        assert await asyncio.to_thread(path.read_bytes) == CONTENT
        assert (await runtime.files.contents(session.principal, fork, [1], chars=100))[1]
        stranger = await session_of(runtime, "bob")
        with pytest.raises(NotFoundError):
            await runtime.files.open(stranger.principal, copy.file_id)
        with pytest.raises(NotFoundError):
            await runtime.history.fork(stranger.principal, fork, 1)


async def test_a_fork_that_does_not_fit_into_the_quota_leaves_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, file_quota_bytes=3 * len(CONTENT), disk_spare_bytes=0)
    async with running_app(settings) as runtime:
        session, _ = await with_file(runtime)
        assert session.conversation_id is not None
        with pytest.raises(UserError):
            await runtime.history.fork(session.principal, session.conversation_id, 1)
        assert stored_files(tmp_path) == 1
        assert len(rows(tmp_path, "SELECT * FROM agent_files")) == 1
        assert len(rows(tmp_path, "SELECT * FROM agent_sessions")) == 1


async def test_a_copy_of_an_old_file_is_a_new_upload_which_the_clean_up_leaves(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path)
    async with running_app(settings) as runtime:
        session, given = await with_file(runtime)
        file, _ = await runtime.files.open(session.principal, given)
        old = replace(file, created_at=file.created_at - timedelta(seconds=UNSENT_KEPT + 1))
        copies = FileCopies(settings, lambda _: session.memory, runtime.budgets)
        async with copies.adopted(session.principal, [old], None) as ids:
            await runtime.services.retention.clean(days=0, idle_seconds=1e9)
            copy, _ = await runtime.files.open(session.principal, ids[given])
        assert (copy.conversation_id, copy.seq, copy.text) == (None, None, file.text)
        assert runtime.budgets.used("uploads") == 0


async def test_bytes_that_cannot_be_copied_are_an_error_with_an_id_and_leave_nothing(
    tmp_path: Path,
) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session, given = await with_file(runtime)
        conversation = session.conversation_id
        assert conversation is not None
        path = tmp_path / "files" / given[:2] / given
        await asyncio.to_thread(path.unlink)
        await asyncio.to_thread(path.mkdir)
        shares = runtime.services.shares
        for copying in (
            runtime.history.fork(session.principal, conversation, 1),
            shares.create(session.principal, conversation, days=None, with_files=True),
        ):
            with pytest.raises(ServiceUnavailableError):
                await copying
        assert stored_files(tmp_path) == 0
        assert len(rows(tmp_path, "SELECT * FROM agent_files")) == 1


async def test_forks_count_as_copies_and_what_is_not_there_as_none(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session, _ = await with_file(runtime)
        stranger, conversation = await session_of(runtime, "bob"), session.conversation_id
        assert conversation is not None
        with pytest.raises(NotFoundError):
            await runtime.history.fork(stranger.principal, conversation, 2)
        assert runtime.budgets.used("copies") == 0
        for _ in range(30):
            await runtime.history.fork(session.principal, conversation, 2)
        with pytest.raises(RateLimitError, match="copies of chats"):
            await runtime.history.fork(session.principal, conversation, 2)
        assert len(rows(tmp_path, "SELECT * FROM agent_sessions")) == 31


async def test_what_a_fork_allows_is_asked_again(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session, _ = await with_file(runtime)
        conversation = session.conversation_id
        assert conversation is not None
        changes = {"effort": "low", ALWAYS: ["send_mail"]}
        await session.memory.update_context(session.owner, conversation, changes)
        fork = await runtime.history.fork(session.principal, conversation, 2)
        stored = await session.memory.conversation(session.owner, fork)
        assert stored.context_data is not None
        assert stored.context_data["effort"] == "low"
        assert ALWAYS not in stored.context_data

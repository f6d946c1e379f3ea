"""Nobody gets more of another by links, forks and imports than open links show; and the oracle notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from cmw_agent.runtime.runtime import Runtime
from cmw_agent.server.build import Parts
from memory.conversations.imports import ImportPart
from memory.conversations.share_store import ShareStore
from memory.engine.database import Database
from memory.manager import ConversationMemoryManager
from memory.share_records import NewShare, Share, SharedFile, SharedMessage, Snapshot
from tests.campaigns import campaign
from tests.isolation.channel_storm import api_keys
from tests.isolation.sharing_storm import share_faults, sharers, sharing_storm
from tests.isolation.storm import judge, storm
from tests.isolation.world import app_with_model

SHARERS = campaign("CMW_SHARERS")
Page = tuple[Snapshot, list[SharedMessage], list[SharedFile]]


@pytest.mark.timeout(300 + 10 * SHARERS)
async def test_who_reads_and_continues_shared_chats_gets_what_open_links_show_and_no_more(
    tmp_path: Path,
) -> None:
    crowd, patience = sharers(SHARERS), 200 + 10 * SHARERS
    async with app_with_model(tmp_path, shares="link", api_keys=api_keys()) as here:
        board, others = await asyncio.gather(
            sharing_storm(here, crowd, patience),
            storm(here, users=3, turns=2, patience=patience),
        )
        verdict = judge(here, [*crowd, *others])
        assert not verdict.leaks
        assert not verdict.shares
        assert not verdict.missing
        assert verdict.clean, verdict
        assert not [*share_faults(here, board)]
        assert len(board.links) == sum(user.link_count for user in crowd)
        print(f"{SHARERS} users, {len(board.links)} links, {board.summary()}: clean")  # noqa: T201 (the figures)


# -- the same storm against broken builds: the oracle must fail each time ---------------


class OneLink(ShareStore):
    """Keeps pages of snapshots in a cache whose key lacks the link."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._cache: dict[int, Page] = {}

    async def snapshot_page(self, reader: str, *, from_seq: int, limit: int) -> Page:
        page = await super().snapshot_page(reader, from_seq=from_seq, limit=limit)
        return self._cache.setdefault(from_seq, page)


class LivingLink(ShareStore):
    """Shows the messages that the conversation shows now."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._made: dict[str, tuple[str, str]] = {}

    async def create_share(self, owner: str, new: NewShare, **bounds: Any) -> Share:
        self._made[new.reader_id] = owner, new.conversation_id
        return await super().create_share(owner, new, **bounds)

    async def snapshot_page(self, reader: str, *, from_seq: int, limit: int) -> Page:
        snapshot, messages, files = await super().snapshot_page(
            reader, from_seq=from_seq, limit=limit
        )
        owner, conversation = self._made[reader]
        living = await ConversationMemoryManager(self._database).messages(owner, conversation)
        shown = zip(messages, living, strict=False)
        return snapshot, [replace(old, content=now.content) for old, now in shown], files


class EndlessLink(ShareStore):
    """Keeps links that their owners end."""

    async def revoke_share(self, owner: str, share_id: str) -> list[str]:
        return []


class OneImporter(ConversationMemoryManager):
    """Takes all imports for the first importer's."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._importer: str | None = None

    async def import_part(self, owner: str, part: ImportPart) -> int:
        self._importer = self._importer or owner
        return await super().import_part(self._importer, part)


def with_store(store: Callable[[Database], ShareStore]) -> type[Runtime]:
    """Return a runtime with a spoilt store of shares."""

    class Spoilt(Runtime):
        @contextlib.asynccontextmanager
        async def running(self) -> AsyncIterator[None]:
            async with super().running():
                shares = self.services.shares
                shares._store = store(shares._store._database)
                yield

    return Spoilt


class SpoiltImports(Runtime):
    """A runtime whose imports go to one importer."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with super().running():
            memory = OneImporter(self.services.shares._store._database)
            self.imports._memory_of = lambda _: memory
            yield


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken build, and where in the oracle's verdict it must show."""

    runtime: type[Runtime]
    sign: Literal["stored", "shares"]


BROKEN = {
    "one snapshot for all links": Broken(with_store(OneLink), "shares"),
    "links to the living conversation": Broken(with_store(LivingLink), "shares"),
    "links that do not end": Broken(with_store(EndlessLink), "shares"),
    "imports that are another's": Broken(SpoiltImports, "stored"),
}


@pytest.mark.parametrize("defect", BROKEN)
async def test_the_oracle_notices(defect: str, tmp_path: Path) -> None:
    broken, crowd = BROKEN[defect], sharers(3)
    parts = Parts(runtime=broken.runtime)
    async with app_with_model(tmp_path, parts=parts, shares="link", api_keys=api_keys()) as here:
        await sharing_storm(here, crowd)
        verdict = judge(here, crowd)
    assert getattr(verdict, broken.sign), f"the oracle did not notice {defect}: {verdict}"

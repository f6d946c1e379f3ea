"""``cmw-agent dataset``: writes conversations of users who agreed to it as a dataset."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path

from cmw_agent.config.settings import Settings
from cmw_agent.conversations.datasets import CARD, DATA, dataset_card, dataset_lines
from cmw_agent.core.errors import StartupError
from cmw_agent.core.store_errors import mapped_store_errors
from memory.engine.database import Database
from memory.engine.permissions import make_file, make_folder
from memory.errors import ConversationNotFoundError
from memory.manager import ConversationMemoryManager
from memory.records import Conversation, StoredMessage
from memory.reports.rated_answers import RatedConversation, rated_conversations

BATCH = 100  # conversations that are looked up at once
PAGE = 50  # messages of one that are read at once


async def write_dataset(settings: Settings, database: Database, folder: Path) -> int:
    """Write the rated conversations of users who let the operator read them; return how many.

    The folder appears when it is whole.

    Args:
        settings: Name those who may read.
        database: The database; its tables are migrated.
        folder: The folder to make.

    Raises:
        StartupError: Users are not asked for their consent here, or the folder cannot be made.
        StoreError: The database cannot be read.
    """
    if not settings.admins:
        raise StartupError("CMW_ADMINS is empty: users agree only where it names who may read")
    if await asyncio.to_thread(folder.exists):
        raise StartupError(f"{folder} is there; name a new folder")
    draft = folder.with_name(f"{folder.name}.part")
    source = _Consented(database)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        make_folder((draft / DATA).parent)
        with os.fdopen(make_file(draft / CARD), "wb") as file:
            file.write(dataset_card())
        with os.fdopen(make_file(draft / DATA), "wb") as file:
            lines = dataset_lines(source.conversations(), source.pages, _id_of)
            async with contextlib.aclosing(lines):
                async for piece in lines:
                    file.write(piece)
        draft.rename(folder)
    except OSError as error:
        raise StartupError(f"{folder} cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return source.count


class _Consented:
    """The rated conversations of users who agreed, and their messages."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memory = ConversationMemoryManager(database)
        self._owners: dict[str, str] = {}  # of the conversation that is read
        self.count = 0

    async def conversations(self) -> AsyncGenerator[Conversation]:
        after = ""
        while found := await rated_conversations(self._database, after=after, limit=BATCH):
            after = found[-1].conversation_id
            for item in found:
                if (conversation := await self._conversation(item)) is not None:
                    self._owners = {item.conversation_id: item.owner}
                    self.count += 1
                    yield conversation

    async def _conversation(self, item: RatedConversation) -> Conversation | None:
        """Return a conversation; None where it is gone, or its owner no longer agrees."""
        if "ratings" not in await self._memory.consents(item.owner):
            return None
        with contextlib.suppress(ConversationNotFoundError):
            return await self._memory.conversation(item.owner, item.conversation_id)
        return None

    async def pages(
        self, item: Conversation, all_versions: bool
    ) -> AsyncGenerator[list[StoredMessage]]:
        owner, after = self._owners[item.conversation_id], 0
        while True:
            with mapped_store_errors():
                page = await self._memory.messages_after(
                    owner,
                    item.conversation_id,
                    after_seq=after,
                    limit=PAGE,
                    all_versions=all_versions,
                )
            if not page:
                return
            after = page[-1].seq
            yield page


def _id_of(conversation: Conversation) -> str:
    # Ids are random: nobody finds the conversation by this one who does not have it.
    return sha256(conversation.conversation_id.encode()).hexdigest()[:32]

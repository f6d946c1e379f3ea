"""Conversations of many owners in one database. Every method takes the owner first."""

import contextlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from memory.conversations import (
    editing,
    reading,
    row_counts,
    summaries,
    tenants,
    transfer,
    turns,
    usage,
)
from memory.conversations.file_record_store import FileRecordStore
from memory.conversations.import_store import ImportStore
from memory.conversations.order_store import OrderStore
from memory.conversations.preference_store import PreferenceStore
from memory.conversations.prompt_store import PromptStore
from memory.conversations.transfer import Holdings
from memory.conversations.tree_store import TreeStore
from memory.conversations.turn_store import TurnStore
from memory.errors import InvalidTextError, StoreError
from memory.records import (
    ContextMessage,
    Conversation,
    Feedback,
    RatingExplanation,
    SearchHit,
    StoredMessage,
    Usage,
)
from memory.validation import check_id, check_owner, check_texts, is_id, row_limit, title_of

ERASE_SECONDS = 1.0  # that `forget` waits at most for the erasure of what was deleted
SUMMARY_LEASE = timedelta(minutes=2)  # longer than a summary may take


class ConversationMemoryManager(
    TurnStore, FileRecordStore, ImportStore, OrderStore, PreferenceStore, PromptStore, TreeStore
):
    """Stores and reads the conversations, messages, turns, files and prompts of each owner.

    What belongs to another owner and what does not exist give the same result in every method:
    ConversationNotFoundError, False or nothing. Each method may raise DatabaseUnavailableError,
    those that write DatabaseFullError, and ValueError for an empty owner. A method that was
    cancelled has changed nothing or, when a turn had begun, leaves that turn interrupted.
    """

    # -- reading ------------------------------------------------------------------

    async def window(
        self, owner: str, conversation_id: str, *, budget: int, before_seq: int
    ) -> list[ContextMessage]:
        """Return the newest messages that fit into `budget` tokens, oldest first.

        Only messages below `before_seq` count, which is a ticket's `answer_seq`.
        `memory.conversations.context_window` says how they are chosen. Raises
        ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        return await self._read(owner, reading.window, conversation_id, budget, before_seq)

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """Return one conversation without its messages. Raises ConversationNotFoundError."""
        _check(owner, conversation_id)
        return await self._read(owner, reading.conversation, conversation_id)

    async def messages(
        self,
        owner: str,
        conversation_id: str,
        *,
        limit: int = 40,
        before_seq: int | None = None,
        all_versions: bool = False,
    ) -> list[StoredMessage]:
        """Return the newest messages, or the newest below `before_seq`, oldest first.

        `limit` is brought into 1 to 500. They are those of the path that is shown, or with
        `all_versions` those of all paths. Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        newest_first = await self._read(
            owner,
            reading.messages,
            conversation_id,
            row_limit(limit),
            before_seq,
            all_versions=all_versions,
        )
        return newest_first[::-1]

    async def messages_after(
        self,
        owner: str,
        conversation_id: str,
        *,
        after_seq: int,
        limit: int = 40,
        all_versions: bool = False,
    ) -> list[StoredMessage]:
        """Return the oldest messages above `after_seq`, oldest first; none at the end.

        `limit` is brought into 1 to 500; `all_versions` is as for `messages`. Raises
        ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        return await self._read(
            owner,
            reading.messages_after,
            conversation_id,
            row_limit(limit),
            after_seq,
            all_versions=all_versions,
        )

    async def conversations(
        self, owner: str, *, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return the owner's conversations, newest activity first.

        `limit` is brought into 1 to 500. `before` is the `position` of the last conversation of
        the previous page.
        """
        check_owner(owner)
        if before is not None and not is_id(before[1]):
            return []
        return await self._read(owner, reading.conversations, row_limit(limit), before)

    async def clients(
        self,
        owner: str,
        agent_id: str,
        *,
        limit: int = 50,
        before: tuple[datetime, str] | None = None,
    ) -> list[Conversation]:
        """Return the conversations with an agent whose tenant is `owner`, newest activity first.

        The conversations have other owners; `ConversationOrigin.tenant_id` names the tenant.
        `limit` and `before` are as for `conversations`.
        """
        check_owner(owner)
        if not is_id(agent_id) or (before is not None and not is_id(before[1])):
            return []
        return await self._read(owner, tenants.conversations, agent_id, row_limit(limit), before)

    async def search(self, owner: str, query: str, *, limit: int = 20) -> list[SearchHit]:
        """Return the conversations whose title or messages hold the words of `query`.

        Titles come first. A word also matches longer words that begin with it. Raises
        InvalidTextError.
        """
        check_texts(query=query)
        return await self._read(owner, editing.search, query, row_limit(limit))

    async def holdings(self, owner: str) -> Holdings:
        """Return what a sign-in can transfer from this owner to another (`Logins.begin`)."""
        return await self._read(owner, transfer.holdings)

    async def cost(self, owner: str, conversation_id: str) -> Usage:
        """Return what the answers of a conversation used; nothing for an unknown one."""
        check_owner(owner)
        if not is_id(conversation_id):
            return Usage(0, None)
        return await self._read(owner, usage.of_conversation, conversation_id)

    async def usage_since(self, owner: str, since: datetime) -> Usage:
        """Return what the owner's answers used since then, in all conversations still stored."""
        return await self._read(owner, usage.since, since)

    async def row_counts(self, owner: str) -> dict[str, int]:
        """Return how many rows each table has of the owner, tables without any left out."""
        return await self._read(owner, row_counts.row_counts)

    # -- changing -----------------------------------------------------------------

    async def forget(self, owner: str) -> int:
        """Delete every row of this owner, running turns too; return how many conversations.

        A repetition returns 0. The deleted text is removed from the database's files at once
        where that takes no longer than a second, and by the next `Retention.clean` otherwise.
        """
        deleted = await self._write(owner, turns.forget)
        with contextlib.suppress(StoreError):  # the rows are deleted all the same
            await self._database.erase(ERASE_SECONDS)
        return deleted

    async def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Give a conversation another title, cut to the length of a title.

        Raises ConversationNotFoundError, and InvalidTextError for an empty title.
        """
        check_texts(title=title)
        if not (cut := title_of(title)):
            raise InvalidTextError("title")
        _check(owner, conversation_id)
        await self._write(owner, editing.rename, conversation_id, cut)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Hide a conversation until `Retention.clean` deletes it; `restore` brings it back.

        Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        await self._write(owner, editing.delete, conversation_id, self._clock())

    async def restore(self, owner: str, conversation_id: str) -> None:
        """Bring back a deleted conversation. Raises ConversationNotFoundError."""
        _check(owner, conversation_id)
        await self._write(owner, editing.restore, conversation_id)

    async def rate(
        self,
        owner: str,
        conversation_id: str,
        seq: int,
        feedback: Feedback | None,
        explanation: RatingExplanation | None = None,
    ) -> None:
        """Store the owner's feedback on an answer, and why they give it.

        Without an explanation, an earlier one stays as long as the feedback does. Raises
        ConversationNotFoundError, and InvalidTextError for a comment that cannot be stored.
        """
        _check(owner, conversation_id)
        if explanation is not None:
            check_texts(comment=explanation.comment)
        await self._write(
            owner, editing.rate, conversation_id, seq, feedback, explanation, self._clock()
        )

    async def update_context(
        self, owner: str, conversation_id: str, changes: Mapping[str, Any]
    ) -> None:
        """Merge `changes`, JSON values by name, into a conversation's context.

        Raises ConversationNotFoundError, and InvalidTextError for what cannot be stored.
        """
        check_texts(context=json.dumps(dict(changes), ensure_ascii=False))
        _check(owner, conversation_id)
        await self._write(owner, editing.update_context, conversation_id, changes=changes)

    async def mark_inactive(self, owner: str, conversation_id: str) -> bool:
        """Mark a conversation as inactive until its next turn; return whether it was active."""
        check_owner(owner)
        if not is_id(conversation_id):
            return False
        at = self._clock()
        return await self._database.write(
            lambda connection: editing.mark_inactive(connection, owner, conversation_id, at),
            is_brief=True,
            owner=owner,
        )

    async def close_conversation(self, owner: str, conversation_id: str) -> None:
        """Mark a conversation as ended by its owner: their next message begins another.

        Raises ConversationNotFoundError.
        """
        _check(owner, conversation_id)
        await self._write(owner, editing.close, conversation_id, self._clock())

    # -- summaries ----------------------------------------------------------------

    async def claim_older(
        self, owner: str, conversation_id: str, *, before_seq: int, min_tokens: int
    ) -> summaries.SummaryPart | None:
        """Claim the messages below `before_seq` that no summary covers, to summarize them.

        A claim that leads to no summary ends by itself after two minutes.

        Returns:
            None where they have fewer than `min_tokens` or another process has the claim.
        """
        check_owner(owner)
        check_id(conversation_id)
        at = self._clock()
        return await self._database.write(
            lambda connection: summaries.claim(
                connection,
                owner,
                conversation_id,
                before_seq=before_seq,
                min_tokens=min_tokens,
                at=at,
                until=at + SUMMARY_LEASE,
            ),
            undo=lambda part: (
                lambda connection: (
                    part is not None and summaries.release(connection, owner, conversation_id)
                )
            ),
            owner=owner,
        )

    async def store_summary(
        self, owner: str, conversation_id: str, part: summaries.SummaryPart, summary: str | None
    ) -> bool:
        """Store the summary of a claimed part, or release the claim when it is None.

        Returns:
            Whether the summary was stored.

        Raises:
            InvalidTextError: The summary cannot be stored.
        """
        check_texts(summary=summary)
        if summary is None:
            await self._write(owner, summaries.release, conversation_id)
            return False
        return await self._write(owner, summaries.store, conversation_id, part, summary)


def _check(owner: str, identifier: str) -> None:
    check_owner(owner)
    check_id(identifier)

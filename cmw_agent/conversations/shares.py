"""ShareService: links to read-only snapshots of conversations.

Owners create, list and revoke shares. Whoever has a link is its principal (`share` of
`cmw_agent.identity.channel_principals`), who reads one snapshot and reaches nothing besides. See
``docs/adr/0042-shares-are-snapshots.md``.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cmw_agent.agent.access import Agents
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.copies import FileCopies
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.identity.tripwire import Tripwire
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from memory.conversations.share_files import MAX_SHARED_FILES
from memory.conversations.share_store import ShareStore
from memory.conversations.shares import MAX_MESSAGES, MAX_SHARES
from memory.errors import ShareNotFoundError, ShareTooLargeError, TooManySharesError
from memory.records import StoredFile, new_conversation_id, utcnow
from memory.share_records import NewShare, Share, SharedCopy, SharedFile, SharedMessage, Snapshot

MAX_DAYS = 365
PAGE = 40  # messages of one page of a snapshot
PAGE_CHARS = 60_000  # of one page's messages, except for one that is longer
NO_VISIT = wording(
    "This needs a visit that is kept; please allow this page's cookie and reload it."
)
TOO_MANY = wording(
    "You have {count} links, as many as one may have; please end one first.", count=MAX_SHARES
)
TOO_LARGE = wording(
    "This conversation is too long for a link: it may have {messages} messages and {files} files.",
    messages=MAX_MESSAGES,
    files=MAX_SHARED_FILES,
)


class SharedChatNotFoundError(NotFoundError):
    """No such share: it never was, has expired, was revoked, or is not yours; one answer for all."""

    sentence = wording("This shared chat was not found.")


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """A page of a snapshot; `next_seq` is where the next one begins, None at the end."""

    snapshot: Snapshot
    messages: Sequence[SharedMessage]
    files: Sequence[SharedFile]
    next_seq: int | None


class ShareService:
    """Creates, lists, revokes, reads and continues shares.

    Args:
        store: The shares of all owners.
        copies: Copies the bytes of files.
        agents: The agents, of which a reader who continues a chat gets one.
        budgets: Limits how many chats are copied in an hour.
        tripwire: Looks at what readers get; None without one.

    Raises:
        UserError: From each method, if the request fails or is refused.
    """

    def __init__(
        self,
        store: ShareStore,
        copies: FileCopies,
        agents: Agents,
        budgets: Budgets,
        tripwire: Tripwire | None = None,
    ) -> None:
        self._tripwire = tripwire
        self._store = store
        self._copies = copies
        self._agents = agents
        self._budgets = budgets

    async def create(
        self,
        principal: Principal,
        conversation: str,
        *,
        days: int | None,
        with_files: bool,
        address: str | None = None,
    ) -> Share:
        """Share a conversation as it is shown now.

        Args:
            principal: Owner of the conversation.
            conversation: Its id.
            days: After so many days the link ends; None for never.
            with_files: Whether the readers get its files, too.
            address: Network address of the request, or None.
        """
        self._require_stored(principal)
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise InvalidMessageError(
                wording("A link ends after 1 to {max_days} days, or never.", max_days=MAX_DAYS)
            )
        self._budgets.spend("copies", principal.id, address)
        share_id = channel_principals.new_share_id()
        reader = channel_principals.share(share_id)
        expires_at = utcnow() + timedelta(days=days) if days is not None else None
        new = NewShare(conversation, share_id, reader.id, expires_at)
        with _share_errors():
            if not with_files:
                return await self._store.create_share(principal.id, new)
            async with self._copies.for_snapshot(principal, conversation) as copies:
                new = NewShare(conversation, share_id, reader.id, expires_at, copies)
                return await self._store.create_share(
                    principal.id, new, bound_of=self._copies.bound_of
                )

    async def shares(self, principal: Principal, conversation: str | None = None) -> list[Share]:
        """Return a principal's open shares, or those of one conversation, newest first."""
        if not principal.is_stored:
            return []
        with _share_errors():
            return await self._store.shares(principal.id, conversation)

    async def revoke(self, principal: Principal, share_id: str) -> None:
        """End a share: its snapshot is deleted."""
        with _share_errors():
            copies = await self._store.revoke_share(principal.id, share_id)
        await self._copies.drop(copies)

    async def page(self, principal: Principal, from_seq: int = 1) -> SnapshotPage:
        """Return a page of the snapshot that a link's principal reads."""
        with _share_errors():
            snapshot, messages, files = await self._store.snapshot_page(
                principal.id, from_seq=from_seq, limit=PAGE
            )
        shown = list(_fitting(messages))
        if self._tripwire is not None:
            self._tripwire.check(principal.id, repr((snapshot, shown, files)).encode())
        last_seq = shown[-1].seq if shown else from_seq - 1
        next_seq = last_seq + 1 if shown and last_seq < snapshot.message_count else None
        return SnapshotPage(snapshot, shown, files, next_seq)

    async def file(self, principal: Principal, number: int) -> tuple[StoredFile, Path]:
        """Return a file of the snapshot that a link's principal reads, and the path of its bytes."""
        with _share_errors():
            shared = await self._store.snapshot_file(principal.id, number)
        try:
            path = await self._copies.path(shared)
        except NotFoundError:
            raise SharedChatNotFoundError from None
        if self._tripwire is not None:
            await self._tripwire.check_file(principal.id, path)
        return shared.file, path

    async def continue_chat(
        self, principal: Principal, share_id: str, address: str | None = None
    ) -> str:
        """Copy a snapshot into a new conversation of a principal; return its id.

        Args:
            principal: Who continues the chat.
            share_id: Id of the share.
            address: Network address of the request, or None.
        """
        self._require_stored(principal)
        reader = channel_principals.share(share_id)
        with _share_errors():
            snapshot = await self._store.snapshot(reader.id)
            agent_id = await self._agent_for(principal, snapshot.agent_id)
            self._budgets.spend("copies", principal.id, address)
            shared = await self._store.snapshot_files(reader.id)
            files = [item.file for item in shared]
            async with self._copies.adopted(principal, files, address) as copies:
                file_ids = {item.number: copies[item.file.file_id] for item in shared}
                new = SharedCopy(new_conversation_id(), agent_id, file_ids)
                await self._store.copy_snapshot(principal.id, reader.id, new)
        return new.conversation_id

    async def _agent_for(self, principal: Principal, agent_id: str) -> str:
        """Return the agent of the snapshot where the principal may use it, else their first one."""
        usable = await self._agents.usable_for(principal)
        ids = [profile.id for profile in usable]
        if not ids:
            raise SharedChatNotFoundError
        return agent_id if agent_id in ids else ids[0]

    @staticmethod
    def _require_stored(principal: Principal) -> None:
        if not principal.is_stored:
            raise InvalidMessageError(NO_VISIT, status=403)


def _fitting(messages: Sequence[SharedMessage]) -> Iterator[SharedMessage]:
    """Yield the first messages that fit on a page, and one in any case."""
    chars = 0
    for message in messages:
        chars += len(message.content)
        if chars > PAGE_CHARS and message is not messages[0]:
            return
        yield message


@contextlib.contextmanager
def _share_errors() -> Iterator[None]:
    """Raise what fails in the memory during the block as the `UserError` that it means."""
    with mapped_store_errors():
        try:
            yield
        except ShareNotFoundError:
            raise SharedChatNotFoundError from None
        except TooManySharesError:
            raise InvalidMessageError(TOO_MANY, status=409) from None
        except ShareTooLargeError:
            raise InvalidMessageError(TOO_LARGE, status=413) from None

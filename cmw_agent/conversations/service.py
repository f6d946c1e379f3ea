"""ConversationService: list, search, rename, rate, delete and read one's own conversations.

For every channel, as `ChatService` is for turns. Each method takes the principal who asks;
what is another's and what does not exist are the same `NotFoundError`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec

from cmw_agent.agent.own.threads import AgentThreads
from cmw_agent.conversations.changes import Change, ChangeKind, ConversationChanges
from cmw_agent.conversations.export import FilesOf
from cmw_agent.conversations.importing.service import ImportService
from cmw_agent.conversations.prompts import PromptService
from cmw_agent.conversations.running_turns import RunningTurns
from cmw_agent.conversations.sessions import SessionRegistry
from cmw_agent.conversations.tombstones import Tombstones
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.copies import FileCopies
from cmw_agent.files.service import Files, MemoryOf
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets
from cmw_agent.recording.recorder import Recorder
from cmw_agent.tools.composio.connecting import ConnectionService
from memory.errors import InvalidTextError
from memory.receipts import sealed
from memory.records import (
    Arrangement,
    ConsentKind,
    Conversation,
    Feedback,
    MessageLink,
    RatingExplanation,
    SearchHit,
    Section,
    StoredMessage,
    Usage,
    utcnow,
)

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.opening import McpClients

log = get_logger(__name__)
P = ParamSpec("P")

PAGE = 30  # conversations of one page of the list
ARRANGED_PAGE = 100  # of those that are pinned or in a folder: folders are shown whole
MESSAGES_AT_ONCE = 5  # of a conversation that is read whole: each may be large
QUERY_CHARS = 200
# What a fork takes along of a conversation's context. The tools that need not ask are not in it: what
# was allowed in one conversation is not allowed in another.
FORKED_CONTEXT = ("model", "effort", "metadata")
RECORDINGS_STAY = wording(
    "What was recorded of your chats cannot be deleted now; please try again later."
)
Versions = Mapping[int, tuple[int, ...]]  # seqs of all versions, by the seq of the shown one


def page_size(section: Section) -> int:
    """Return how many conversations a page of a section holds at most."""
    return ARRANGED_PAGE if section == "arranged" else PAGE


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What the last answer, its conversation and the owner's day (by UTC) took."""

    answer: Usage
    conversation: Usage
    today: Usage


class ConversationService:
    """What owners do with their conversations beside talking, in every channel.

    Args:
        memory_of: Gives the memory that holds a principal's conversations.
        registry: The live sessions, which must not go on with what was deleted.
        turns: The running turns, which end with what is deleted.
        files: Everybody's files, which go when everything goes.
        copies: Copies the files of a fork.
        imports: The running imports, which store nothing more then.
        budgets: Limits how many chats are copied in an hour.
        changes: Tells the owners' open pages of what is done here.
        mcp: The sessions with MCP servers and the sign-ins there, which end when everything goes;
            None where there are none.
        connecting: The connected accounts, which go when everything goes; None where there are none.
        threads: What agents remember by themselves, which goes when everything goes; None for none.
        tombstones: Note who is erased, for backups that hold them; None for a process without backups.
        clock: The time, with its zone.
        recorder: Has recordings of turns, which go with what was recorded; None where there are none.

    In methods that change something, `tab` is the name of the page that asks for it, if one does.

    Raises:
        UserError: From each method, where the memory fails or refuses.
    """

    def __init__(
        self,
        memory_of: MemoryOf,
        registry: SessionRegistry,
        turns: RunningTurns,
        files: Files,
        copies: FileCopies,
        imports: ImportService,
        budgets: Budgets,
        changes: ConversationChanges,
        mcp: "McpClients | None" = None,
        threads: AgentThreads | None = None,
        tombstones: Tombstones | None = None,
        connecting: ConnectionService | None = None,
        clock: Callable[[], datetime] = utcnow,
        recorder: Recorder | None = None,
    ) -> None:
        self._mcp = mcp
        self._tombstones = tombstones
        self._connecting = connecting
        self._memory_of = memory_of
        self._registry = registry
        self._turns = turns
        self._files = files
        self._copies = copies
        self._imports = imports
        self._budgets = budgets
        self._changes = changes
        self._threads = threads
        self._clock = clock
        self._recorder = recorder
        self._prompts = PromptService(memory_of, budgets)

    @property
    def files(self) -> Files:
        """The owners' files."""
        return self._files

    @property
    def prompts(self) -> PromptService:
        """The owners' saved prompts."""
        return self._prompts

    async def page(
        self, principal: Principal, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return a page of the list, newest first, of what stands behind `before`."""
        memory = self._memory_of(principal)
        with mapped_store_errors():
            return await memory.conversations(principal.id, limit=PAGE, before=before)

    async def section(
        self,
        principal: Principal,
        section: Section,
        before: tuple[datetime, str] | None = None,
    ) -> list[Conversation]:
        """Return a page of a section of the list, newest first, of what stands behind `before`."""
        memory = self._memory_of(principal)
        with mapped_store_errors():
            return await memory.listed(
                principal.id, section, limit=page_size(section), before=before
            )

    async def search(self, principal: Principal, query: str) -> list[SearchHit]:
        """Return the conversations that hold the query's words, titles first."""
        with mapped_store_errors():
            return await self._memory_of(principal).search(principal.id, query[:QUERY_CHARS])

    async def rename(
        self, principal: Principal, conversation: str, title: str, *, tab: str | None = None
    ) -> str:
        """Give a conversation another title; return it as it is stored."""
        memory = self._memory_of(principal)
        with mapped_store_errors():
            try:
                await memory.rename(principal.id, conversation, title)
            except InvalidTextError:
                raise InvalidMessageError(
                    wording("Please write a title of letters first.")
                ) from None
            stored = await memory.conversation(principal.id, conversation)
        self._publish(principal, "listed", conversation, tab)
        return stored.title

    async def arrange(
        self,
        principal: Principal,
        conversation: str,
        change: Arrangement,
        *,
        tab: str | None = None,
    ) -> Conversation:
        """Pin, archive or file a conversation, or take that back; return it as it is stored."""
        memory = self._memory_of(principal)
        with mapped_store_errors():
            await memory.arrange(principal.id, conversation, change)
            stored = await memory.conversation(principal.id, conversation)
        self._publish(principal, "listed", conversation, tab)
        return stored

    async def delete(
        self, principal: Principal, conversation: str, *, tab: str | None = None
    ) -> None:
        """Put a conversation out of sight; a running answer in it is stopped first."""
        # First of all: a foreign id must stop nothing.
        await self.conversation(principal, conversation)
        await self._stop_turns(principal, conversation)
        with mapped_store_errors():
            await self._memory_of(principal).delete(principal.id, conversation)
        await self._forget_recordings(principal, conversation)
        self._publish(principal, "deleted", conversation, tab)

    async def restore(
        self, principal: Principal, conversation: str, *, tab: str | None = None
    ) -> None:
        """Take a deletion back."""
        with mapped_store_errors():
            await self._memory_of(principal).restore(principal.id, conversation)
        self._publish(principal, "listed", conversation, tab)

    async def rate(
        self,
        principal: Principal,
        conversation: str,
        seq: int,
        feedback: Feedback | None,
        explanation: RatingExplanation | None = None,
    ) -> None:
        """Store the owner's rating of an answer.

        Without an explanation, an earlier one stays as long as the feedback does.
        """
        with mapped_store_errors():
            await self._memory_of(principal).rate(
                principal.id, conversation, seq, feedback, explanation
            )

    async def consents(self, principal: Principal) -> frozenset[ConsentKind]:
        """Return what a principal lets the operator do."""
        with mapped_store_errors():
            return await self._memory_of(principal).consents(principal.id)

    async def set_consent(self, principal: Principal, kind: ConsentKind, *, is_given: bool) -> None:
        """Store that a principal gives a consent, or takes it back."""
        with mapped_store_errors():
            await self._memory_of(principal).set_consent(principal.id, kind, is_given=is_given)

    async def versions(
        self, principal: Principal, conversation: str, messages: Sequence[StoredMessage]
    ) -> Versions:
        """Return all versions of those of the shown messages that have several, by their seqs."""
        with mapped_store_errors():
            return await self._memory_of(principal).versions(principal.id, conversation, messages)

    async def path(
        self, principal: Principal, conversation: str, limit: int
    ) -> list[tuple[MessageLink, tuple[int, ...]]]:
        """Return the newest shown messages, oldest first, each with all of its versions."""
        memory = self._memory_of(principal)
        with mapped_store_errors():
            links = await memory.path(principal.id, conversation, limit=limit)
            seqs = await memory.versions(principal.id, conversation, links)
        return [(link, seqs.get(link.seq, (link.seq,))) for link in links]

    async def answer(self, principal: Principal, conversation: str, seq: int) -> StoredMessage:
        """Return one answer of the caller's, of whatever version.

        Raises:
            NotFoundError: The conversation or the answer does not exist, or is another's.
        """
        memory = self._memory_of(principal)
        with mapped_store_errors():
            found = await memory.messages_after(
                principal.id, conversation, limit=1, after_seq=seq - 1, all_versions=True
            )
        if not found or found[0].seq != seq or found[0].role != "assistant":
            raise NotFoundError
        return found[0]

    async def select_version(
        self, principal: Principal, conversation: str, seq: int, *, tab: str | None = None
    ) -> None:
        """Show the version of the conversation that leads through a message; models see that one.

        It is refused while an answer is being written.
        """
        with mapped_store_errors():
            await self._memory_of(principal).select_version(principal.id, conversation, seq)
        for session in self._registry.of(principal):
            if session.conversation_id == conversation:
                session.view = None
        self._publish(principal, "shown", conversation, tab)

    async def fork(
        self,
        principal: Principal,
        conversation: str,
        seq: int,
        address: str | None = None,
        *,
        tab: str | None = None,
    ) -> str:
        """Copy a conversation up to a message into another one; return the new one's id.

        Its files are copied, too, and count as uploads from `address`. It is refused while an
        answer is being written.
        """
        memory = self._memory_of(principal)
        context = (await self.conversation(principal, conversation)).context_data or {}
        self._budgets.spend("copies", principal.id, address)
        with mapped_store_errors():
            plan = await memory.plan_fork(principal.id, conversation, seq)
            seqs = [file_seq for file_seq, _ in plan.files]
            files = await memory.files_of(principal.id, conversation, seqs) if seqs else []
        async with self._copies.adopted(principal, files, address) as copies:
            with mapped_store_errors():
                fork = await memory.fork(
                    principal.id,
                    conversation,
                    seq,
                    context={name: context[name] for name in FORKED_CONTEXT if name in context},
                    copies=copies,
                )
        self._publish(principal, "listed", fork, tab)
        return fork

    async def usage(self, principal: Principal, conversation: str) -> UsageSummary:
        """Return what a conversation's last answer, the conversation and today's answers took.

        A conversation that is another's, or not there, took nothing.
        """
        memory = self._memory_of(principal)
        newest: list[StoredMessage] = []
        with contextlib.suppress(NotFoundError), mapped_store_errors():
            newest = await memory.messages(principal.id, conversation, limit=2)
        answers = [message for message in newest if message.role == "assistant"]
        answer = Usage(0, None)
        if answers:
            answer = Usage(answers[-1].tokens_used or 0, answers[-1].cost_micros)
        midnight = self._clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        with mapped_store_errors():
            return UsageSummary(
                answer,
                await memory.cost(principal.id, conversation),
                await memory.usage_since(principal.id, midnight),
            )

    async def left(self, principal: Principal, conversation: str) -> None:
        """Mark a conversation as inactive when no page of its owner shows it any more."""
        open_ids = {session.conversation_id for session in self._registry.of(principal)}
        if conversation not in open_ids and principal.is_stored:
            with mapped_store_errors():
                await self._memory_of(principal).mark_inactive(principal.id, conversation)

    async def forget(self, principal: Principal, *, tab: str | None = None) -> int:
        """Delete everything of a principal for good; return how many conversations that was."""
        await self._stop_turns(principal, None)
        await self._imports.stop(principal)
        # Before, for a process that dies meanwhile; and afterwards, for a backup that was begun meanwhile.
        is_noted = await self._has_rows(principal)
        if is_noted:
            await self._note_erasure(principal)
        await self._files.forget(principal)
        if self._connecting is not None:
            await self._connecting.forget(principal)
        if self._mcp is not None:
            await self._mcp.revoke(principal)
        with mapped_store_errors():
            count = await self._memory_of(principal).forget(principal.id)
        if is_noted:
            await self._note_erasure(principal)
        if self._threads is not None and principal.is_stored:
            await self._threads.sweep(principal.id)
        await self._forget_recordings(principal, None)
        self._publish(principal, "deleted", None, tab)
        return count

    async def _forget_recordings(self, principal: Principal, conversation: str | None) -> None:
        if self._recorder is None or not principal.is_stored:
            return
        try:
            await self._recorder.forget(principal.id, conversation)
        except OSError as error:
            raise UserError(RECORDINGS_STAY) from error

    async def note_move(self, principal: Principal, visitor: Principal) -> None:
        """Note for later restores that what a visitor had is a principal's, and erased with theirs."""
        if self._tombstones is not None:
            await _noted(self._tombstones.moved, visitor.id, principal.id, utcnow())

    async def _note_erasure(self, principal: Principal) -> None:
        """Note for later restores that a principal is erased."""
        if self._tombstones is not None:
            await _noted(self._tombstones.erased, principal.id, utcnow())

    async def _has_rows(self, principal: Principal) -> bool:
        if self._tombstones is None or not principal.is_stored:
            return False
        with mapped_store_errors():
            return bool(await self._memory_of(principal).row_counts(principal.id))

    async def erase(
        self, principal: Principal, *, tab: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Delete everything as `forget`; return how many conversations, and a receipt.

        The receipt says how many rows each table had of the principal before and has afterwards.
        """
        memory = self._memory_of(principal)
        with mapped_store_errors():
            before = await memory.row_counts(principal.id)
        deleted = await self.forget(principal, tab=tab)
        with mapped_store_errors():
            left = await memory.row_counts(principal.id)
        at = utcnow().isoformat(timespec="seconds")
        receipt = {"version": 1, "kind": "erasure", "at": at, "erased": before, "left": left}
        return deleted, sealed(receipt, None)

    def import_state(self, principal: Principal) -> dict[str, Any] | None:
        """Return how far the principal's newest import is; None where there is none."""
        return self._imports.state(principal)

    async def conversation(self, principal: Principal, conversation: str) -> Conversation:
        """Return a conversation without its messages."""
        with mapped_store_errors():
            return await self._memory_of(principal).conversation(principal.id, conversation)

    async def messages(
        self, principal: Principal, conversation: str, *, all_versions: bool = False
    ) -> AsyncGenerator[list[StoredMessage]]:
        """Yield the messages of a conversation, oldest first, in pages that memory holds easily.

        They are those that are shown, or with `all_versions` all that are stored.
        """
        memory, after = self._memory_of(principal), 0
        while True:
            with mapped_store_errors():
                page = await memory.messages_after(
                    principal.id,
                    conversation,
                    after_seq=after,
                    limit=MESSAGES_AT_ONCE,
                    all_versions=all_versions,
                )
            if not page:
                return
            after = page[-1].seq
            yield page

    def files_of(self, principal: Principal, conversation: str) -> FilesOf:
        """Return what finds the files of messages of a conversation."""
        return partial(self._files.of_messages, principal, conversation)

    async def conversations(self, principal: Principal) -> AsyncGenerator[Conversation]:
        """Yield all conversations of a principal, newest first."""
        before: tuple[datetime, str] | None = None
        while page := await self.page(principal, before):
            for item in page:
                yield item
            before = page[-1].position

    def _publish(
        self, principal: Principal, kind: ChangeKind, conversation: str | None, tab: str | None
    ) -> None:
        self._changes.publish(principal.id, Change(kind, conversation, tab))

    async def _stop_turns(self, principal: Principal, conversation: str | None) -> None:
        """Stop the running answers of one or all conversations; their pages begin new ones."""
        for session in self._registry.of(principal):
            if conversation is None or session.conversation_id == conversation:
                session.conversation_id = session.view = session.transcript = None
        await self._turns.stop(principal.id, conversation)


async def _noted(add: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Add a tombstone. What fails is logged: what is done matters more than that a restore knows."""
    try:
        await asyncio.to_thread(add, *args, **kwargs)
    except OSError as error:
        log.error("no tombstone", cause=describe_exception(error))  # noqa: TRY400 (no text of it)

"""The view of an open page: the drawn messages of its conversation, read from the memory."""

import contextlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import Language
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, marked, seq_of
from memory.errors import ConversationNotFoundError
from memory.records import Feedback, StoredMessage

Shown = tuple[list[DrawnMessage], Any]  # messages, and `PageView.shown_id` or UNCHANGED

AROUND = 7  # messages shown before the one that a search has found
# After a conversation's id:
EARLIER = "+"  # the page does not show its beginning
RUNNING = "*"  # an answer is being written, which the page is to join


@dataclass(slots=True)
class PageView:
    """What a session's page shows of a conversation.

    Attributes:
        conversation_id: The conversation.
        messages: The drawn parts of the messages, each marked with its message's seq.
        question_seq: The seq of the last question shown.
        next_seq: The seq that the next question will get.
        is_new: Whether nothing of the conversation is stored yet.
        first_seq: The seq of the first message of the conversation's shown path, where known.
    """

    conversation_id: str
    messages: list[DrawnMessage]
    question_seq: int | None = None
    next_seq: int | None = None
    is_new: bool = False
    first_seq: int = 1

    @property
    def shown_id(self) -> str:
        """The conversation's id as the page gets it, with `EARLIER` where messages are left out."""
        return self.conversation_id + (EARLIER if self.has_earlier else "")

    @property
    def seqs(self) -> list[int]:
        """For each drawn part, the seq of its stored message."""
        return [seq_of(part) or 0 for part in self.messages]

    @property
    def has_earlier(self) -> bool:
        """Whether the conversation has messages before the first one shown."""
        return bool(self.seqs) and self.seqs[0] > self.first_seq

    def question(self, seq: int | None) -> slice | None:
        """Return where the parts of a question stand: its files, and its text as the last one.

        Args:
            seq: Of the question; None for the last one.
        """
        shown = [seq_of(part) or 0 for part in self.messages if part["role"] == "user"]
        if not shown or (seq is not None and seq not in shown):
            return None
        indexes = [i for i, each in enumerate(self.seqs) if each == (seq or shown[-1])]
        return slice(indexes[0], indexes[-1] + 1)

    def rate(self, seq: int, rating: Feedback | None) -> None:
        """Show the user's rating of an answer."""
        self.messages = [
            marked(part, rating=rating) if seq_of(part) == seq else part for part in self.messages
        ]

    def above(self, seq: int) -> Self:
        """Return the view of the messages above the stored message `seq`."""
        count = bisect_left(self.seqs, seq)
        return replace(self, messages=self.messages[:count])


async def load_view(
    session: LiveSession, conversation_id: str, limit: int = rendering.PAGE_MESSAGES
) -> PageView:
    """Return the view of the conversation's last messages; an empty one where it has none.

    Args:
        session: The page's session; its owner must own the conversation.
        conversation_id: The conversation.
        limit: The largest number of stored messages.

    Raises:
        UserError: The memory fails.
    """
    stored: list[StoredMessage] = []
    files: rendering.FilesBySeq = rendering.NO_FILES
    with mapped_store_errors(), contextlib.suppress(ConversationNotFoundError):
        stored, files = await load_messages(session, conversation_id, limit=limit)
    return _view(session.language, conversation_id, stored, files)


def _view(
    language: Language,
    conversation_id: str,
    stored: list[StoredMessage],
    files: rendering.FilesBySeq,
) -> PageView:
    questions = [message.seq for message in stored if message.role == "user"]
    return PageView(
        conversation_id,
        rendering.history(stored, language, files),
        question_seq=questions[-1] if questions else None,
        next_seq=stored[-1].seq + 1 if stored else None,
        first_seq=first_seq(stored),
    )


def first_seq(stored: Sequence[StoredMessage]) -> int:
    """Return the seq of the path's first message where it is among the stored ones, else 1."""
    return stored[0].seq if stored and not stored[0].parent_seq else 1


async def load_view_from(
    session: LiveSession, conversation_id: str, seq: int, limit: int
) -> PageView | None:
    """Return the view of a conversation from a few messages before `seq` on.

    None where those are more than `limit` stored messages.

    Raises:
        UserError: The memory fails, or the owner has no such conversation.
    """
    with mapped_store_errors():
        stored = await session.memory.messages_after(
            session.owner, conversation_id, after_seq=max(seq - AROUND, 0), limit=limit + 1
        )
        if len(stored) > limit:
            return None
        if len(stored) > rendering.PAGE_MESSAGES:
            files = await _files_of(session, conversation_id, stored)
            return _view(session.language, conversation_id, stored, files)
    return await load_view(session, conversation_id)


async def load_messages(
    session: LiveSession, conversation_id: str, *, limit: int, before_seq: int | None = None
) -> tuple[list[StoredMessage], rendering.FilesBySeq]:
    """Return the last stored messages before `before_seq`, and their files by seq.

    Raises:
        StoreError: The memory fails, or the owner has no such conversation.
    """
    stored = await session.memory.messages(
        session.owner, conversation_id, limit=limit, before_seq=before_seq
    )
    return stored, await _files_of(session, conversation_id, stored)


async def _files_of(
    session: LiveSession, conversation_id: str, stored: list[StoredMessage]
) -> rendering.FilesBySeq:
    if not stored:
        return rendering.NO_FILES
    questions = [message.seq for message in stored if message.role == "user"]
    return rendering.by_seq(
        await session.memory.files_of(session.owner, conversation_id, questions)
    )

"""The view of an open page: the drawn messages of its conversation, read from the memory."""

import contextlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage
from memory.errors import ConversationNotFoundError
from memory.records import StoredMessage

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
        messages: The drawn messages, in Gradio's form.
        question_seq: The seq of the last question shown.
        next_seq: The seq that the next question will get.
        seqs: For each drawn message, the seq of its stored message.
        feedback: The ratings of the answers when the conversation was opened.
        is_new: Whether nothing of the conversation is stored yet.
        first_seq: The seq of the first message of the conversation's shown path, where known.
    """

    conversation_id: str
    messages: list[DrawnMessage]
    question_seq: int | None = None
    next_seq: int | None = None
    seqs: list[int] = field(default_factory=list)
    feedback: list[str | None] = field(default_factory=list)
    is_new: bool = False
    first_seq: int = 1

    @property
    def shown_id(self) -> str:
        """The conversation's id as the page gets it, with `EARLIER` where messages are left out."""
        return self.conversation_id + (EARLIER if self.has_earlier else "")

    def index_of(self, seq: int) -> int | None:
        """Return the index of the drawn message with the text of a stored one; None without one."""
        drawn = [
            (len(item["content"][0].get("text", "")), -index)
            for index, (item, of) in enumerate(zip(self.messages, self.seqs, strict=False))
            if of == seq and not item["metadata"]
        ]
        return -max(drawn)[1] if drawn else None

    @property
    def has_earlier(self) -> bool:
        """Whether the conversation has messages before the first one shown."""
        return bool(self.seqs) and self.seqs[0] > self.first_seq

    def question_at(self, index: int | None) -> int | None:
        """Return the seq of the question that is drawn at an index; None for all else."""
        if index is None or not 0 <= index < min(len(self.messages), len(self.seqs)):
            return None
        # Above a question stand its files, which are drawn as the user's, too.
        is_last_part = self.seqs[index] not in self.seqs[index + 1 :]
        is_question = is_last_part and self.messages[index]["role"] == "user"
        return self.seqs[index] if is_question else None

    def above(self, seq: int) -> Self:
        """Return the view of the messages above the stored message `seq`."""
        count = bisect_left(self.seqs, seq)
        return replace(self, messages=self.messages[:count], seqs=self.seqs[:count])


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
    return _view(conversation_id, stored, files)


def _view(
    conversation_id: str, stored: list[StoredMessage], files: rendering.FilesBySeq
) -> PageView:
    questions = [message.seq for message in stored if message.role == "user"]
    return PageView(
        conversation_id,
        rendering.history(stored, files),
        question_seq=questions[-1] if questions else None,
        next_seq=stored[-1].seq + 1 if stored else None,
        seqs=rendering.seqs(stored, files),
        feedback=rendering.feedback(stored),
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
            return _view(conversation_id, stored, await _files_of(session, conversation_id, stored))
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

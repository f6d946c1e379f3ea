"""The view of an open page: the drawn messages of its conversation, read from the memory."""

import contextlib
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import Any, Self

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage
from memory.errors import ConversationNotFoundError
from memory.records import StoredMessage

Shown = tuple[list[DrawnMessage], Any]  # messages, and `PageView.shown_id` or UNCHANGED

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
    """

    conversation_id: str
    messages: list[DrawnMessage]
    question_seq: int | None = None
    next_seq: int | None = None
    seqs: list[int] = field(default_factory=list)
    feedback: list[str | None] = field(default_factory=list)
    is_new: bool = False

    @property
    def shown_id(self) -> str:
        """The conversation's id as the page gets it, with `EARLIER` where messages are left out."""
        return self.conversation_id + (EARLIER if self.has_earlier else "")

    @property
    def has_earlier(self) -> bool:
        """Whether the conversation has messages before the first one shown."""
        return bool(self.seqs) and self.seqs[0] > 1

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
    questions = [message.seq for message in stored if message.role == "user"]
    return PageView(
        conversation_id,
        rendering.history(stored, files),
        question_seq=questions[-1] if questions else None,
        next_seq=stored[-1].seq + 1 if stored else None,
        seqs=rendering.seqs(stored, files),
        feedback=rendering.feedback(stored),
    )


async def load_messages(
    session: LiveSession, conversation_id: str, *, limit: int, before_seq: int | None = None
) -> tuple[list[StoredMessage], rendering.FilesBySeq]:
    """Return the last stored messages before `before_seq`, and their files by seq.

    Raises:
        StoreError: The memory fails, or the owner has no such conversation.
    """
    memory, owner = session.memory, session.owner
    stored = await memory.messages(owner, conversation_id, limit=limit, before_seq=before_seq)
    if not stored:
        return stored, rendering.NO_FILES
    questions = [message.seq for message in stored if message.role == "user"]
    return stored, rendering.by_seq(await memory.files_of(owner, conversation_id, questions))

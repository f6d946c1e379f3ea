"""The context windows that live sessions keep between their turns.

A turn that follows its session's last one reads only new messages from the database and encodes
only those for the endpoint. The memory says whether it does (`TurnTicket.follows`), since another
page or replica may have continued the conversation meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakValueDictionary

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import SessionKey
from cmw_agent.llm.chat_model import HistoryMessage
from memory.conversations.context_window import cost, surplus
from memory.records import ContextMessage, ContextState, TurnTicket

# What models are given for a message without a text whose files they do not get.
FILES_ALONE = "[Files]"
MAX_ENTRIES = 1_000  # of one process, the most recently used; each holds one window


@dataclass(slots=True)
class CachedContext:
    """The context window of a conversation as of its last answer.

    Args:
        conversation_id: The conversation.
        seq: Sequence number of that answer.
        messages: The window, oldest first.
        exchanges: The same messages as the endpoint takes them.
        summary: Summary of the messages before the window, if there is one.
        summarized_through_seq: Sequence number of the last message that it covers.
        conversation_created_at: When the conversation began.
        tokens: Estimated size of the window.
    """

    conversation_id: str
    seq: int
    messages: list[ContextMessage]
    exchanges: list[HistoryMessage]
    summary: str | None
    summarized_through_seq: int
    conversation_created_at: datetime | None
    tokens: int

    @property
    def summary_before(self) -> str | None:
        """The summary, where any message stands before the window."""
        return self.summary if self.messages and self.messages[0].seq > 1 else None

    @property
    def state(self) -> ContextState:
        """By what the memory tells whether the conversation was continued elsewhere."""
        return ContextState(self.seq, self.summarized_through_seq, self.conversation_created_at)


class ContextCache:
    """The cached contexts of one process; each belongs to its own session and goes with it.

    Args:
        budget: Tokens of a window, at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        # in the order of their last answers
        self._sessions: WeakValueDictionary[SessionKey, LiveSession] = WeakValueDictionary()

    def known(self, session: LiveSession, conversation: str) -> ContextState | None:
        """Return the state of the conversation's context that the session keeps, if any."""
        context = session.transcript
        if isinstance(context, CachedContext) and context.conversation_id == conversation:
            return context.state
        return None

    def take(self, session: LiveSession, ticket: TurnTicket) -> CachedContext:
        """Return the context of the ticket's turn, the new message included.

        The session keeps none until the answer is stored (`keep`).
        """
        context, session.transcript = session.transcript, None
        if not (ticket.follows and isinstance(context, CachedContext)):
            return _new_context(ticket)
        if ticket.summarized_through_seq != context.summarized_through_seq:
            context.summary = ticket.summary
            context.summarized_through_seq = ticket.summarized_through_seq
        _add(context, ticket.window)
        surplus_count, context.tokens = surplus(context.messages, context.tokens, self._budget)
        del context.messages[:surplus_count], context.exchanges[:surplus_count]
        return context

    def keep(
        self, session: LiveSession, context: CachedContext, answer_seq: int, answer: str
    ) -> None:
        """Keep a context for the session's next turn, with the answer that was stored."""
        if answer:
            _add(context, [ContextMessage(answer_seq, "assistant", answer)])
        context.seq = answer_seq
        session.transcript = context
        self._sessions.pop(session.key, None)
        self._sessions[session.key] = session
        if len(self._sessions) > MAX_ENTRIES:
            oldest = self._sessions.pop(next(iter(self._sessions.keys())))
            oldest.transcript = None


def history_message(message: ContextMessage) -> HistoryMessage:
    """Return a stored message as an endpoint takes it: no endpoint takes an empty one."""
    return HistoryMessage(message.role, message.content or FILES_ALONE)


def _new_context(ticket: TurnTicket) -> CachedContext:
    return CachedContext(
        ticket.conversation_id,
        seq=ticket.user_seq,
        messages=list(ticket.window),
        exchanges=list(map(history_message, ticket.window)),
        summary=ticket.summary,
        summarized_through_seq=ticket.summarized_through_seq,
        conversation_created_at=ticket.conversation_created_at,
        tokens=sum(map(cost, ticket.window)),
    )


def _add(context: CachedContext, messages: Iterable[ContextMessage]) -> None:
    for message in messages:
        context.messages.append(message)
        context.exchanges.append(history_message(message))
        context.tokens += cost(message)

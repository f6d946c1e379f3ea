"""What the model was shown of a conversation, kept between the turns of a live session.

A turn that continues where the last one ended then reads nothing but what is new: neither the
window's messages from the database, nor each of them encoded for the endpoint once more. The
memory says whether that is so (`TurnTicket.follows`), since another page or replica may have gone
on meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakValueDictionary

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import SessionKey
from cmw_agent.llm.chat_model import Exchange
from memory.conversations.context_window import cost, surplus
from memory.records import ContextMessage, ContextState, TurnTicket

MAX_ENTRIES = 1_000  # of one process, the most recently used; each holds one window


@dataclass(slots=True)
class CachedContext:
    """The window of a conversation as of its last answer.

    `seq` is the place of that answer; `said` and `exchanges` run in step, oldest first, and cost
    `tokens`. `born` is when the conversation began.
    """

    conversation_id: str
    seq: int
    said: list[ContextMessage]
    exchanges: list[Exchange]
    summary: str | None
    summarised: int
    born: datetime | None
    tokens: int

    @property
    def told(self) -> str | None:
        """The summary of what stands before the window, where anything does."""
        return self.summary if self.said and self.said[0].seq > 1 else None

    @property
    def known(self) -> ContextState:
        """What the memory needs to tell whether the conversation has gone on elsewhere."""
        return ContextState(self.seq, self.summarised, self.born)


class ContextCache:
    """The transcripts of one process; each hangs on its own session and goes with it.

    Args:
        budget: Tokens of a window.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        # in the order of their last answers
        self._sessions: WeakValueDictionary[SessionKey, LiveSession] = WeakValueDictionary()

    def known(self, session: LiveSession, conversation: str) -> ContextState | None:
        """Return what the session knows of the conversation already."""
        held = session.transcript
        if isinstance(held, CachedContext) and held.conversation_id == conversation:
            return held.known
        return None

    def take(self, session: LiveSession, ticket: TurnTicket) -> CachedContext:
        """Return what the model is to see in the ticket's turn, the new question included.

        The session holds nothing until the answer is there (`keep`).
        """
        held, session.transcript = session.transcript, None
        if not (ticket.follows and isinstance(held, CachedContext)):
            exchanges = [Exchange(item.role, item.content) for item in ticket.window]
            said, summary = list(ticket.window), ticket.summary
            place, covered = ticket.user_seq, ticket.summarized_through_seq
            tokens = sum(map(cost, said))
            return CachedContext(
                ticket.conversation_id,
                place,
                said,
                exchanges,
                summary,
                covered,
                ticket.conversation_created_at,
                tokens,
            )
        if ticket.summarized_through_seq != held.summarised:
            held.summary, held.summarised = ticket.summary, ticket.summarized_through_seq
        _add(held, ticket.window)
        gone, held.tokens = surplus(held.said, held.tokens, self._budget)
        del held.said[:gone], held.exchanges[:gone]
        return held

    def keep(self, session: LiveSession, held: CachedContext, answer_seq: int, answer: str) -> None:
        """Let the session go on from here: its answer is stored."""
        if answer:
            _add(held, [ContextMessage(answer_seq, "assistant", answer)])
        held.seq = answer_seq
        session.transcript = held
        self._sessions.pop(session.key, None)
        self._sessions[session.key] = session
        if len(self._sessions) > MAX_ENTRIES:
            oldest = self._sessions.pop(next(iter(self._sessions.keys())))
            oldest.transcript = None


def _add(held: CachedContext, new: Iterable[ContextMessage]) -> None:
    for item in new:
        held.said.append(item)
        held.exchanges.append(Exchange(item.role, item.content))
        held.tokens += cost(item)

"""The context window and the summary that a turn's ticket brings to its caller."""

from dataclasses import replace

import sqlalchemy as sa

from memory.conversations import reading, summaries
from memory.records import ContextMessage, ContextState, TurnTicket


def with_context(
    connection: sa.Connection,
    owner: str,
    ticket: TurnTicket,
    budget: int,
    *,
    text: str = "",
    known: ContextState | None = None,
) -> TurnTicket:
    """Return a fresh ticket with its context window, and the summary of what comes before.

    Args:
        connection: The transaction that has begun the turn.
        owner: The owner of the conversation.
        ticket: The ticket, without a window.
        budget: The size of the window in tokens.
        text: The user's message, where the turn has added it.
        known: What the caller has of the conversation already.
    """
    if known is not None and _continues(ticket, known):
        return _new_part(connection, owner, ticket, text, known)
    if text and ticket.user_seq == 1:
        return replace(ticket, window=(ContextMessage(1, "user", text),))
    window = reading.window(connection, owner, ticket.conversation_id, budget, ticket.answer_seq)
    summary, summarized_through_seq = None, 0
    if window and window[0].seq > 1:
        summary, summarized_through_seq = summaries.current(
            connection, owner, ticket.conversation_id
        )
    return replace(
        ticket,
        window=tuple(window),
        summary=summary,
        summarized_through_seq=summarized_through_seq,
    )


def _continues(ticket: TurnTicket, known: ContextState) -> bool:
    # A message has one path above it: the last one that is known stands for all before it.
    is_same = known.conversation_created_at == ticket.conversation_created_at
    return is_same and ticket.parent_seq == known.seq


def _new_part(
    connection: sa.Connection, owner: str, ticket: TurnTicket, text: str, known: ContextState
) -> TurnTicket:
    summary = None
    if ticket.summarized_through_seq != known.summarized_through_seq:
        summary, _ = summaries.current(connection, owner, ticket.conversation_id)
    window = (ContextMessage(ticket.user_seq, "user", text),)
    return replace(ticket, window=window, summary=summary, follows=True)

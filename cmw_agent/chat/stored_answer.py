"""Reads an answer that another process writes, from what the memory has of it."""

import asyncio
import time
from collections.abc import AsyncGenerator

from cmw_agent.chat.answer_events import stored_events
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import ApprovalRequested, ToolStarted, TurnEvent
from cmw_agent.core.store_errors import mapped_store_errors
from memory.conversations.turn_store import WATCH_SECONDS
from memory.records import RunningAnswer

POLL_SECONDS = 1.0  # between two reads of the stored part


async def stored_parts(session: LiveSession, conversation: str) -> AsyncGenerator[list[TurnEvent]]:
    """Yield the stored part of a running answer whenever it has grown, until the answer has ended.

    Reads the memory once a second, and marks the turn as watched: the process that writes the
    answer then stores it as often.

    Args:
        session: The session that reads; the conversation must be its owner's.
        conversation: The conversation's id.

    Yields:
        All events that reproduce the stored part.

    Raises:
        UserError: The memory fails.
    """
    memory, owner = session.memory, session.owner
    turn_id: str | None = None
    watched_at = -WATCH_SECONDS
    shown: list[TurnEvent] | None = None
    with mapped_store_errors():
        while (running := await memory.running_answer(owner, conversation)) is not None:
            if turn_id not in (None, running.answer.turn_id):
                return  # that one has ended, and the next has begun
            turn_id = running.answer.turn_id
            if time.monotonic() >= watched_at + WATCH_SECONDS / 3:
                watched_at = time.monotonic()
                await memory.watch_turn(owner, conversation)
            if (events := _events(running)) != shown:
                shown = events
                yield events
            await asyncio.sleep(POLL_SECONDS)


def _events(running: RunningAnswer) -> list[TurnEvent]:
    """Return the events of the stored part, and those of the calls that wait for a decision."""
    events = stored_events(running.answer)
    for question in running.questions:
        events.append(ToolStarted(question.call_id, question.name, question.arguments))
        events.append(ApprovalRequested(question.call_id, question.name, question.approval_id))
    return events

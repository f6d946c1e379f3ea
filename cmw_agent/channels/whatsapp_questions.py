"""Asks on WhatsApp before a tool changes something, and finds the word that answers.

A message of the same owner that came after the question and says yes or no is the answer: it is
taken out of the inbox, whichever replica has stored it there, and settles the call that waits in
this process. What else the owner sends waits until then.
"""

import asyncio
import contextlib
import logging
import secrets
from datetime import datetime

import orjson

from cmw_agent.approvals import Answer, Asked, Decision
from cmw_agent.channels.whatsapp_messages import Incoming
from cmw_agent.channels.whatsapp_text import split
from cmw_agent.errors import NotFound
from cmw_agent.identity import Principal
from cmw_agent.services import Services
from memory.errors import StoreError
from memory.outbox import NewSend
from memory.records import utcnow

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # for what another replica has stored
PENDING_SECONDS = 0.2  # for the next call of a turn that has asked already
SHOWN_CHARS = 1_500  # of a call's arguments
YES = frozenset({"yes", "y", "ok", "okay", "approve", "approved", "1", "да", "ja", "👍"})
NO = frozenset({"no", "n", "deny", "denied", "cancel", "stop", "2", "нет", "nein", "👎"})


class Bell:
    """Tells everyone who waits in this process that something has come."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return what the next ring sets; asked for before looking, so that none is missed."""
        return self._next


async def heard(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, no longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Questions:
    """See the module's text.

    Args:
        services: The calls that wait, inbox and outbox.
        bell: Rung when a message has come, and when there is something to send.
    """

    def __init__(self, services: Services, bell: Bell) -> None:
        self._services = services
        self._bell = bell

    async def ask(self, principal: Principal, conversation: str, incoming: Incoming) -> None:
        """Ask one after the other about the calls that wait, until this is cancelled.

        Args:
            principal: Whose calls they are; nobody else's word counts.
            conversation: Theirs, in which the calls wait.
            incoming: The message that led to them: the question goes where it came from.
        """
        approvals = self._services.approvals
        shown: Asked | None = None
        settled: list[Asked] = []
        since = utcnow()
        while True:
            event = self._bell.next()
            pending = approvals.pending(principal.id, conversation)
            asked = next((a for a in pending if not any(a is done for done in settled)), None)
            if asked is None:
                await heard(event, PENDING_SECONDS)
                continue
            try:
                if asked is not shown:
                    since = utcnow()
                    await self._show(principal, incoming, asked)
                    shown = asked
                answer = await self._answer(principal, since)
            except StoreError:
                log.warning("a question waits for the database owner=%s", principal.log_name)
                answer = None
            if answer is None:
                await heard(event, POLL_SECONDS)
                continue
            settled.append(asked)
            with contextlib.suppress(NotFound):  # its time was up
                decision = Decision(answer, dict(asked.arguments))
                approvals.settle(principal.id, conversation, asked.call_id, decision)

    async def _show(self, principal: Principal, incoming: Incoming, asked: Asked) -> None:
        name = f"q.{secrets.token_hex(16)}"
        sends = [
            NewSend(f"{name}.{place}", incoming.chat, incoming.via, part)
            for place, part in enumerate(split(question(asked)))
        ]
        await self._services.outbox.add(principal.id, sends)
        self._bell.ring()

    async def _answer(self, principal: Principal, since: datetime) -> Answer | None:
        inbox = self._services.inbox
        for message in await inbox.waiting(principal.id, since):
            answer = decision_of(message.payload.get("text"))
            if answer is not None and await inbox.take(principal.id, message.message_id):
                return answer
        return None


def decision_of(text: object) -> Answer | None:
    """Return what a message decides, or None where it is no such word."""
    word = text.strip().strip(".!*_/ ").lower() if isinstance(text, str) else ""
    if word in YES:
        return "approved"
    return "denied" if word in NO else None


def question(asked: Asked) -> str:
    """Return what the owner is asked about a call."""
    lines = [f"- {name}: {_value(value)}" for name, value in asked.arguments.items()]
    given = "\n".join(lines)
    if len(given) > SHOWN_CHARS:
        given = f"{given[:SHOWN_CHARS]}…"
    what = f" with:\n{given}" if given else "."
    return f"I would like to run *{asked.name}*{what}\n\nReply *yes* or *no*."


def _value(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return " ".join(text.split())

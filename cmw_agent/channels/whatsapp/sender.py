"""Sends what the outbox holds, and tries again what never went out or was refused for now.

A bridge that passes a text on and answers with an error all the same gets it a second time.
"""

from typing import Literal

from cmw_agent.channels.whatsapp.client import SendError, WhatsAppClient
from cmw_agent.core.logs import get_logger
from cmw_agent.observability.observers import Observer
from memory.queues.outbox import Outbox, Send

log = get_logger(__name__)

CHANNEL = "whatsapp"
MAX_ATTEMPTS = 8
FIRST_SECONDS, FACTOR, LONGEST_SECONDS = 1.0, 4.0, 4096.0  # between two attempts
MAX_AT_ONCE = 8


class Sender:
    """Delivers the texts of the outbox.

    Args:
        outbox: What is to be sent.
        client: Sends it.
        observer: Counts each attempt.
    """

    def __init__(self, outbox: Outbox, client: WhatsAppClient, observer: Observer) -> None:
        self._outbox = outbox
        self._client = client
        self._observer = observer

    async def due(self, room: int = MAX_AT_ONCE) -> list[Send]:
        """Return what this process is to deliver now, and give up what dead ones were sending."""
        given_up = await self._outbox.expire()
        if given_up:
            log.warning("sends of a process that died are uncertain", count=given_up)
        return await self._outbox.claim(room) if room > 0 else []

    async def deliver(self, send: Send) -> None:
        """Send a text and store the result."""
        try:
            await self._client.send(send.kind, send.recipient, send.text)
        except SendError as error:
            await self._failed(send, error)
        else:
            self._observer.sent(CHANNEL, "sent")
            await self._outbox.end(send.owner, send.send_id, "sent")

    async def count(self) -> None:
        """Report how many sends wait to the observer."""
        statistics = await self._outbox.statistics()
        self._observer.sends_waiting(statistics.counts.get("pending", 0))

    async def _failed(self, send: Send, error: SendError) -> None:
        is_last = send.attempts >= MAX_ATTEMPTS
        if error.may_retry and not is_last:
            seconds = max(pause(send.attempts), min(error.retry_after, LONGEST_SECONDS))
            self._observer.sent(CHANNEL, "again")
            await self._outbox.retry_later(send.owner, send.send_id, seconds, error.kind)
        else:
            state: Literal["failed", "uncertain"] = "failed" if error.is_known else "uncertain"
            self._observer.sent(CHANNEL, state)
            await self._outbox.end(send.owner, send.send_id, state, error.kind)
        log.warning(
            "send failed",
            send=send.send_id[:12],
            kind=error.kind,
            attempts=send.attempts,
            again=error.may_retry and not is_last,
        )


def pause(attempts: int) -> float:
    """Return how many seconds lie between an attempt, counted from 1, and the next."""
    return float(min(FIRST_SECONDS * FACTOR ** (attempts - 1), LONGEST_SECONDS))

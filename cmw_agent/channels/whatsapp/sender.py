"""Sends what the outbox holds, and tries again what never went out or was refused for now.

A bridge that passes a text on and answers with an error all the same gets it a second time. By the
Cloud API a text whose recipient has not written for a day waits until they do, see
`docs/adr/0058-texts-wait-for-the-service-window.md`.
"""

from typing import Literal

from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.groups import is_group, sent_name
from cmw_agent.channels.whatsapp.requests import SendError
from cmw_agent.channels.whatsapp.templates import CLOSED_WINDOW, WindowGate
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.channel_principals import is_phone
from cmw_agent.observability.observers import Observer
from memory.queues.outbox import Outbox, Send

log = get_logger(__name__)

CHANNEL = "whatsapp"
MAX_ATTEMPTS = 8
FIRST_SECONDS, FACTOR, LONGEST_SECONDS = 1.0, 4.0, 4096.0  # between two attempts
MAX_AT_ONCE = 8
TEXT_SECONDS = 600.0  # that a sent text stays stored: Meta may still refuse it by a webhook


class Sender:
    """Delivers the texts of the outbox.

    Args:
        outbox: What is to be sent.
        client: Sends it.
        observer: Counts each attempt.
        gate: Holds texts whose recipients may not be sent them now; None where none are.
    """

    def __init__(
        self,
        outbox: Outbox,
        client: WhatsAppClient,
        observer: Observer,
        gate: WindowGate | None = None,
    ) -> None:
        self._outbox = outbox
        self._client = client
        self._observer = observer
        self._gate = gate

    async def due(self, room: int = MAX_AT_ONCE) -> list[Send]:
        """Return what this process is to deliver now, and give up what dead ones were sending."""
        given_up = await self._outbox.expire()
        if given_up:
            log.warning("sends of a process that died are uncertain", count=given_up)
        if self._gate is not None and (held := await self._gate.settle()):
            has_template = self._gate.rule.call is not None
            log.warning("texts wait for their recipients", count=held, template=has_template)
        rule = None if self._gate is None else self._gate.rule
        return await self._outbox.claim(room, rule) if room > 0 else []

    async def deliver(self, send: Send) -> None:
        """Send a text and store the result."""
        try:
            sent_id = await self._client.send(send.kind, send.recipient, send.text, send.send_id)
        except SendError as error:
            await self._failed(send, error)
        else:
            self._observer.sent(CHANNEL, "sent")
            if sent_id and is_group(send.kind, send.recipient):
                # so that a reply to it is seen to be one
                name = sent_name(send.recipient, sent_id)
                await self._outbox.add_named(send.owner, name, name, ())
            # the holder of a key sees the failure; the app's own texts are sent again
            is_resendable = self._gate_of(send) is not None and is_phone(send.owner)
            await self._outbox.end(
                send.owner, send.send_id, "sent", keep_seconds=TEXT_SECONDS if is_resendable else 0
            )

    async def count(self) -> None:
        """Report how many sends wait to the observer."""
        statistics = await self._outbox.statistics()
        self._observer.sends_waiting(statistics.counts.get("pending", 0))

    def _gate_of(self, send: Send) -> WindowGate | None:
        """Return what holds a send where its recipient may not be sent it."""
        return self._gate if self._gate is not None and self._gate.rule.kind == send.kind else None

    async def _failed(self, send: Send, error: SendError) -> None:
        if error.kind == CLOSED_WINDOW and (gate := self._gate_of(send)) is not None:
            self._observer.sent(CHANNEL, "again")
            await gate.windows.refused(send.owner, send.send_id, send.recipient)
            return
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

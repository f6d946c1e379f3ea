"""Asks on WhatsApp before a tool changes something, and finds the word that answers.

A message of the same owner that came after the question was sent, to its last part, and says yes or
no is the answer: it is taken out of the inbox, whichever replica has stored it there, and settles
the call that waits in this process. What else the owner sends waits until then.

In a group, where "ok" may be said to somebody else, and soon after another question, which a late
word may be meant for, the answer must name the question's code. What cannot be asked is denied.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import datetime

from cmw_agent.channels.whatsapp.approval_text import ApprovalNotShowableError, question
from cmw_agent.channels.whatsapp.inbound import InboundMessage, digest
from cmw_agent.core.errors import NotFoundError, frames
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.tools.approvals import ApprovalOutcome, Decision, PendingApproval
from memory.errors import InvalidTextError, StoreError
from memory.queues.inbox import NewInboxMessage
from memory.queues.outbox import NewSend
from memory.records import utcnow

log = get_logger(__name__)

POLL_SECONDS = 1.0  # for what another replica has stored
PENDING_SECONDS = 0.2  # for the next call of a turn that has asked already
MAX_WAITING = 256  # people of this process who are being asked
LATE_SECONDS = 300  # after the end of a question, in which a late word may be meant for it
LETTERS, DIGITS = "abcdefghjkmnpqrstuvwxyz", "23456789"  # without those that look alike
TOO_LONG = (
    "One of my steps needed your approval, but it is too long to be shown here as a whole; so it "
    "was denied."
)
FULL = (
    "One of my steps needed your approval, but too many people are being asked right now; so it "
    "was denied. Please try again later."
)
FAILED = "One of my steps needed your approval, but I could not ask you; so it was denied."
YES = frozenset({"yes", "y", "ok", "okay", "approve", "approved", "1", "да", "ja", "👍"})
NO = frozenset({"no", "n", "deny", "denied", "cancel", "stop", "2", "нет", "nein", "👎"})


class ApprovalPromptError(Exception):
    """The question did not arrive, or perhaps did not."""


class WakeSignal:
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


class ApprovalPrompts:
    """See the module's text.

    Args:
        services: The calls that wait, inbox and outbox.
        bell: Rung when a message has come, and when there is something to send.
        most: How many people may be asked at once.
    """

    def __init__(self, services: Runtime, bell: WakeSignal, most: int = MAX_WAITING) -> None:
        self._services = services
        self._bell = bell
        self._most = most
        self._waiting: set[str] = set()

    def is_waiting(self, owner: str) -> bool:
        """Whether this owner is being asked, so that their turn does nothing meanwhile."""
        return owner in self._waiting

    async def ask(self, principal: Principal, conversation: str, incoming: InboundMessage) -> None:
        """Ask one after the other about the calls that wait, until this is cancelled.

        Args:
            principal: Whose calls they are; nobody else's word counts.
            conversation: Theirs, in which the calls wait.
            incoming: The message that led to them: the question goes where it came from.
        """
        approvals = self._services.approvals
        settled: list[PendingApproval] = []
        while True:
            event = self._bell.next()
            pending = approvals.pending(principal.id, conversation)
            asked = next((a for a in pending if not any(a is done for done in settled)), None)
            if asked is None:
                await heard(event, PENDING_SECONDS)
                continue
            answer = await self._decided(principal, conversation, incoming, asked)
            settled.append(asked)
            if answer is None:
                continue
            with contextlib.suppress(NotFoundError):  # its time was up
                decision = Decision(answer, dict(asked.arguments))
                approvals.settle(principal.id, conversation, asked.approval_id, decision)

    async def _decided(
        self,
        principal: Principal,
        conversation: str,
        incoming: InboundMessage,
        asked: PendingApproval,
    ) -> ApprovalOutcome | None:
        """Return what becomes of a call; None where its time is up."""
        owner = principal.id
        if owner in self._waiting or len(self._waiting) >= self._most:
            await self._tell(principal, incoming, FULL)
            return "denied"
        self._waiting.add(owner)
        try:
            return await self._answered(principal, conversation, incoming, asked)
        except ApprovalNotShowableError:
            told = TOO_LONG
        except ApprovalPromptError:
            log.warning("a question was not sent", owner=principal.log_name)
            told = FAILED
        except Exception as error:  # noqa: BLE001 (denied, told, named in the log)
            log.error("a question failed", cause=frames(error))  # noqa: TRY400
            told = FAILED
        finally:
            self._waiting.discard(owner)
        await self._tell(principal, incoming, told)
        return "denied"

    async def _answered(
        self,
        principal: Principal,
        conversation: str,
        incoming: InboundMessage,
        asked: PendingApproval,
    ) -> ApprovalOutcome | None:
        made = "".join(secrets.choice(signs) for signs in (LETTERS, DIGITS, LETTERS))
        question(asked, made)  # before the database is asked for anything
        name, ids = _name(), list[str]()
        code: str | None = None
        since: datetime | None = None
        while any(asked is found for found in self._pending(principal, conversation)):
            event = self._bell.next()
            try:
                if code is None:
                    code = made if await self._needs_code(principal, incoming) else ""
                # stored twice, it is the same
                ids = ids or await self._send(principal, incoming, name, question(asked, code))
                since = since or await self._sent(principal, ids)
                if since and (answer := await self._answer(principal, since, code)):
                    return answer
            except InvalidTextError:
                raise
            except StoreError:
                log.warning("a question waits for the database", owner=principal.log_name)
            await heard(event, POLL_SECONDS)
        return None

    def _pending(self, principal: Principal, conversation: str) -> list[PendingApproval]:
        return self._services.approvals.pending(principal.id, conversation)

    async def _needs_code(self, principal: Principal, incoming: InboundMessage) -> bool:
        """Whether a bare word could be meant for something else; every replica finds the same."""
        if incoming.is_group:
            return True
        length = int(self._services.settings.approval_seconds) + LATE_SECONDS
        span = int(utcnow().timestamp()) // length
        is_new = True
        for number in (span, span - 1):
            marker = NewInboxMessage(digest("question", principal.id, str(number)), {})
            is_new &= await self._services.inbox.answered(principal.id, marker) != "seen"
        return not is_new

    async def _tell(self, principal: Principal, incoming: InboundMessage, sentence: str) -> None:
        try:
            await self._send(principal, incoming, _name(), [sentence])
        except StoreError:
            log.warning("a denial could not be told", owner=principal.log_name)

    async def _send(
        self, principal: Principal, incoming: InboundMessage, name: str, texts: Sequence[str]
    ) -> list[str]:
        sends = [
            NewSend(f"{name}.{place}", incoming.chat, incoming.via, text)
            for place, text in enumerate(texts)
        ]
        await self._services.outbox.add(principal.id, sends)
        self._bell.ring()
        return [send.send_id for send in sends]

    async def _sent(self, principal: Principal, ids: Sequence[str]) -> datetime | None:
        """Return since when all parts of a question are sent; None while some are to be.

        Raises:
            ApprovalPromptError: One of them never will be, or nobody knows.
            StoreError: The memory fails.
        """
        found = await self._services.outbox.states(principal.id, ids)
        if len(found) < len(ids) or any(part.state in ("failed", "uncertain") for part in found):
            raise ApprovalPromptError
        ends = [part.ended_at for part in found if part.ended_at is not None]
        return max(ends) if len(ends) == len(ids) else None

    async def _answer(
        self, principal: Principal, since: datetime, code: str
    ) -> ApprovalOutcome | None:
        inbox = self._services.inbox
        for message in await inbox.waiting(principal.id, since):
            answer = decision_of(message.payload.get("text"), code)
            if answer is not None and await inbox.take(principal.id, message.message_id):
                return answer
        return None


def _name() -> str:
    """Return what no other question is called, and nobody can guess."""
    return f"q.{secrets.token_hex(16)}"


def decision_of(text: object, code: str = "") -> ApprovalOutcome | None:
    """Return what a message decides, or None where it is no such word.

    With a code, the word must be followed by it; without one, it must stand alone.
    """
    words = text.lower().split() if isinstance(text, str) else []
    words = [bare for word in words if (bare := word.strip(".,!*_/"))]
    if words[1:] != ([code] if code else []) or not words:
        return None
    if words[0] in YES:
        return "approved"
    return "denied" if words[0] in NO else None

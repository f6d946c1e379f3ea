"""ApprovalPrompts: asks on WhatsApp before a tool changes something, and finds the decision.

A message of the same owner that came after the question was sent, to its last part, and says yes or
no is the decision: it is taken out of the inbox, whichever replica has stored it there, and settles
the call that waits in this process. What else the owner sends waits until then.

In a group, where "ok" may be said to someone else, and soon after another question, for which a late
answer may be meant, the answer must name the question's code. What cannot be asked is denied.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import datetime

from cmw_agent.channels.whatsapp.approval_text import ApprovalNotShowableError, question
from cmw_agent.channels.whatsapp.inbound import InboundMessage, digest
from cmw_agent.core.errors import NotFoundError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, languages, wording
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.tools.approvals import (
    ANSWER,
    ApprovalOutcome,
    Decision,
    PendingApproval,
    question_of,
)
from memory.errors import InvalidTextError, StoreError
from memory.queues.inbox import NewInboxMessage
from memory.queues.outbox import NewSend
from memory.records import utcnow

log = get_logger(__name__)

POLL_SECONDS = 1.0  # for what another replica has stored
PENDING_SECONDS = 0.2  # for the next call of a turn that has asked already
MAX_WAITING = 256  # people of this process who are being asked
LATE_SECONDS = 300  # after the end of a question, in which a late answer may be meant for it
LETTERS, DIGITS = "abcdefghjkmnpqrstuvwxyz", "23456789"  # without those that look alike
TOO_LONG = wording(
    "One of my steps needed your approval, but it is too long to be shown here as a whole; so it "
    "was denied."
)
FULL = wording(
    "One of my steps needed your approval, but too many people are being asked right now; so it "
    "was denied. Please try again later."
)
FAILED = wording("One of my steps needed your approval, but I could not ask you; so it was denied.")
YES = frozenset({"yes", "y", "ok", "okay", "approve", "approved", "1", "да", "ja", "👍"})
NO = frozenset({"no", "n", "deny", "denied", "cancel", "stop", "2", "нет", "nein", "👎"})


class ApprovalPromptError(Exception):
    """The question did not arrive, or perhaps did not."""


class WakeSignal:
    """Wakes everyone in this process who waits for messages or sends."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake everyone who waits."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return the event of the next notification; take it before looking, so that none is missed."""
        return self._next


async def wait_for_signal(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, no longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class ApprovalPrompts:
    """Asks owners for their decisions by WhatsApp.

    Args:
        services: The calls that wait, inbox and outbox.
        signal: Notified when a message has come, and when there is something to send.
        max_waiting: How many people may be asked at once.
    """

    def __init__(
        self, services: Runtime, signal: WakeSignal, max_waiting: int = MAX_WAITING
    ) -> None:
        self._services = services
        self._signal = signal
        self._max_waiting = max_waiting
        self._waiting: set[str] = set()

    def _language_of(self, incoming: InboundMessage) -> Language:
        return languages().of(incoming.language or self._services.settings.language)

    def is_waiting(self, owner: str) -> bool:
        """Whether this owner is being asked, so that their turn does nothing meanwhile."""
        return owner in self._waiting

    async def ask(self, principal: Principal, conversation: str, incoming: InboundMessage) -> None:
        """Ask one after the other about the calls that wait, until this is cancelled.

        Args:
            principal: Whose calls they are; nobody else can decide.
            conversation: The owner's, in which the calls wait.
            incoming: The message that led to them: the question goes where it came from.
        """
        approvals = self._services.approvals
        settled: list[PendingApproval] = []
        while True:
            event = self._signal.next()
            pending = approvals.pending(principal.id, conversation)
            approval = next((a for a in pending if not any(a is done for done in settled)), None)
            if approval is None:
                await wait_for_signal(event, PENDING_SECONDS)
                continue
            decision = await self._decide(principal, conversation, incoming, approval)
            settled.append(approval)
            if decision is None:
                continue
            with contextlib.suppress(NotFoundError):  # its time was up
                approvals.settle(principal.id, conversation, approval.approval_id, decision)

    async def _decide(
        self,
        principal: Principal,
        conversation: str,
        incoming: InboundMessage,
        approval: PendingApproval,
    ) -> Decision | None:
        """Return what becomes of a call; None where its time is up."""
        owner, denied = principal.id, Decision("denied", dict(approval.arguments))
        if owner in self._waiting or len(self._waiting) >= self._max_waiting:
            await self._tell(principal, incoming, FULL)
            return denied
        self._waiting.add(owner)
        try:
            return await self._wait_for_decision(principal, conversation, incoming, approval)
        except ApprovalNotShowableError:
            sentence = TOO_LONG
        except ApprovalPromptError:
            log.warning("a question was not sent", owner=principal.log_name)
            sentence = FAILED
        except Exception as error:  # noqa: BLE001 (denied; the user is told, the log has its cause)
            log.error("a question failed", cause=describe_exception(error))  # noqa: TRY400
            sentence = FAILED
        finally:
            self._waiting.discard(owner)
        await self._tell(principal, incoming, sentence)
        return denied

    async def _wait_for_decision(
        self,
        principal: Principal,
        conversation: str,
        incoming: InboundMessage,
        approval: PendingApproval,
    ) -> Decision | None:
        new_code = "".join(secrets.choice(signs) for signs in (LETTERS, DIGITS, LETTERS))
        language = self._language_of(incoming)
        question(approval, language, new_code)  # before the first query
        name, send_ids = _question_id(), list[str]()
        code: str | None = None
        since: datetime | None = None
        while any(approval is pending for pending in self._pending(principal, conversation)):
            event = self._signal.next()
            try:
                if code is None:
                    code = new_code if await self._needs_code(principal, incoming) else ""
                # stored twice, it is the same
                send_ids = send_ids or await self._send(
                    principal, incoming, name, question(approval, language, code)
                )
                since = since or await self._sent_since(principal, send_ids)
                if since:
                    found = await self._find_decision(principal, since, code, approval)
                    if found is not None:
                        return found
            except InvalidTextError:
                raise
            except StoreError:
                log.warning("a question waits for the database", owner=principal.log_name)
            await wait_for_signal(event, POLL_SECONDS)
        return None

    def _pending(self, principal: Principal, conversation: str) -> list[PendingApproval]:
        return self._services.approvals.pending(principal.id, conversation)

    async def _needs_code(self, principal: Principal, incoming: InboundMessage) -> bool:
        """Whether a bare yes or no could be meant for something else; all replicas agree."""
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
            await self._send(
                principal,
                incoming,
                _question_id(),
                [self._language_of(incoming).translate(sentence)],
            )
        except StoreError:
            log.warning("a denial could not be told", owner=principal.log_name)

    async def _send(
        self, principal: Principal, incoming: InboundMessage, name: str, texts: Sequence[str]
    ) -> list[str]:
        sends = [
            NewSend(f"{name}.{index}", incoming.chat, incoming.via, text)
            for index, text in enumerate(texts)
        ]
        await self._services.outbox.add(principal.id, sends)
        self._signal.notify()
        return [send.send_id for send in sends]

    async def _sent_since(self, principal: Principal, send_ids: Sequence[str]) -> datetime | None:
        """Return since when all parts of a question are sent; None while some are to be.

        Raises:
            ApprovalPromptError: One of them never will be, or perhaps was.
            StoreError: The memory fails.
        """
        parts = await self._services.outbox.states(principal.id, send_ids)
        if len(parts) < len(send_ids) or any(
            part.state in ("failed", "uncertain") for part in parts
        ):
            raise ApprovalPromptError
        ends = [part.ended_at for part in parts if part.ended_at is not None]
        return max(ends) if len(ends) == len(send_ids) else None

    async def _find_decision(
        self, principal: Principal, since: datetime, code: str, approval: PendingApproval
    ) -> Decision | None:
        inbox = self._services.inbox
        for message in await inbox.waiting(principal.id, since):
            decision = read_decision(approval, message.payload.get("text"), code)
            if decision is not None and await inbox.take(principal.id, message.message_id):
                return decision
        return None


def _question_id() -> str:
    """Return a random id for a question."""
    return f"q.{secrets.token_hex(16)}"


def read_decision(approval: PendingApproval, text: object, code: str) -> Decision | None:
    """Return the decision that a message is; None where it is none.

    Any text answers an agent's question; with a code, one that begins with it.
    """
    if question_of(approval) is None:
        outcome = decision_of(text, code)
        return Decision(outcome, dict(approval.arguments)) if outcome is not None else None
    given = text.strip() if isinstance(text, str) else ""
    if code:
        first, _, rest = given.partition(" ")
        given = rest.strip() if first.lower().strip(".,:!*_/") == code else ""
    return Decision("approved", {**approval.arguments, ANSWER: given}) if given else None


def decision_of(text: object, code: str = "") -> ApprovalOutcome | None:
    """Return the decision that a message is, or None where it is none.

    Yes or no must be followed by the code, and stand alone where there is none.
    """
    words = text.lower().split() if isinstance(text, str) else []
    words = [bare for word in words if (bare := word.strip(".,!*_/"))]
    if words[1:] != ([code] if code else []) or not words:
        return None
    if words[0] in YES:
        return "approved"
    return "denied" if words[0] in NO else None

"""Runs due recurring tasks, each as its owner and in its conversation.

A process claims an occasion in the database (`memory.queues.schedules`) and so runs it alone. A run
is a turn under the owner's limits, in which nobody can approve anything: tool calls that need an
approval are denied. See ``docs/adr/0020-schedules-claimed-from-the-database.md``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from zoneinfo import ZoneInfo

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.dependencies import AgentRemovedError
from cmw_agent.chat.service import ChatService
from cmw_agent.conversations.sessions import LiveSession, SessionOrigin, SessionRegistry
from cmw_agent.core.errors import (
    ConversationInUseError,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
    UserError,
    describe_exception,
)
from cmw_agent.core.events import TurnFinished, TurnStarted
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sources import source_lines
from cmw_agent.identity.principals import Principal, PrincipalKind, SessionKey
from cmw_agent.language import Language, languages, wording
from cmw_agent.limits.limiter import MINUTE, RateLimitError
from cmw_agent.observability.observers import Observer
from memory.errors import ConversationBusyError, ConversationNotFoundError, StoreError
from memory.queues.schedule_claims import MAX_MISSED
from memory.queues.schedules import ClaimedRun, MissedRuns, RunEnd, Schedules, Unvisited
from memory.records import NewTurn, utcnow

log = get_logger(__name__)

MAX_RUNS = 8  # of one process at once
RETRY_AFTER = timedelta(minutes=1)  # for a run that could not begin
CHANNEL = "schedule"  # of all runs in metrics and logs, wherever their answers are sent
UNVISITED = timedelta(days=30)
VISITOR_PREFIX = "v"  # of visitors' owner ids
ENDED = wording(
    "This recurring task has ended, since you have not been here for 30 days. To have it again, "
    "write `/schedule` with its times and what is to be done."
)
LOGGED_ID_CHARS = 12  # of a task's id in log lines
ANSWERED = ("length", "missing")  # finish reasons of answers that are cut and still answers
MARK = "⏰"  # before the stored message, which the user did not write just now
KINDS: Mapping[str, PrincipalKind] = MappingProxyType(
    {"v": "visitor", "a": "account", "r": "client", "w": "widget", "p": "phone", "x": "party"}
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer that a channel is to send.

    Args:
        owner: Owner of the task.
        channel: Name of the channel.
        recipient: Address of the owner in that channel.
        text: The answer.
    """

    owner: str
    channel: str
    recipient: str | None
    text: str


Deliver = Callable[[Delivery], Awaitable[None]]
LanguageOf = Callable[[str], Awaitable[Language]]


@dataclass(frozen=True, slots=True)
class _Note:
    """What the app writes about a task into its conversation; `about` makes it unique."""

    owner: str
    conversation_id: str
    schedule_id: str
    task: str
    about: str


def missed_text(claimed: ClaimedRun, missed: MissedRuns, language: Language) -> str:
    """Return the sentence that tells an owner which runs of a task were missed."""
    zone = ZoneInfo(claimed.schedule.time_zone)
    first, last = (language.moment(moment, zone) for moment in (claimed.occasion, missed.last))
    if missed.count == 1:
        return language.gettext(
            "This recurring task did not run on {first}, since the app was not available then.",
            first=first,
        )
    if missed.count == MAX_MISSED:
        return language.gettext(
            "This recurring task did not run at least {count} times, from {first} to {last}, "
            "since the app was not available then.",
            count=missed.count,
            first=first,
            last=last,
        )
    return language.ngettext(
        "This recurring task did not run {count} time, from {first} to {last}, since the app was "
        "not available then.",
        "This recurring task did not run {count} times, from {first} to {last}, since the app was "
        "not available then.",
        missed.count,
        first=first,
        last=last,
    )


def _utc_text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def owner_of(claimed: ClaimedRun) -> Principal:
    """Return the principal that runs a task: its owner, without a login.

    Raises:
        ValueError: The owner's kind cannot have tasks, such as an ephemeral visitor.
    """
    return _principal(claimed.owner)


def _principal(owner: str) -> Principal:
    kind = KINDS.get(owner[:1])
    if kind is None:
        raise ValueError("no stored principal has such an id")
    return Principal(owner, kind)


def session_key(claimed: ClaimedRun) -> SessionKey:
    """Return the key of the live session in which a task runs.

    No request can name this key: the guard derives theirs with a secret.
    """
    return _session_key(claimed.owner, claimed.schedule.schedule_id)


def _session_key(owner: str, schedule_id: str) -> SessionKey:
    text = f"cmw.schedule\0{owner}\0{schedule_id}"
    return SessionKey(sha256(text.encode()).hexdigest())


class Scheduler:
    """Runs due recurring tasks in this process.

    Args:
        store: The tasks of all owners.
        chat: Runs the turns.
        registry: Holds the session of a run during the run.
        observer: Receives the outcome of each run.
        origin: Base URL of the app, for links that tools make.
        deliver: Sends an answer by its channel; without it answers stay in the conversation.
        language: The language of notes and of errors in answers; English by default.
        language_of: Returns an owner's, where that differs.
        clock: Returns the current time, with its zone.
    """

    def __init__(
        self,
        store: Schedules,
        chat: ChatService,
        registry: SessionRegistry,
        observer: Observer,
        *,
        origin: str = "",
        deliver: Deliver | None = None,
        language: Language | None = None,
        language_of: LanguageOf | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._store = store
        self._chat = chat
        self._registry = registry
        self._observer = observer
        self._origin = origin
        self._deliver = deliver
        self._language = language or languages().english
        self._own_language = language_of
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()

    async def tick(self) -> None:
        """Start due runs, as many as there is room for; to be called every few seconds."""
        try:
            if not await self._store.is_due():
                return
            while len(self._running) < MAX_RUNS and (claimed := await self._claim()) is not None:
                task = asyncio.create_task(self._work(claimed), name="schedule")
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        except StoreError as error:
            log.warning("due recurring tasks could not be read", cause=describe_exception(error))

    async def end_unvisited(self) -> int:
        """End the tasks of visitors who have not come for a month, with a note to each.

        Returns:
            The number of ended tasks.
        """
        try:
            tasks = await self._store.unvisited(
                since=self._clock() - UNVISITED, prefix=VISITOR_PREFIX
            )
            return sum([await self._end(task) for task in tasks])
        except StoreError as error:
            log.warning("recurring tasks could not be ended", cause=describe_exception(error))
            return 0

    async def _end(self, task: Unvisited) -> bool:
        note = _Note(task.owner, task.conversation_id, task.schedule_id, task.text, "unvisited")
        try:
            await self._write(note, (await self._language_of(task.owner)).translate(ENDED))
        except ConversationBusyError:
            return False  # its owner is back, or it runs now: decided at the next call
        except ConversationNotFoundError:
            pass  # its conversation was deleted, so the task is too
        return await self._store.cancel(task.owner, task.schedule_id)

    async def _write(self, note: "_Note", text: str) -> None:
        """Store a note as the answer to a task in its conversation, once."""
        principal = _principal(note.owner)
        key = _session_key(note.owner, note.schedule_id)
        session = await self._registry.session(key, principal)
        try:
            ticket = await session.memory.begin_turn(
                note.owner,
                NewTurn(
                    note.conversation_id,
                    f"{MARK} {note.task}",
                    key=f"schedule {note.schedule_id} {note.about}",
                ),
            )
            if ticket.fresh:
                await session.memory.finish_turn(
                    note.owner,
                    ticket.turn_id,
                    status="complete",
                    content=text,
                    tool_calls=[],
                    tokens_used=None,
                    latency_ms=None,
                    model_used=None,
                    error_id=None,
                )
        finally:
            await self._registry.release(key, principal)

    async def _language_of(self, owner: str) -> Language:
        return self._language if self._own_language is None else await self._own_language(owner)

    async def rest(self) -> None:
        """Wait until no run is left."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Stop all runs; their partial answers are stored."""
        for task in self._running:
            task.cancel()
        await self.rest()

    async def _claim(self) -> ClaimedRun | None:
        """Claim a due run; a process without room for a turn leaves it due."""
        return None if not self._chat.has_room else await self._store.claim_due()

    async def _work(self, first: ClaimedRun) -> None:
        claimed: ClaimedRun | None = first
        while claimed is not None:
            try:
                await self._run(claimed)
                claimed = await self._claim()
            except StoreError as error:
                # Its lease expires by itself, and its next time is stored already.
                log.warning(
                    "a recurring task's end was not stored", cause=describe_exception(error)
                )
                return

    async def _run(self, claimed: ClaimedRun) -> None:
        try:
            if claimed.missed is not None:
                ending = await self._reported(claimed, claimed.missed)
            else:
                ending = await self._ended(claimed)
        except asyncio.CancelledError:
            await self._finish(claimed, RunEnd("interrupted"))
            raise
        except Exception as error:  # noqa: BLE001 (named in the log; the task counts as failed)
            self._log(claimed, "failed", error)
            ending = RunEnd("failed")
        await self._finish(claimed, ending)

    async def _finish(self, claimed: ClaimedRun, ending: RunEnd) -> None:
        schedule = claimed.schedule.schedule_id
        await self._store.finish(claimed.owner, schedule, claimed.holder, ending)
        self._observer.schedule_ran(ending.outcome)

    async def _ended(self, claimed: ClaimedRun) -> RunEnd:
        try:
            finished, text = await self._turn(claimed)
        except RateLimitError as error:
            soon = error.retry_after <= MINUTE
            return self._postponed() if soon else RunEnd("limited")
        except (ConversationInUseError, OverloadedError, ServiceUnavailableError):
            return self._postponed()
        except AgentRemovedError:
            return RunEnd("failed")  # the agent is gone, or its owner may no longer use it
        except NotFoundError:
            return RunEnd("interrupted")  # its conversation was deleted, and the task with it
        except UserError as error:
            self._log(claimed, "failed", error)
            return RunEnd("failed")
        is_cut = finished.outcome == "interrupted" and finished.sentence is None
        language = await self._language_of(claimed.owner)
        sentence = language.translate(finished.sentence or "")
        answer = "\n\n".join(part for part in (text, sentence) if part)
        if self._deliver is not None and not is_cut and answer:
            await self._deliver(
                Delivery(claimed.owner, claimed.channel, claimed.schedule.recipient, answer)
            )
        if is_cut:
            return RunEnd("interrupted")  # the owner stopped it
        is_answered = finished.outcome == "complete" or finished.finish_reason in ANSWERED
        return RunEnd("complete" if is_answered else "failed")

    async def _reported(self, claimed: ClaimedRun, missed: MissedRuns) -> RunEnd:
        """Tell the owner, where the task's answers go, which of its runs were missed."""
        schedule = claimed.schedule
        note = _Note(
            claimed.owner,
            schedule.conversation_id,
            schedule.schedule_id,
            schedule.text,
            f"missed {_utc_text(claimed.occasion)}",
        )
        text = missed_text(claimed, missed, await self._language_of(claimed.owner))
        try:
            await self._write(note, text)
        except ConversationBusyError:
            return self._postponed()
        except ConversationNotFoundError:
            return RunEnd("interrupted")  # the conversation was deleted, and the task with it
        if self._deliver is not None:
            await self._deliver(Delivery(claimed.owner, claimed.channel, schedule.recipient, text))
        return RunEnd("interrupted")

    async def _turn(self, claimed: ClaimedRun) -> tuple[TurnFinished, str]:
        principal = owner_of(claimed)
        await self._chat.admit(principal, None)
        key = session_key(claimed)
        session = await self._registry.session(key, principal)
        self._prepare(session, claimed)
        session.language = await self._language_of(claimed.owner)
        try:
            turn = self._chat.turn(
                session,
                f"{MARK} {claimed.schedule.text}",
                key=f"schedule {claimed.schedule.schedule_id} {_utc_text(claimed.occasion)}",
                create=False,
                request_id=claimed.schedule.schedule_id[:LOGGED_ID_CHARS],
            )
            finished, answer = TurnFinished("interrupted"), AnswerAccumulator()
            async with turn:
                async for event in turn:
                    if isinstance(event, TurnFinished):
                        finished = event
                    elif not isinstance(event, TurnStarted):
                        answer.add(event)
            return finished, "\n\n".join(
                part for part in (answer.text, "\n".join(source_lines(answer.sources))) if part
            )
        finally:
            await self._registry.release(key, principal)

    def _prepare(self, session: LiveSession, claimed: ClaimedRun) -> None:
        session.conversation_id = claimed.schedule.conversation_id
        session.agent_id = claimed.agent_id
        session.channel = CHANNEL
        session.origin = self._origin
        session.can_ask = False
        session.provenance = SessionOrigin(tenant_id=claimed.tenant_id)

    def _postponed(self) -> RunEnd:
        return RunEnd("postponed", retry_at=self._clock() + RETRY_AFTER)

    def _log(self, claimed: ClaimedRun, outcome: str, error: BaseException) -> None:
        log.error(
            "recurring task %s",
            outcome,
            principal=_log_name(claimed),
            cause=describe_exception(error),
        )


def _log_name(claimed: ClaimedRun) -> str:
    """Return the owner's name for logs, also where its kind cannot have tasks."""
    kind = KINDS.get(claimed.owner[:1], "ephemeral")
    return Principal(claimed.owner, kind).log_name

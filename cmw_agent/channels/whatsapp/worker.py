"""Worker: answers the messages of the inbox and sends the texts of the outbox.

Of one owner, one message after the other; of all, a bounded number at once, not counting those
whose turn waits for a decision, which have a bound of their own. What a process that died was doing is
given up, and its sender is told so; see ``docs/adr/0019-whatsapp-inbox-and-outbox.md``.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from cmw_agent.channels.whatsapp.answering import Progress, TurnNotStartedError, WhatsAppAnswerer
from cmw_agent.channels.whatsapp.approvals import WakeSignal, wait_for_signal
from cmw_agent.channels.whatsapp.formatting import split
from cmw_agent.channels.whatsapp.inbound import InboundMessage, digest
from cmw_agent.channels.whatsapp.sender import MAX_AT_ONCE, Sender
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, languages, wording
from cmw_agent.runtime.runtime import Runtime
from memory.errors import StoreError
from memory.queues.inbox import InboxMessage, InboxState
from memory.queues.outbox import NewSend

log = get_logger(__name__)

AT_ONCE = 32  # messages of this process, beside those that wait for a decision
POLL_SECONDS = 2.0
RENEW_SECONDS = 15.0
END_SECONDS = 10.0  # in which what runs is to end with the process
LOST = wording(
    "I was interrupted while I worked on your last message. A part of it may be done; please "
    "look, and send it again if you still need it."
)
UNBEGUN = wording("I am about to restart and have not read your message; please send it again.")


class Worker:
    """Works through the inbox and the outbox.

    Args:
        services: Inbox and the service that runs turns.
        answerer: Answers messages.
        sender: Sends texts.
        signal: Notified when there is something to do.
        clock: Seconds that pass, to count leases by.
    """

    def __init__(
        self,
        services: Runtime,
        answerer: WhatsAppAnswerer,
        sender: Sender,
        signal: WakeSignal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._answerer = answerer
        self._sender = sender
        self._signal = signal
        self._messages: dict[asyncio.Task[Any], tuple[InboxMessage, Progress]] = {}
        self._untouched: list[tuple[InboxMessage, bool]] = []
        self._sends: set[asyncio.Task[None]] = set()
        self._language = languages().of(services.settings.language)
        self._clock = clock
        self._renewed = self._counted = clock()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work during the block; what still runs at its end is ended and stored."""
        loop = asyncio.create_task(self._run(), name="whatsapp")
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.wait([loop])
            await self._close()

    def reply(self, message: InboxMessage) -> asyncio.Task[str]:
        """Begin to answer a message that the caller has taken; the task returns the answer.

        However it ends, no other process takes the message: its answer would be a second one.
        """
        progress = Progress(is_reply=True)
        task = asyncio.create_task(self._replied(message, progress), name="whatsapp-reply")
        self._messages[task] = (message, progress)
        task.add_done_callback(self._forget_task)
        return task

    async def _run(self) -> None:
        while True:
            event = self._signal.next()
            try:
                await self._round()
            except StoreError:
                log.warning("the inbox waits for the database")
            except Exception as error:  # noqa: BLE001 (the next round may do better)
                log.error("a round failed", cause=describe_exception(error))  # noqa: TRY400
            await wait_for_signal(event, POLL_SECONDS)

    async def _round(self) -> None:
        inbox = self._services.inbox
        await self._renew()
        if self._clock() - self._counted >= RENEW_SECONDS:
            self._counted = self._clock()
            await self._sender.count()
            self._services.observer.messages_waiting(await inbox.backlog())
        own = [message for message, _ in self._messages.values()]
        if lost := await inbox.mark_lost(partial(notice, language=self._language), own):
            log.warning("messages were lost with a process that died", count=lost)
        await self._leave_untouched()
        is_waiting = self._answerer.is_waiting
        room = AT_ONCE - sum(
            not is_waiting(message.owner) for message, _ in self._messages.values()
        )
        if room > 0 and self._services.chat.has_room:
            for message in await inbox.claim(room):
                self._begin(message)
        for send in await self._sender.due(MAX_AT_ONCE - len(self._sends)):
            task = asyncio.create_task(self._sent(self._sender.deliver(send)), name="whatsapp-send")
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
            task.add_done_callback(lambda _: self._signal.notify())

    async def _renew(self) -> None:
        """Keep what runs here; where that fails, the round ends, and the next one tries again."""
        now = self._clock()
        if self._messages and now - self._renewed >= RENEW_SECONDS:
            await self._services.inbox.renew([message for message, _ in self._messages.values()])
            self._renewed = now

    def _begin(self, message: InboxMessage) -> None:
        progress = Progress()
        task = asyncio.create_task(
            self._answer_and_queue(message, progress), name="whatsapp-message"
        )
        self._messages[task] = (message, progress)
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        message, progress = self._messages.pop(task)
        if not progress.was_touched:  # cancelled before its first step
            self._untouched.append((message, progress.is_reply))
        self._signal.notify()

    async def _sent(self, delivering: Coroutine[Any, Any, None]) -> None:
        try:
            await delivering
        except StoreError:
            # It stands as being sent until its lease ends, and is uncertain then.
            log.warning("what became of a send could not be stored")
        except Exception as error:  # noqa: BLE001 (named in the log, visible in the outbox)
            log.error("a send failed", cause=describe_exception(error))  # noqa: TRY400

    async def _answer_and_queue(self, message: InboxMessage, progress: Progress) -> None:
        """Answer a message, and keep its answer for the sender."""
        try:
            text = await self._answered(message, progress, can_ask=True)
        except TurnNotStartedError:
            await self._give_back(message)
        except asyncio.CancelledError:
            if not progress.has_begun:
                await self._give_back(message)
            raise
        else:
            await self._finish(message, "done", replies(message, text))

    async def _replied(self, message: InboxMessage, progress: Progress) -> str:
        """Answer a message to the request that has brought it."""
        state: InboxState = "failed"
        try:
            text = await self._answered(message, progress, can_ask=False)
            state = "done"
        except TurnNotStartedError:
            text = self._language_of(message).translate(UNBEGUN)
        finally:
            await self._finish(message, state)
        return text

    async def _answered(self, message: InboxMessage, progress: Progress, *, can_ask: bool) -> str:
        """Return the answer. Raises TurnNotStartedError where the process ends, and nothing was done."""
        progress.was_touched = True
        try:
            return await self._answerer.answer(message, progress, can_ask=can_ask)
        except TurnNotStartedError:
            raise
        except Exception as error:  # noqa: BLE001 (the user gets its id, the log its cause)
            user_error = UserError()
            log.error(  # noqa: TRY400 (its text is not for the log)
                "message failed", error_id=user_error.error_id, cause=describe_exception(error)
            )
            return user_error.text(self._language_of(message))

    def _language_of(self, message: InboxMessage) -> Language:
        incoming = InboundMessage.from_json(message.payload)
        return languages().of(incoming.language or self._services.settings.language)

    async def _finish(
        self, message: InboxMessage, state: InboxState, sends: Sequence[NewSend] = ()
    ) -> None:
        inbox = self._services.inbox
        with _log_store_errors(message):
            key, holder = message.message_id, message.holder
            if not await inbox.finish(message.owner, key, holder, state, sends):
                name = Principal(message.owner, "phone").log_name
                log.warning("an answer came too late", message=key[:12], owner=name)

    async def _give_back(self, message: InboxMessage) -> None:
        with _log_store_errors(message):
            key, holder = message.message_id, message.holder
            await self._services.inbox.give_back(message.owner, key, holder)

    async def _leave_untouched(self) -> None:
        while self._untouched:
            message, is_reply = self._untouched[0]
            await (self._finish(message, "failed") if is_reply else self._give_back(message))
            del self._untouched[0]

    async def _close(self) -> None:
        for _, progress in self._messages.values():
            if progress.turn is not None:
                progress.turn.stop()
        waiting = [task for task, (_, progress) in self._messages.items() if progress.turn is None]
        for task in waiting:
            task.cancel()
        tasks = [*self._messages, *self._sends]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._leave_untouched()


def replies(message: InboxMessage, text: str) -> Sequence[NewSend]:
    """Return the sends of an answer; each part has the same id at each call."""
    incoming = InboundMessage.from_json(message.payload)
    return [
        NewSend(f"{message.message_id}.{index}", incoming.chat, incoming.via, part)
        for index, part in enumerate(split(text))
    ]


def notice(message: InboxMessage, *, language: Language) -> Sequence[NewSend]:
    """Return the sends for a message that a process that died has not answered.

    They are in `language` where its sender has chosen none.
    """
    if not message.payload or message.payload.get("inline"):
        return ()
    incoming = InboundMessage.from_json(message.payload)
    send_id = digest("lost", message.owner, message.message_id)
    language = languages().of(incoming.language) if incoming.language else language
    return [NewSend(send_id, incoming.chat, incoming.via, language.translate(LOST))]


@contextlib.contextmanager
def _log_store_errors(message: InboxMessage) -> Any:
    try:
        yield
    except StoreError:
        # Its lease ends by itself, and it counts as lost then: visible, and never run again.
        log.warning("the end of a message could not be stored", message=message.message_id[:12])

"""WhatsApp's routes: signed deliveries, texts that an operator sends, and statistics.

Beside requests it works through what is stored, while the process runs.
"""

import asyncio
import contextlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cmw_agent.agent.access import PHONE
from cmw_agent.channels.common.api_keys import Keys, UnauthorizedError
from cmw_agent.channels.common.callers import Callers, base_of
from cmw_agent.channels.whatsapp.answering import (
    CHANNEL,
    WhatsAppAnswerer,
    alone,
    owner_of,
    private,
)
from cmw_agent.channels.whatsapp.approvals import WakeSignal
from cmw_agent.channels.whatsapp.authentication import BodySignature
from cmw_agent.channels.whatsapp.bridges.choice import bridge_of, secrets_of
from cmw_agent.channels.whatsapp.client import WhatsAppClient
from cmw_agent.channels.whatsapp.cloud_webhook import (
    USER_ID,
    SendStatus,
    read_failures,
    read_messages,
)
from cmw_agent.channels.whatsapp.formatting import PARSER_WORK, split
from cmw_agent.channels.whatsapp.groups import GroupRules, is_group
from cmw_agent.channels.whatsapp.inbound import (
    ADDRESS,
    InboundDelivery,
    InboundMessage,
    digest,
    invalid,
)
from cmw_agent.channels.whatsapp.refusals import Refusals
from cmw_agent.channels.whatsapp.requests import too_large
from cmw_agent.channels.whatsapp.sender import Sender
from cmw_agent.channels.whatsapp.templates import CLOSED_WINDOW, window_gate
from cmw_agent.channels.whatsapp.worker import Worker
from cmw_agent.core.errors import (
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    StartupError,
    UserError,
)
from cmw_agent.core.http_headers import media_type
from cmw_agent.core.logs import get_logger
from cmw_agent.core.long_texts import off_loop
from cmw_agent.core.sanitize import validate_message
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity import channel_principals
from cmw_agent.language import Language, wording
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.runtime.scheduler import Delivery
from memory.queues.inbox import InboxMessage, NewInboxMessage
from memory.queues.outbox import NewSend
from memory.records import utcnow

log = get_logger(__name__)

AHEAD = timedelta(minutes=5)  # that another's clock may be
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{1,200}")
DIGITS = re.compile(r"\+?([0-9]{5,20})")
KEY_CHARS = 100
LARGE = 262_144  # bytes
REPLY_SECONDS = 30.0  # beside what the turn may take
CLOSED = wording("WhatsApp is not set up here.")
UNSIGNED = wording("This request is not signed with a key that is known here.")
ONLY = wording("I can read text, pictures, audio and documents.")
MISSING = wording("Your file did not come through; please send it again.")
BUSY = wording(
    "One moment, please: I am still busy with your earlier messages. I did not keep this one."
)
REUSED = wording("This Idempotency-Key came with another message before.")
SLOW = wording("The answer took too long; please try again.")


@dataclass(frozen=True, slots=True)
class _Live:
    """What is there while the process runs."""

    client: WhatsAppClient
    worker: Worker
    signal: WakeSignal


@dataclass(frozen=True, slots=True)
class _Found:
    """What a delivery holds: messages, and what Meta could not deliver."""

    deliveries: list[InboundDelivery]
    failures: list[SendStatus]
    is_meta: bool = False


class WhatsApp:
    """The routes of WhatsApp, and what works beside them.

    Args:
        services: The live parts of the process.
        callers: Gives sessions.
        refusals: Counts the deliveries that are refused.

    Raises:
        StartupError: There is no such agent as the settings name, or it is not for everyone.
    """

    def __init__(self, services: Runtime, callers: Callers, refusals: Refusals) -> None:
        settings = services.settings
        self._services = services
        self._callers = callers
        self._settings = settings
        self._keys = Keys(settings.keys)
        self._meta = BodySignature(secrets_of(settings))
        self._bridge = bridge_of(settings)
        self._groups = GroupRules(settings)
        self._refusals = refusals
        self._live: _Live | None = None
        if settings.whatsapp_secret and not services.agents.find(settings.whatsapp_agent, PHONE):
            raise StartupError("CMW_WHATSAPP_AGENT must be the id of an agent that is for everyone")

    def register(self, app: FastAPI) -> None:
        """Add the routes to the app of all channels."""
        routes = (
            ("/whatsapp/incoming", "GET", self.verification),
            ("/whatsapp/incoming", "POST", self.incoming),
            ("/whatsapp/incoming/{token}", "POST", self.incoming),
            ("/whatsapp/send", "POST", self.send),
            ("/whatsapp/status", "GET", self.status),
        )
        for path, method, endpoint in routes:
            app.add_api_route(
                path, endpoint, methods=[method], response_model=None, include_in_schema=False
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer and send during the block, where the settings ask for it."""
        if not (self._settings.whatsapp_secret or self._can_send()):
            yield
            return
        signal = WakeSignal()
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
        ) as http:
            client = WhatsAppClient(self._settings, http)
            answerer = WhatsAppAnswerer(self._services, self._callers, client, signal)
            services = self._services
            gate = window_gate(self._settings, services.windows)
            sender = Sender(services.outbox, client, services.observer, gate)
            worker = Worker(self._services, answerer, sender, signal)
            async with worker.running():
                self._live = _Live(client, worker, signal)
                try:
                    yield
                finally:
                    self._live = None

    async def deliver(self, delivery: Delivery) -> None:
        """Send the answer of a recurring task that was scheduled by WhatsApp.

        Raises:
            StoreError: The memory fails.
        """
        kind, _, recipient = (delivery.recipient or "").partition(" ")
        if delivery.channel != CHANNEL or not self._senders().get(kind):
            return
        digest_of_task = digest("schedule", secrets.token_hex(32))
        work = PARSER_WORK * len(delivery.text)
        in_group = partial(private, language=await self._services.language_of(delivery.owner))
        written = in_group if is_group(kind, recipient) else alone
        text = await off_loop(work, written, delivery.text)
        parts = enumerate(split(text))
        sends = [
            NewSend(f"{digest_of_task}.{index}", recipient, kind, part) for index, part in parts
        ]
        await self._services.outbox.add(delivery.owner, sends)
        if self._live is not None:
            self._live.signal.notify()

    async def verification(self, request: Request) -> Response:
        """Prove to Meta that the address is ours, where it knows the token."""
        token, query = self._settings.whatsapp_verify_token, request.query_params
        sent = query.get("hub.verify_token", "").encode()
        is_known = token is not None and hmac.compare_digest(
            token.get_secret_value().encode(), sent
        )
        challenge = query.get("hub.challenge", "")
        if (
            not is_known
            or query.get("hub.mode") != "subscribe"
            or not CHALLENGE.fullmatch(challenge)
        ):
            raise UserError(wording("This address cannot be verified like that."), status=403)
        return PlainTextResponse(challenge)

    async def incoming(self, request: Request) -> Response:
        """Take what was delivered: it is stored when this answers, and dealt with afterwards."""
        try:
            return await self._take(request)
        except UserError as error:
            self._refusals.count(error.status)
            raise

    async def _take(self, request: Request) -> Response:
        if self._settings.whatsapp_secret is None:
            raise NotFoundError(CLOSED)
        # not `request.body()`, which keeps the bytes as long as the request
        body = b"".join([part async for part in request.stream()])
        if len(body) < LARGE:
            found = self._parse(request, body)
        else:  # milliseconds for each megabyte, in which others are to be answered
            found = await asyncio.to_thread(self._parse, request, body)
        del body
        live, delivered = self._require_live(), found.deliveries
        if not delivered and not found.failures:
            self._refusals.events += 1
        with mapped_store_errors():
            if self._settings.whatsapp_inline and not found.is_meta:
                reply = None
                while delivered:  # one at most
                    reply = await self._reply(live, delivered.pop(), base_of(request))
                return JSONResponse({"reply": reply})
            for failure in found.failures:
                await self._note_failure(failure)
            for item in delivered:
                await self._store(item, base_of(request))
        if delivered or found.failures:
            live.signal.notify()
        return JSONResponse({"status": "accepted"})

    async def send(self, request: Request) -> Response:
        """Send a text, for the holder of a key."""
        key = self._keys.of(request, "whatsapp")
        body = _json(request, await request.body())
        if not isinstance(body, dict):
            raise InvalidMessageError(wording("The request must be a JSON object."))
        kind, recipient = self._recipient(body.get("to"))
        text = validate_message(body.get("message"), self._settings.max_message_chars)
        key_header = request.headers.get("idempotency-key")
        if key_header is not None and not 0 < len(key_header) <= KEY_CHARS:
            raise InvalidMessageError(wording("The Idempotency-Key must have 1 to 100 characters."))
        send_name = (
            digest("send", key.name, key_header)
            if key_header
            else digest("send", secrets.token_hex(32))
        )
        content = digest("content", send_name, kind, recipient, text)
        sends = [
            NewSend(f"{send_name}.{index}", recipient, kind, part)
            for index, part in enumerate(split(text))
        ]
        live, owner = self._require_live(), channel_principals.tenant(key.name)
        with mapped_store_errors():
            if not await self._services.outbox.add_named(owner, send_name, content, sends):
                raise InvalidMessageError(REUSED)
        live.signal.notify()
        return JSONResponse({"id": send_name}, 202)

    async def status(self, request: Request) -> Response:
        """Return statistics of the inbox and the outbox, for the holder of a key."""
        self._keys.of(request, "whatsapp")
        with mapped_store_errors():
            inbox = await self._services.inbox.statistics()
            outbox = await self._services.outbox.statistics()
        now = utcnow()
        figures = {
            "incoming": self._settings.whatsapp_secret is not None,
            "outgoing": [kind for kind in ("bridge", "cloud") if self._senders()[kind]],
            "bridge_is_well": await self._live.client.health() if self._live is not None else None,
            "bridge": self._settings.whatsapp_bridge,
            "template": self._settings.whatsapp_template,
            "refused": dict(self._refusals.by_status),
            "events_without_message": self._refusals.events,
            "media_failures": self._live.client.media_failures if self._live is not None else 0,
            "messages": dict(inbox.counts),
            "sends": dict(outbox.counts),
            "oldest_message_seconds": _age(inbox.oldest, now),
            "oldest_send_seconds": _age(outbox.oldest, now),
            "failures": [
                {
                    "id": failure.send_id.rpartition(".")[0] or failure.send_id,
                    "part": failure.send_id.rpartition(".")[2] if "." in failure.send_id else "0",
                    "state": failure.state,
                    "kind": failure.kind,
                    "attempts": failure.attempts,
                    "at": failure.at.isoformat(),
                }
                for failure in outbox.failures
            ],
        }
        return JSONResponse(figures)

    def _parse(self, request: Request, body: bytes) -> "_Found":
        """Return what an authentic body holds; nothing of it is read before that is known."""
        headers, token = request.headers, request.path_params.get("token", "")
        is_bridge = self._bridge.authentication.verify(body, headers, token)
        if not is_bridge and not self._meta.verify(body, headers, token):
            raise UnauthorizedError(UNSIGNED)
        fields = _json(request, body)
        if not isinstance(fields, dict):
            raise invalid("a JSON object")
        if "entry" in fields and (not is_bridge or self._settings.whatsapp_bridge != "unoapi"):
            number_id = self._settings.whatsapp_phone_number_id
            messages = [InboundDelivery(item) for item in read_messages(fields, number_id)]
            return _Found(messages, read_failures(fields, number_id), is_meta=True)
        if not is_bridge:
            raise UnauthorizedError(UNSIGNED)
        return _Found(self._bridge.parse(fields), [])

    async def _note_failure(self, failure: SendStatus) -> None:
        """Store that Meta has not delivered a text after all."""
        kind = f"meta_{failure.error_code}"
        windows = self._services.windows
        if kind == CLOSED_WINDOW and await windows.refused_later(failure.reference):
            return
        if await self._services.outbox.mark_undelivered(failure.reference, kind):
            self._services.observer.sent(CHANNEL, "failed")
            log.warning("send failed", send=failure.reference[:12], kind=kind, again=False)

    async def _reply(self, live: _Live, item: InboundDelivery, origin: str) -> str | None:
        """Answer a message in the reply to its own request."""
        chosen = await self._groups.chosen(item, self._services.outbox)
        if chosen is None:
            return None
        if not self._is_current(chosen.message):
            return None
        owner = owner_of(chosen.message, self._settings.whatsapp_agent).id
        item, language = await self._in_language(chosen, owner)
        new = _new_inbox_message(item, owner, origin, inline=True)
        if (sentence := self._refusal(item)) is not None:
            arrival = await self._services.inbox.answered(owner, new)
            return language.translate(sentence) or None if arrival == "new" else None
        message = InboxMessage(new.message_id, owner, new.payload, secrets.token_hex(8))
        if await self._services.inbox.add(owner, new, taken_by=message.holder) != "new":
            return None
        del item, chosen, new  # and the file with them, while the turn lasts
        task = live.worker.reply(message)
        done, _ = await asyncio.wait([task], timeout=self._settings.turn_timeout + REPLY_SECONDS)
        if not done or task.cancelled():
            task.cancel()
            return language.translate(SLOW)
        answer: str = task.result()
        return answer or None

    async def _store(self, item: InboundDelivery, origin: str) -> None:
        """Keep a message, or the answer to one that needs no turn."""
        await self._open_window(item.message)
        if not self._is_current(item.message):
            log.info("a message outside the window was left out")
            return
        await self._withdraw(item.message)
        chosen = await self._groups.chosen(item, self._services.outbox)
        if chosen is None:
            return
        owner = owner_of(chosen.message, self._settings.whatsapp_agent).id
        item, language = await self._in_language(chosen, owner)
        incoming = item.message
        new = _new_inbox_message(item, owner, origin, inline=False)
        sentence = self._refusal(item)
        if sentence is None:
            await self._services.inbox.add(
                owner,
                new,
                busy=_sends_once_a_minute(owner, incoming, language.translate(BUSY)),
            )
        else:
            sends = []
            if sentence:
                translated = language.translate(sentence)
                sends = _sends_once_a_minute(owner, incoming, translated)
            await self._services.inbox.answered(owner, new, sends)

    async def _in_language(
        self, item: InboundDelivery, owner: str
    ) -> tuple[InboundDelivery, Language]:
        """Return a message that says which language its sender reads, and that language."""
        language = await self._services.language_of(owner)
        message = replace(item.message, language=language.tag)
        return replace(item, message=message), language

    async def _open_window(self, incoming: InboundMessage) -> None:
        """Store that the sender has written, whatever it was: texts may go there for a day."""
        if incoming.via != "cloud":
            return
        owner = owner_of(incoming, self._settings.whatsapp_agent).id
        at = utcnow() if incoming.at is None else datetime.fromtimestamp(incoming.at, UTC)
        number = "" if incoming.is_group else incoming.number
        addresses = [address for address in (incoming.chat, number) if address]
        await self._services.windows.opened(owner, addresses, at)

    async def _withdraw(self, incoming: InboundMessage) -> None:
        """End a message that waits and that its sender has deleted or replaced."""
        if not incoming.withdraws:
            return
        owner = owner_of(incoming, self._settings.whatsapp_agent).id
        earlier = digest("message", incoming.via, owner, incoming.withdraws)
        await self._services.inbox.take(owner, earlier)

    def _refusal(self, item: InboundDelivery) -> str | None:
        """Return what answers a message without a turn, perhaps nothing; None where one must."""
        incoming = item.message
        if incoming.kind == "other":
            return ONLY
        if incoming.kind == "text":
            return None if incoming.text.strip() else ""
        max_bytes = self._settings.max_file_bytes
        size = incoming.media_size if item.media is None else len(item.media)
        if size > max_bytes:
            return too_large(max_bytes).sentence
        if not incoming.has_media or (incoming.via == "cloud" and not incoming.media_id):
            return MISSING
        return None

    def _is_current(self, incoming: InboundMessage) -> bool:
        return incoming.is_current(utcnow(), self._settings.whatsapp_window_seconds, AHEAD)

    def _recipient(self, to: object) -> tuple[str, str]:
        """Return the way out and the address there; numbers go by whichever way there is."""
        senders = self._senders()
        if isinstance(to, str) and (match := DIGITS.fullmatch(to)):
            number = match[1]
            if senders["cloud"]:
                return "cloud", number
            kind, address = "bridge", f"{number}@c.us"
        elif isinstance(to, str) and USER_ID.fullmatch(to):
            kind, address = "cloud", to
        elif isinstance(to, str) and ADDRESS.fullmatch(to):
            kind, address = "bridge", to
        else:
            raise InvalidMessageError(
                wording("The request must name in `to` a number, or an address of WhatsApp.")
            )
        if not senders[kind]:
            raise UserError(CLOSED, status=503)
        return kind, address

    def _senders(self) -> dict[str, bool]:
        settings = self._settings
        has_cloud = settings.whatsapp_access_token and settings.whatsapp_phone_number_id
        return {"bridge": settings.whatsapp_bridge_url is not None, "cloud": bool(has_cloud)}

    def _can_send(self) -> bool:
        return any(self._senders().values())

    def _require_live(self) -> _Live:
        if self._live is None:
            raise ServiceUnavailableError
        return self._live


def _json(request: Request, body: bytes) -> Any:
    content_type = media_type(request.headers)
    if content_type != "application/json":
        raise UserError(wording("The request must be application/json."), status=415)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UserError(wording("The request is not JSON."), status=400) from None


def _new_inbox_message(
    item: InboundDelivery, owner: str, origin: str, *, inline: bool
) -> NewInboxMessage:
    incoming = item.message
    # Senders make parts of the ids themselves, so that one's must not stand for another's.
    message_id = digest("message", incoming.via, owner, incoming.message_id)
    payload = incoming.as_json() | {"origin": origin, "inline": inline}
    return NewInboxMessage(message_id, payload, item.media, is_dated=incoming.at is not None)


def _sends_once_a_minute(owner: str, incoming: InboundMessage, sentence: str) -> list[NewSend]:
    """Return the sends of a sentence; within a minute they are the same, and so sent once."""
    minute = str(int(utcnow().timestamp()) // 60)
    send_id = digest("polite", owner, sentence, minute)
    return [NewSend(send_id, incoming.chat, incoming.via, sentence)]


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round((now - since).total_seconds(), 1)

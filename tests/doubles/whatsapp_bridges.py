"""Bridges of other makers for tests: real HTTP servers with their routes, and their webhooks.

Each `Wire` says how one bridge delivers, and what its own routes take and answer. The shapes are
those of wppconnect-server, WAHA, Evolution API, GOWA, wwebjs-api and unoapi-cloud.
"""

import asyncio
import base64
import contextlib
import hmac
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.doubles.waiting import WAIT

SECRET, TOKEN, SESSION = "bridge-secret-0001", "bridge-token", "shop"
OWN = "491700000000"  # the number of the app
KNOWN = "491511@c.us"  # the phone of who posts a status
GROUP = "120363000000000001@g.us"


@dataclass(slots=True)
class Server:
    """What a bridge's server has been asked for.

    Attributes:
        url: Its base URL.
        delivered: Chat and text of the texts sent.
        typing: Chats in which an indicator was shown.
        seen: Chats that were marked as read.
        files: The bytes of files by their names.
        fetched: Names of files that were fetched.
        changed: Set when any of that changes.
        closing: Set when the server ends.
    """

    url: str = ""
    delivered: list[tuple[str, str]] = field(default_factory=list)
    typing: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int) -> None:
        """Wait until `count` texts were delivered."""
        async with asyncio.timeout(WAIT):
            while len(self.delivered) < count:
                self.changed.clear()
                await self.changed.wait()

    def mark_seen(self, chat: str) -> None:
        """Note that a chat was marked as read."""
        self.seen.append(chat)
        self.changed.set()

    async def until_seen(self, count: int) -> None:
        """Wait until chats were marked as read `count` times."""
        async with asyncio.timeout(WAIT):
            while len(self.seen) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_typing(self, chat: str) -> None:
        """Wait until an indicator was shown in a chat."""
        async with asyncio.timeout(WAIT):
            while chat not in self.typing:
                self.changed.clear()
                await self.changed.wait()


class Wire(ABC):
    """One bridge's way to deliver and to be asked."""

    name: str
    server: Server
    has_typing = True

    def __init__(self) -> None:
        self.server = Server()
        self.sent_ids: list[str] = []

    def settings(self) -> dict[str, Any]:
        """Return the app's settings for this bridge."""
        return {
            "whatsapp_bridge": self.name,
            "whatsapp_secret": SECRET,
            "whatsapp_bridge_url": self.server.url,
            "whatsapp_bridge_token": TOKEN,
            "whatsapp_bridge_session": SESSION,
        }

    def address(self, secret: str) -> str:
        """Return the path of the webhook."""
        return "/whatsapp/incoming"

    @abstractmethod
    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        """Return the headers that prove a delivery."""

    @abstractmethod
    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        """Return the webhook's body for a text.

        `more` may hold `group`, `mentions` (a list of numbers), `quotes` (a sent message's id).
        """

    @abstractmethod
    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        """Return the webhook's body for a document of the name ``a.txt``."""

    @abstractmethod
    def quiet(self) -> dict[str, dict[str, Any]]:
        """Return bodies of what is no message of a person, by what they are."""

    @abstractmethod
    def routes(self, router: web.UrlDispatcher) -> None:
        """Add the bridge's own routes."""

    def chat_of(self, chat: str) -> str:
        """Return a chat's address as the bridge's send route is given it."""
        return chat

    def new_id(self) -> str:
        """Return the id of a message at WhatsApp."""
        return f"3EB0{secrets.token_hex(8).upper()}"

    def take(self, chat: str, text: str) -> str:
        """Record a sent text; return its id."""
        assert 0 < len(text) <= 4096
        self.server.delivered.append((chat, text))
        self.sent_ids.append(self.new_id())
        self.server.changed.set()
        return self.sent_ids[-1]


def bearer(request: web.Request) -> None:
    """Refuse a request without the token."""
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized


def api_key(request: web.Request, header: str) -> None:
    """Refuse a request without the API key in this header."""
    if request.headers.get(header) != TOKEN:
        raise web.HTTPUnauthorized


class WppConnectWire(Wire):
    """wppconnect-server."""

    name = "wppconnect"

    def address(self, secret: str) -> str:
        return f"/whatsapp/incoming/{secret}"

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        return {}

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        chat = GROUP if more.get("group") else f"{sender}@c.us"
        body = {
            "event": "onmessage",
            "session": SESSION,
            "id": f"false_{chat}_{identifier}",
            "from": chat,
            "to": f"{OWN}@c.us",
            "author": f"{sender}@c.us",
            "fromMe": False,
            "type": "chat",
            "body": text,
            "t": int(time.time()),
            "timestamp": int(time.time()),
            "isGroupMsg": bool(more.get("group")),
            "sender": {"id": f"{sender}@c.us", "pushname": "Kim"},
            "mentionedJidList": [f"{number}@c.us" for number in more.get("mentions", ())],
            "isMedia": False,
        }
        if quoted := more.get("quotes"):
            body |= {"quotedStanzaID": quoted}
        return body

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        return self.text(sender, base64.b64encode(data).decode(), identifier=self.new_id()) | {
            "type": "document",
            "mimetype": "text/plain",
            "filename": "a.txt",
            "caption": caption,
            "size": len(data),
            "isMedia": True,
        }

    def quiet(self) -> dict[str, dict[str, Any]]:
        usual = self.text("491511", "hello", identifier=self.new_id())
        own = {"fromMe": True, "_serialized": "true_491511@c.us_A", "remote": "491511@c.us"}
        return {
            "ack": {**usual, "event": "onack", "id": own, "ack": 3},
            "own echo": {**usual, "fromMe": True},
            "own echo by its id": {**usual, "id": "true_491511@c.us_A"},
            "presence": {"event": "onpresencechanged", "session": SESSION, "id": "491511@c.us"},
            "reaction": {"event": "onreactionmessage", "session": SESSION, "reactionText": "👍"},
            "call": {"event": "incomingcall", "session": SESSION, "peerJid": "491511@c.us"},
            "status": {**usual, "from": "status@broadcast", "sender": {"phoneNumber": KNOWN}},
            "channel": {**usual, "from": "120363@newsletter"},
            "group notice": {**usual, "from": GROUP, "type": "gp2", "body": ""},
            "state": {"event": "status-find", "status": "inChat", "session": SESSION},
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/api/{SESSION}/send-message", self._send)
        router.add_post(f"/api/{SESSION}/typing", self._typing)
        router.add_post(f"/api/{SESSION}/send-seen", self._seen)
        router.add_get(f"/api/{SESSION}/check-connection-session", self._health)
        router.add_get(f"/api/{SESSION}/get-media-by-message/{{name}}", self._media)

    def _chat(self, body: dict[str, Any]) -> str:
        server = "g.us" if body["isGroup"] else "lid" if body.get("isLid") else "c.us"
        return f"{body['phone']}@{server}"

    async def _send(self, request: web.Request) -> web.Response:
        bearer(request)
        body = await request.json()
        chat = self._chat(body)
        name = self.take(chat, body["message"])
        sent = [{"id": f"true_{chat}_{name}"}]
        return web.json_response({"status": "success", "response": sent}, status=201)

    async def _typing(self, request: web.Request) -> web.Response:
        bearer(request)
        body = await request.json()
        if body["value"] is True:
            self.server.typing.append(self._chat(body))
            self.server.changed.set()
        return web.json_response({"status": "success"})

    async def _seen(self, request: web.Request) -> web.Response:
        bearer(request)
        self.server.mark_seen(self._chat(await request.json()))
        return web.json_response({"status": "success"})

    async def _health(self, request: web.Request) -> web.Response:
        bearer(request)
        return web.json_response({"status": True, "message": "Connected"})

    async def _media(self, request: web.Request) -> web.Response:
        bearer(request)
        name = request.match_info["name"]
        self.server.fetched.append(name)
        data = base64.b64encode(self.server.files[name]).decode()
        return web.json_response({"base64": data, "mimetype": "text/plain"})


class WahaWire(Wire):
    """WAHA."""

    name = "waha"

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        signed = hmac.new(secret.encode(), raw, "sha512").hexdigest()
        return {"x-webhook-hmac": signed, "x-webhook-hmac-algorithm": "sha512"}

    def _event(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        me = {"id": f"{OWN}@c.us", "pushName": "Bot", "lid": "900000000000001@lid"}
        return {"event": event, "session": SESSION, "me": me, "engine": "NOWEB", "payload": payload}

    def _payload(self, sender: str, text: str, identifier: str, **more: Any) -> dict[str, Any]:
        chat = GROUP if more.get("group") else f"{sender}@c.us"
        context = {"mentionedJid": [f"{n}@s.whatsapp.net" for n in more.get("mentions", ())]}
        payload = {
            "id": f"false_{chat}_{identifier}",
            "timestamp": int(time.time()),
            "from": chat,
            "fromMe": False,
            "source": "app",
            "participant": f"{sender}@c.us" if more.get("group") else None,
            "body": text,
            "hasMedia": False,
            "media": None,
            "ack": 1,
            "_data": {"message": {"extendedTextMessage": {"text": text, "contextInfo": context}}},
        }
        if quoted := more.get("quotes"):
            payload["replyTo"] = {"id": quoted, "body": "earlier"}
        return payload

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        return self._event("message", self._payload(sender, text, identifier, **more))

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        self.server.files["f.txt"] = data
        payload = self._payload(sender, caption, self.new_id()) | {"hasMedia": True}
        payload["media"] = {
            "url": "http://localhost:3000/api/files/shop/f.txt",
            "mimetype": "text/plain",
            "filename": "a.txt",
        }
        payload["_data"] = {"message": {"documentMessage": {"mimetype": "text/plain"}}}
        return self._event("message", payload)

    def quiet(self) -> dict[str, dict[str, Any]]:
        usual = self._payload("491511", "hello", self.new_id())
        return {
            "ack": self._event("message.ack", {"id": usual["id"], "ack": 3, "fromMe": True}),
            "own echo": self._event("message.any", {**usual, "fromMe": True}),
            "presence": self._event("presence.update", {"id": "491511@c.us"}),
            "reaction": self._event("message.reaction", {**usual, "reaction": {"text": "👍"}}),
            "call": self._event("call.received", {"from": "491511@c.us"}),
            "status": self._event(
                "message",
                {
                    **usual,
                    "from": "status@broadcast",
                    "_data": {**usual.get("_data", {}), "key": {"participantAlt": KNOWN}},
                },
            ),
            "channel": self._event("message", {**usual, "from": "120363@newsletter"}),
            "group notice": self._event("group.v2.join", {"group": {"id": GROUP}}),
            "state": self._event("session.status", {"status": "WORKING"}),
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/sendText", self._send)
        router.add_post("/api/startTyping", self._typing)
        router.add_post("/api/stopTyping", self._stop)
        router.add_post("/api/sendSeen", self._seen)
        router.add_get(f"/api/sessions/{SESSION}", self._health)
        router.add_get("/api/files/shop/{name}", self._media)

    async def _body(self, request: web.Request) -> dict[str, Any]:
        api_key(request, "x-api-key")
        body: dict[str, Any] = await request.json()
        assert body["session"] == SESSION
        return body

    async def _send(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        name = self.take(body["chatId"], body["text"])
        return web.json_response({"id": f"true_{body['chatId']}_{name}"}, status=201)

    async def _typing(self, request: web.Request) -> web.Response:
        self.server.typing.append((await self._body(request))["chatId"])
        self.server.changed.set()
        return web.json_response({}, status=201)

    async def _stop(self, request: web.Request) -> web.Response:
        await self._body(request)
        return web.json_response({}, status=201)

    async def _seen(self, request: web.Request) -> web.Response:
        self.server.mark_seen((await self._body(request))["chatId"])
        return web.json_response({}, status=201)

    async def _health(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        return web.json_response({"name": SESSION, "status": "WORKING"})

    async def _media(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        name = request.match_info["name"]
        self.server.fetched.append(name)
        return web.Response(body=self.server.files[name])


class EvolutionWire(Wire):
    """Evolution API."""

    name = "evolution"

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"}

    def chat_of(self, chat: str) -> str:
        return chat.replace("@c.us", "@s.whatsapp.net")

    def _event(self, event: str, data: Any) -> dict[str, Any]:
        return {
            "event": event,
            "instance": SESSION,
            "data": data,
            "sender": f"{OWN}@s.whatsapp.net",
            "apikey": "x",
        }

    def _data(self, sender: str, message: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
        key = {"remoteJid": f"{sender}@s.whatsapp.net", "fromMe": False, "id": name}
        if more.get("group"):
            key |= {"remoteJid": GROUP, "participant": f"{sender}@s.whatsapp.net"}
        context = {"mentionedJid": [f"{n}@s.whatsapp.net" for n in more.get("mentions", ())]}
        if quoted := more.get("quotes"):
            context["stanzaId"] = quoted
        return {
            "key": key,
            "pushName": "Kim",
            "message": message,
            "contextInfo": context,
            "messageType": next(iter(message)),
            "messageTimestamp": int(time.time()),
        }

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        data = self._data(sender, {"conversation": text}, identifier, **more)
        return self._event("messages.upsert", data)

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        name = self.new_id()
        self.server.files[name] = data
        document = {"mimetype": "text/plain", "fileName": "a.txt", "caption": caption}
        inner = {"message": {"documentMessage": document}}
        message = {"documentWithCaptionMessage": inner}
        return self._event("messages.upsert", self._data(sender, message, name))

    def quiet(self) -> dict[str, dict[str, Any]]:
        usual = self._data("491511", {"conversation": "hello"}, self.new_id())
        key = usual["key"]
        reaction = {"reactionMessage": {"text": "👍", "key": key}}
        revoked = {"protocolMessage": {"type": "REVOKE", "key": key}}
        stub = {"key": {**key, "remoteJid": GROUP}, "messageStubType": "GROUP_PARTICIPANT_ADD"}
        return {
            "ack": self._event("messages.update", {"keyId": key["id"], "status": "READ"}),
            "own echo": self._event("messages.upsert", {**usual, "key": {**key, "fromMe": True}}),
            "own send": self._event("send.message", usual),
            "presence": self._event("presence.update", {"id": key["remoteJid"]}),
            "reaction": self._event("messages.upsert", {**usual, "message": reaction}),
            "revoked": self._event("messages.upsert", {**usual, "message": revoked}),
            "call": self._event("call", {"from": key["remoteJid"]}),
            "status": self._event(
                "messages.upsert",
                {**usual, "key": {**key, "remoteJid": "status@broadcast", "participantAlt": KNOWN}},
            ),
            "channel": self._event(
                "messages.upsert", {**usual, "key": {**key, "remoteJid": "120363@newsletter"}}
            ),
            "group notice": self._event("messages.upsert", stub),
            "state": self._event("connection.update", {"state": "open"}),
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/message/sendText/{SESSION}", self._send)
        router.add_post(f"/chat/sendPresence/{SESSION}", self._typing)
        router.add_post(f"/chat/markMessageAsRead/{SESSION}", self._seen)
        router.add_get(f"/instance/connectionState/{SESSION}", self._health)
        router.add_post(f"/chat/getBase64FromMediaMessage/{SESSION}", self._media)

    async def _send(self, request: web.Request) -> web.Response:
        api_key(request, "apikey")
        body = await request.json()
        name = self.take(body["number"], body["text"])
        key = {"remoteJid": body["number"], "fromMe": True, "id": name}
        return web.json_response({"key": key, "status": "PENDING"}, status=201)

    async def _typing(self, request: web.Request) -> web.Response:
        api_key(request, "apikey")
        body = await request.json()
        if body["presence"] == "composing":
            self.server.typing.append(body["number"])
            self.server.changed.set()
        return web.json_response({"presence": body["presence"]}, status=201)

    async def _seen(self, request: web.Request) -> web.Response:
        api_key(request, "apikey")
        (read,) = (await request.json())["readMessages"]
        self.server.mark_seen(read["remoteJid"])
        return web.json_response({"message": "Read messages", "read": "success"}, status=201)

    async def _health(self, request: web.Request) -> web.Response:
        api_key(request, "apikey")
        return web.json_response({"instance": {"instanceName": SESSION, "state": "open"}})

    async def _media(self, request: web.Request) -> web.Response:
        api_key(request, "apikey")
        name = (await request.json())["message"]["key"]["id"]
        self.server.fetched.append(name)
        data = base64.b64encode(self.server.files[name]).decode()
        return web.json_response({"mimetype": "text/plain", "base64": data}, status=201)


class GowaWire(Wire):
    """go-whatsapp-web-multidevice."""

    name = "gowa"

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "whatsapp_bridge_token": "user:word"}

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        signed = hmac.new(secret.encode(), raw, "sha256").hexdigest()
        return {"x-hub-signature-256": f"sha256={signed}"}

    def chat_of(self, chat: str) -> str:
        return chat.replace("@c.us", "@s.whatsapp.net")

    def _event(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"event": event, "device_id": f"{OWN}@s.whatsapp.net", "payload": payload}

    def _payload(self, sender: str, text: str, identifier: str, **more: Any) -> dict[str, Any]:
        named = " ".join(f"@{number}" for number in more.get("mentions", ()))
        payload = {
            "id": identifier,
            "chat_id": GROUP if more.get("group") else f"{sender}@s.whatsapp.net",
            "from": f"{sender}@s.whatsapp.net",
            "from_lid": "251556368777322@lid",
            "from_name": "Kim",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "is_from_me": False,
            "body": f"{named} {text}".strip(),
        }
        if quoted := more.get("quotes"):
            payload |= {"replied_to_id": quoted, "quoted_body": "earlier"}
        return payload

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        return self._event("message", self._payload(sender, text, identifier, **more))

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        self.server.files["a.txt"] = data
        path = {"path": "statics/media/a.txt", "caption": caption}
        payload = self._payload(sender, caption, self.new_id()) | {"document": path}
        return self._event("message", payload)

    def quiet(self) -> dict[str, dict[str, Any]]:
        usual = self._payload("491511", "hello", self.new_id())
        return {
            "ack": self._event("message.ack", {"ids": ["A"], "receipt_type": "read"}),
            "own echo": self._event("message", {**usual, "is_from_me": True}),
            "presence": self._event("chat_presence", {"from": usual["from"]}),
            "reaction": self._event("message.reaction", {**usual, "reaction": "👍"}),
            "revoked": self._event("message.revoked", {**usual, "revoked_message_id": "A"}),
            "call": self._event("call.offer", {"call_id": "A"}),
            "status": self._event("message", {**usual, "chat_id": "status@broadcast"}),
            "channel": self._event("newsletter.message", {"newsletter_id": "1@newsletter"}),
            "group notice": self._event("group.participants", {"chat_id": GROUP, "type": "join"}),
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/send/message", self._send)
        router.add_post("/send/chat-presence", self._typing)
        router.add_post("/message/{name}/read", self._seen)
        router.add_get("/app/status", self._health)
        router.add_get("/statics/media/{name}", self._media)

    def _check(self, request: web.Request) -> None:
        wanted = f"Basic {base64.b64encode(b'user:word').decode()}"
        if request.headers.get("authorization") != wanted:
            raise web.HTTPUnauthorized
        assert request.headers["x-device-id"] == SESSION

    async def _send(self, request: web.Request) -> web.Response:
        self._check(request)
        body = await request.json()
        name = self.take(body["phone"], body["message"])
        return web.json_response({"code": "SUCCESS", "results": {"message_id": name}})

    async def _typing(self, request: web.Request) -> web.Response:
        self._check(request)
        body = await request.json()
        if body["action"] == "start":
            self.server.typing.append(body["phone"])
            self.server.changed.set()
        return web.json_response({"code": "SUCCESS"})

    async def _seen(self, request: web.Request) -> web.Response:
        self._check(request)
        self.server.mark_seen((await request.json())["phone"])
        return web.json_response({"code": "SUCCESS"})

    async def _health(self, request: web.Request) -> web.Response:
        self._check(request)
        results = {"is_connected": True, "is_logged_in": True}
        return web.json_response({"code": "SUCCESS", "results": results})

    async def _media(self, request: web.Request) -> web.Response:
        self._check(request)
        name = request.match_info["name"]
        self.server.fetched.append(name)
        return web.Response(body=self.server.files[name])


class WWebJsWire(Wire):
    """wwebjs-api."""

    name = "wwebjs"

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        return {"x-api-key": secret}

    def _event(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"dataType": kind, "data": data, "sessionId": SESSION}

    def _message(self, sender: str, text: str, identifier: str, **more: Any) -> dict[str, Any]:
        chat = GROUP if more.get("group") else f"{sender}@c.us"
        serialized = f"false_{chat}_{identifier}"
        raw = {"quotedStanzaID": more["quotes"]} if more.get("quotes") else {}
        return {
            "id": {"fromMe": False, "remote": chat, "id": identifier, "$1": serialized},
            "fromMe": False,
            "from": chat,
            "to": f"{OWN}@c.us",
            "author": f"{sender}@c.us" if more.get("group") else None,
            "type": "chat",
            "body": text,
            "timestamp": int(time.time()),
            "hasMedia": False,
            "mentionedIds": [f"{number}@c.us" for number in more.get("mentions", ())],
            "_data": raw,
        }

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        return self._event("message", {"message": self._message(sender, text, identifier, **more)})

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        message = self._message(sender, caption, self.new_id()) | {
            "type": "document",
            "hasMedia": True,
            "_data": {"mimetype": "text/plain", "filename": "a.txt"},
        }
        self.server.files[message["id"]["$1"]] = data
        return self._event("message", {"message": message})

    def quiet(self) -> dict[str, dict[str, Any]]:
        usual = self._message("491511", "hello", self.new_id())
        return {
            "ack": self._event("message_ack", {"message": usual, "ack": 3}),
            "own echo": self._event("message_create", {"message": {**usual, "fromMe": True}}),
            "own echo as a message": self._event("message", {"message": {**usual, "fromMe": True}}),
            "media again": self._event("media", {"message": usual, "messageMedia": {}}),
            "reaction": self._event("message_reaction", {"reaction": {"reaction": "👍"}}),
            "revoked": self._event("message_revoke_everyone", {"message": usual}),
            "call": self._event("call", {"call": {"from": "491511@c.us"}}),
            "status": self._event(
                "message",
                {"message": {**usual, "from": "status@broadcast", "_data": {"senderPn": KNOWN}}},
            ),
            "channel": self._event("message", {"message": {**usual, "from": "12@newsletter"}}),
            "group notice": self._event("group_join", {"notification": {"chatId": GROUP}}),
            "state": self._event("change_state", {"state": "CONNECTED"}),
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/client/sendMessage/{SESSION}", self._send)
        router.add_post(f"/chat/sendStateTyping/{SESSION}", self._typing)
        router.add_post(f"/chat/clearState/{SESSION}", self._stop)
        router.add_post(f"/client/sendSeen/{SESSION}", self._seen)
        router.add_get(f"/session/status/{SESSION}", self._health)
        router.add_post(f"/message/downloadMedia/{SESSION}", self._media)

    async def _send(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        body = await request.json()
        assert body["contentType"] == "string"
        name = self.take(body["chatId"], body["content"])
        message = {"id": {"_serialized": f"true_{body['chatId']}_{name}", "id": name}}
        return web.json_response({"success": True, "message": message})

    async def _typing(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        self.server.typing.append((await request.json())["chatId"])
        self.server.changed.set()
        return web.json_response({"success": True})

    async def _stop(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        return web.json_response({"success": True})

    async def _seen(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        self.server.mark_seen((await request.json())["chatId"])
        return web.json_response({"success": True})

    async def _health(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        return web.json_response({"success": True, "state": "CONNECTED"})

    async def _media(self, request: web.Request) -> web.Response:
        api_key(request, "x-api-key")
        name = (await request.json())["messageId"]
        self.server.fetched.append(name)
        data = base64.b64encode(self.server.files[name]).decode()
        media = {"mimetype": "text/plain", "data": data, "filename": "a.txt"}
        return web.json_response({"success": True, "messageMedia": media})


class UnoApiWire(Wire):
    """unoapi-cloud."""

    name = "unoapi"
    has_typing = False

    def proof(self, raw: bytes, secret: str) -> dict[str, str]:
        return {"authorization": secret}

    def chat_of(self, chat: str) -> str:
        return chat.removesuffix("@c.us")

    def _value(self, **value: Any) -> dict[str, Any]:
        content = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": OWN, "phone_number_id": OWN},
            **value,
        }
        change = {"field": "messages", "value": content}
        return {"object": "whatsapp_business_account", "entry": [{"id": OWN, "changes": [change]}]}

    def _message(self, sender: str, kind: str, **part: Any) -> dict[str, Any]:
        return {
            "from": sender,
            "id": part.pop("identifier", None) or self.new_id(),
            "timestamp": str(int(time.time())),
            "type": kind,
            kind: part,
        }

    def text(self, sender: str, text: str, *, identifier: str, **more: Any) -> dict[str, Any]:
        named = " ".join(f"@{number}" for number in more.get("mentions", ()))
        body = f"{named} {text}".strip()
        message = self._message(sender, "text", body=body, identifier=identifier)
        if quoted := more.get("quotes"):
            message["context"] = {"id": quoted}
        contact = {"profile": {"name": "Kim"}, "wa_id": sender}
        if more.get("group"):
            contact |= {"group_id": GROUP, "group_subject": "Friends"}
        return self._value(contacts=[contact], messages=[message], statuses=[])

    def file(self, sender: str, caption: str, data: bytes) -> dict[str, Any]:
        self.server.files["F1"] = data
        media = {"filename": "a.txt", "mime_type": "text/plain", "caption": caption}
        message = self._message(sender, "document", id=f"{OWN}/F1", **media)
        contact = {"profile": {"name": "Kim"}, "wa_id": sender}
        return self._value(contacts=[contact], messages=[message])

    def quiet(self) -> dict[str, dict[str, Any]]:
        contact = {"profile": {"name": "Kim"}, "wa_id": "491511"}
        own = self._message(OWN, "text", body="hello")
        reaction = self._message("491511", "reaction", emoji="👍", message_id="A")
        return {
            "ack": self._value(statuses=[{"id": "A", "status": "read", "recipient_id": "491511"}]),
            "own echo": self._value(contacts=[contact], messages=[own]),
            "reaction": self._value(contacts=[contact], messages=[reaction]),
        }

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/v15.0/{SESSION}/messages", self._send)
        router.add_get(f"/v15.0/{OWN}/{{name}}", self._media)
        router.add_get("/download/{name}", self._bytes)
        router.add_get("/ping", self._health)

    async def _send(self, request: web.Request) -> web.Response:
        api_key(request, "authorization")
        body = await request.json()
        if body.get("status") == "read":
            self.server.mark_seen(body["message_id"])
            return web.json_response({"success": True})
        name = self.take(body["to"], body["text"]["body"])
        return web.json_response({"messages": [{"id": name}]})

    async def _media(self, request: web.Request) -> web.Response:
        api_key(request, "authorization")
        name = request.match_info["name"]
        return web.json_response({"url": f"{self.server.url}/download/{name}"})

    async def _bytes(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.server.fetched.append(name)
        return web.Response(body=self.server.files[name])

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="pong!")


WIRES: dict[str, type[Wire]] = {
    wire.name: wire
    for wire in (WppConnectWire, WahaWire, EvolutionWire, GowaWire, WWebJsWire, UnoApiWire)
}


@contextlib.asynccontextmanager
async def bridge_server(name: str) -> AsyncIterator[Wire]:
    """Serve a bridge on a free port of 127.0.0.1 for the block."""
    wire = WIRES[name]()
    app = web.Application()
    wire.routes(app.router)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wire.server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield wire
    finally:
        wire.server.closing.set()
        await runner.cleanup()

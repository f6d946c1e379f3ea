"""Delivers WhatsApp messages to the app, as a bridge and Meta's Cloud API do."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from cmw_agent.channels.whatsapp.authentication import META_HEADER as HEADER
from cmw_agent.channels.whatsapp.authentication import BodySignature as Signatures
from cmw_agent.channels.whatsapp.bridges.own import OwnBridge
from cmw_agent.channels.whatsapp.cloud_webhook import read_messages
from cmw_agent.channels.whatsapp.inbound import InboundDelivery, invalid
from cmw_agent.config.settings import Settings
from tests.doubles.whatsapp_bridge import TOKEN, Bridge
from tests.doubles.whatsapp_cloud import NUMBER_ID, Cloud
from tests.doubles.whatsapp_cloud import TOKEN as CLOUD_TOKEN
from tests.harness import WAIT, settings_for

SECRET = "whatsapp-secret-1"
KEY = "operator-key-0001"
PATH = "/whatsapp/incoming"
GROUP = "120363000000000001@g.us"


def whatsapp_settings(folder: Path, bridge: Bridge | None = None, **changes: Any) -> Settings:
    """Return settings of an app behind a WPPConnect bridge."""
    values: dict[str, Any] = {"whatsapp_secret": SECRET, "api_keys": f"operator:{KEY}"}
    values["whatsapp_groups"] = "all"
    if bridge is not None:
        values |= {"whatsapp_bridge_url": bridge.url, "whatsapp_bridge_token": TOKEN}
    return settings_for(folder, **(values | changes))


def cloud_settings(folder: Path, cloud: Cloud, **changes: Any) -> Settings:
    """Return settings of an app behind Meta's Cloud API."""
    values: dict[str, Any] = {
        "whatsapp_graph_url": cloud.url,
        "whatsapp_access_token": CLOUD_TOKEN,
        "whatsapp_phone_number_id": NUMBER_ID,
        "whatsapp_verify_token": "verify-me",
    }
    return whatsapp_settings(folder, **(values | changes))


def message(sender: str, text: str, /, **more: Any) -> dict[str, Any]:
    """Return the bridge's webhook body for a text message of a private chat."""
    body = {
        "id": f"false_{sender}_{secrets.token_hex(8)}",
        "from": sender,
        "to": "491700000000@c.us",
        "body": text,
        "type": "chat",
        "isGroupMsg": False,
        "sender": {"id": sender, "name": "Kim", "phone": sender.partition("@")[0]},
        "timestamp": int(time.time()),
        "hasMedia": False,
    }
    return body | more


def in_group(sender: str, text: str, /, **more: Any) -> dict[str, Any]:
    """Return the bridge's webhook body for a text message in the group."""
    return message(sender, text, **({"from": GROUP, "isGroupMsg": True} | more))


def cloud_body(*messages: dict[str, Any], **value: Any) -> dict[str, Any]:
    """Return a webhook body of the Cloud API."""
    content = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "4917", "phone_number_id": NUMBER_ID},
        "contacts": [{"profile": {"name": "Kim"}, "wa_id": "491511"}],
        "messages": list(messages),
        **value,
    }
    change = {"field": "messages", "value": content}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def cloud_message(sender: str, kind: str = "text", /, **part: Any) -> dict[str, Any]:
    """Return one message of a Cloud API webhook body; `part` is its content of this `kind`."""
    return {
        "from": sender,
        "id": f"wamid.{secrets.token_hex(8)}",
        "timestamp": str(int(time.time())),
        "type": kind,
        kind: part,
    }


def parsed(body: object, number_id: str | None = None) -> list[InboundDelivery]:
    """Return the messages of a body of the own bridge or of the Cloud API."""
    if not isinstance(body, dict):
        raise invalid("a JSON object")
    if "entry" in body:
        return [InboundDelivery(item) for item in read_messages(body, number_id)]
    return OwnBridge([], token="", session="default", numbers=()).parse(body)


async def deliver(
    client: aiohttp.ClientSession, url: str, body: Any, *, secret: str = SECRET, **headers: str
) -> tuple[int, Any]:
    """Post a signed webhook body; return the HTTP status and the response's content."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    sent = {"content-type": "application/json", HEADER: Signatures([secret]).sign(raw), **headers}
    async with client.post(url + PATH, data=raw, headers=sent) as answer:
        content = await answer.read()
        assert "set-cookie" not in answer.headers
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.status, orjson.loads(content) if is_json else content


async def status_of(client: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Return the JSON of ``/whatsapp/status``, which needs an API key."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with client.get(f"{url}/whatsapp/status", headers=headers) as answer:
        assert answer.status == 200
        status: dict[str, Any] = await answer.json()
        return status


async def settled(
    client: aiohttp.ClientSession,
    url: str,
    *,
    sends: dict[str, int] | None = None,
    **messages: int,
) -> dict[str, Any]:
    """Wait until the counts of messages by state are `messages`; return the status.

    Args:
        client: Asks for the status.
        url: The app's URL.
        sends: The counts of sends by state to wait for as well. A send is recorded only after the
            bridge has it; None waits for no sends.
        messages: The counts of inbound messages by state.
    """
    async with asyncio.timeout(WAIT):
        while True:
            status = await status_of(client, url)
            if status["messages"] == messages and sends in (None, status["sends"]):
                return status
            await asyncio.sleep(0.02)

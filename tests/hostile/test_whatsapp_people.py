"""WhatsApp by Meta: people without a number, changed messages, and failures that come later."""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from cmw_agent.channels.whatsapp.answering import owner_of
from cmw_agent.channels.whatsapp.cloud_webhook import read_messages
from cmw_agent.channels.whatsapp.inbound import InboundMessage
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Gate, Request, Start, Step, Text
from tests.doubles.whatsapp_cloud import whatsapp_cloud
from tests.harness import served
from tests.phones import (
    KEY,
    cloud_body,
    cloud_message,
    cloud_settings,
    deliver,
    settled,
    status_of,
)

KIM, KIM_ID, LEE_ID = "491511", "DE.13491208655302741918", "DE.ENT.99815799212886844830"


def with_id(user_id: str, text: str, number: str | None = None) -> dict[str, Any]:
    """A webhook of a person with a business-scoped id, and perhaps a number."""
    item = cloud_message(number or "", body=text) | {"from_user_id": user_id}
    contact: dict[str, Any] = {"profile": {"name": "Kim"}, "user_id": user_id}
    if number is None:
        del item["from"]
        contact["profile"]["username"] = "@kim"
    else:
        contact["wa_id"] = number
    return cloud_body(item, contacts=[contact])


def held(request: Request) -> Sequence[Step]:
    hold = [Gate()] if request.last_user == "hold on" else []
    return [Start(), *hold, Text([f"You said: {request.last_user}"])]


def only(body: dict[str, Any]) -> InboundMessage:
    (found,) = read_messages(body)
    return found


def test_a_person_is_one_before_and_after_they_take_a_username() -> None:
    before, after = only(with_id(KIM_ID, "a", KIM)), only(with_id(KIM_ID, "b"))
    assert owner_of(before, "assistant") == owner_of(after, "assistant")
    assert owner_of(only(with_id(LEE_ID, "c")), "assistant") != owner_of(after, "assistant")
    bare = cloud_message("", body="by the contact alone")
    del bare["from"]
    by_contact = only(cloud_body(bare, contacts=[{"profile": {}, "user_id": KIM_ID}]))
    assert owner_of(by_contact, "assistant") == owner_of(after, "assistant")


def test_of_several_people_in_a_webhook_nobody_is_taken_for_another() -> None:
    first, second = cloud_message("491511", body="a"), cloud_message("491522", body="b")
    contacts = [
        {"wa_id": "491522", "user_id": LEE_ID},
        {"wa_id": "491511", "user_id": KIM_ID},
    ]
    found = read_messages(cloud_body(first, second, contacts=contacts))
    assert [item.sender for item in found] == [KIM_ID, LEE_ID]
    nameless = cloud_message("", body="c")
    del nameless["from"]
    kept = read_messages(cloud_body(first, nameless, contacts=contacts))
    assert [item.text for item in kept] == ["a"]


def test_by_a_bridge_a_person_without_a_number_is_in_no_group_of_another_s() -> None:
    lee: dict[str, Any] = {"user_id": LEE_ID, "group_id": "1203@g.us"}
    message = cloud_message("", body="in private") | {"from_user_id": KIM_ID}
    del message["from"]
    kim = {"user_id": KIM_ID}
    (found,) = read_messages(cloud_body(message, contacts=[lee, kim]), via="bridge")
    assert (found.sender, found.chat, found.is_group) == (KIM_ID, KIM_ID, False)


def test_what_is_no_text_is_described_to_the_model() -> None:
    place = {"latitude": 52.5, "longitude": 13.4, "name": "Café", "address": "Street 1"}
    assert only(cloud_body(cloud_message(KIM, "location", **place))).text == (
        "Location: Café, Street 1, 52.5, 13.4"
    )
    card = cloud_message(KIM, "contacts")
    card["contacts"] = [{"name": {"formatted_name": "Ann"}, "phones": [{"phone": "+49 1"}]}]
    assert only(cloud_body(card)).text == "Contact: Ann, +49 1"
    assert only(cloud_body(cloud_message(KIM, "sticker", id="1"))).text == "(sticker)"
    flow = {"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": '{"size":"L"}'}}
    assert only(cloud_body(cloud_message(KIM, "interactive", **flow))).text == 'Sent\n{"size":"L"}'


async def test_an_answer_goes_by_the_id_of_who_has_no_number(tmp_path: Path) -> None:
    async with whatsapp_cloud() as cloud, OpenAIDouble() as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "echo"}
        settings = cloud_settings(tmp_path, cloud, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            assert (await deliver(http, app.url, with_id(KIM_ID, "with a number", KIM)))[0] == 200
            await cloud.until(1)
            assert (await deliver(http, app.url, with_id(KIM_ID, "without")))[0] == 200
            await cloud.until(2)
            for item in cloud.sent:
                assert item["recipient"] == KIM_ID
                assert item["recipient_type"] == "individual"
                assert "to" not in item
            assert "with a number" in str(endpoint.requests[-1].messages)


async def test_a_deleted_message_that_waits_is_not_answered_and_an_edited_one_is_as_it_is_now(
    tmp_path: Path,
) -> None:
    async with whatsapp_cloud() as cloud, OpenAIDouble(scripts={"held": held}) as endpoint:
        model = {"openai_base_url": endpoint.base_url, "model": "held"}
        settings = cloud_settings(tmp_path, cloud, **model)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            first = cloud_message(KIM, body="hold on")
            deleted, edited = cloud_message(KIM, body="wrong"), cloud_message(KIM, body="teh")
            assert (await deliver(http, app.url, cloud_body(first)))[0] == 200
            await endpoint.wait_held()
            assert (await deliver(http, app.url, cloud_body(deleted, edited)))[0] == 200
            taken = cloud_message(KIM, "revoke", original_message_id=deleted["id"])
            now = {"type": "text", "text": {"body": "the"}}
            changed = cloud_message(KIM, "edit", original_message_id=edited["id"], message=now)
            assert (await deliver(http, app.url, cloud_body(taken, changed)))[0] == 200
            endpoint.release_all()
            await cloud.until(2)
            await settled(http, app.url, done=5, sends={"sent": 2})
            asked = [request.last_user for request in endpoint.requests]
            assert asked == ["hold on", "the"]


async def test_a_failure_that_meta_reports_later_is_that_of_the_text_that_was_sent(
    tmp_path: Path,
) -> None:
    async with whatsapp_cloud() as cloud:
        settings = cloud_settings(tmp_path, cloud)
        async with served(settings) as app, aiohttp.ClientSession() as http:
            headers = {"authorization": f"Bearer {KEY}"}
            wanted = {"to": KIM, "message": "hello"}
            async with http.post(
                f"{app.url}/whatsapp/send", json=wanted, headers=headers
            ) as answer:
                sent_as = (await answer.json())["id"]
            await cloud.until(1)
            await settled(http, app.url, sends={"sent": 1})
            failed = {
                "id": "wamid.out",
                "status": "failed",
                "timestamp": str(int(time.time())),
                "recipient_id": KIM,
                "biz_opaque_callback_data": cloud.sent[0]["biz_opaque_callback_data"],
                "errors": [{"code": 131047, "title": "Re-engagement message"}],
            }
            unknown = failed | {"biz_opaque_callback_data": secrets.token_hex(8)}
            body = cloud_body(statuses=[unknown, failed])
            assert (await deliver(http, app.url, body))[0] == 200
            status = await status_of(http, app.url)
            (failure,) = status["failures"]
            assert (failure["id"], failure["kind"]) == (sent_as, "meta_131047")
            assert status["sends"] == {"failed": 1}

"""Parsing of the bridge's and the Cloud API's webhooks; the sender is never guessed."""

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmw_agent.channels.whatsapp.answering import owner_of
from cmw_agent.channels.whatsapp.approval_text import MAX_SHOWN, ApprovalNotShowableError, question
from cmw_agent.channels.whatsapp.approvals import decision_of, read_decision
from cmw_agent.channels.whatsapp.formatting import MAX_CHARS
from cmw_agent.channels.whatsapp.inbound import InboundMessage
from cmw_agent.channels.whatsapp.sender import pause
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import languages
from cmw_agent.tools.approvals import PendingApproval
from tests.phones import GROUP, cloud_body, cloud_message, in_group, message, parsed

KIM, LEE = "491511@c.us", "491522@c.us"
BYTES = b"\x89PNG\r\n\x1a\n and more"
CODED = base64.b64encode(BYTES).decode()


def one(body: Any) -> InboundMessage:
    (found,) = parsed(body)
    return found.message


def test_the_smallest_body_is_a_message() -> None:
    found = one({"id": "test", "from": "test@c.us", "body": "test"})
    assert (found.chat, found.sender, found.text, found.kind) == ("test@c.us",) * 2 + (
        "test",
        "text",
    )
    assert found.at is None
    assert InboundMessage.from_json(found.as_json()) == found


@pytest.mark.parametrize(
    ("more", "kind", "text"),
    [
        ({"type": "image", "caption": "look"}, "image", "look"),
        ({"type": "image", "body": "/9j/4AAQSkZJRg"}, "image", ""),
        ({"type": "image", "body": CODED * 20}, "image", ""),
        ({"type": "image", "body": "what is this?"}, "image", "what is this?"),
        ({"type": "ptt", "body": ""}, "audio", ""),
        ({"type": "audio", "body": ""}, "audio", ""),
        ({"type": "document", "body": "", "caption": "read"}, "document", "read"),
        ({"type": None, "hasMedia": True, "mediaType": "image", "body": ""}, "image", ""),
        ({"type": "", "hasMedia": True, "mediaType": "video", "body": ""}, "other", ""),
        ({"type": "sticker", "body": ""}, "text", "(sticker)"),
        ({"type": "location", "lat": 5, "lng": 6, "loc": "Here"}, "text", "Location: Here, 5, 6"),
        ({"type": "vcard", "body": "FN:Lee\nTEL:1"}, "text", "Contact: Lee, 1"),
        (
            {"type": "multi_vcard", "vcardList": [{"vcard": "FN:Lee"}, {}]},
            "text",
            "Contact: Lee\n(contact)",
        ),
        ({"type": "video", "body": ""}, "other", ""),
        ({"type": "never heard of", "body": "x"}, "other", "x"),
    ],
)
def test_kinds_of_the_bridge(more: dict[str, Any], kind: str, text: str) -> None:
    found = one(message(KIM, "", **more))
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_file_of_the_bridge_comes_whole(prefix: str) -> None:
    body = message(
        KIM, "", type="image", mediaBase64=prefix + CODED, mediaMimetype="image/png",
        mediaFilename="a.png",
    )  # fmt: skip
    (found,) = parsed(body)
    assert found.media == BYTES
    assert (found.message.media_type, found.message.filename) == ("image/png", "a.png")
    assert found.message.has_media


@pytest.mark.parametrize("size", [None, "9", True, -1, 0, 1.5, 2**60])
def test_the_size_of_a_file_that_was_too_large_for_the_bridge_is_known(size: Any) -> None:
    body = message(KIM, "", type="image", mediaSize=size)
    assert one(body).media_size == 0
    assert one(body | {"mediaSize": 9}).media_size == 9
    assert one(body | {"mediaSize": 9, "mediaBase64": CODED}).media_size == 0


def test_a_group_s_message_that_names_one_of_the_bridge_s_ids_is_for_the_app() -> None:
    more = {"me": ["4917@c.us", "99887766@lid"], "mentionedJidList": ["99887766@lid"]}
    named = one(in_group(KIM, "@99887766 hello", **more))
    assert (named.is_addressed, named.text) == (True, "hello")
    assert not one(in_group(KIM, "@99887766 hello", mentionedJidList=["99887766@lid"])).is_addressed
    assert not one(in_group(KIM, "hello", me="99887766@lid")).is_addressed


@pytest.mark.parametrize(
    "body",
    [
        message(KIM, "mine", fromMe=True),
        message("status@broadcast", "x"),
        message(KIM, "x", type="e2e_notification"),
        message(KIM, "x", type="reaction"),
        cloud_body(statuses=[{"id": "wamid.1", "status": "delivered"}]),
        cloud_body(cloud_message("491511", "reaction", emoji="x")),
        {"object": "whatsapp_business_account", "entry": []},
    ],
)
def test_what_asks_for_no_answer_is_no_message(body: Any) -> None:
    assert parsed(body) == []


def test_another_number_s_messages_are_not_ours() -> None:
    body = cloud_body(cloud_message("491511", body="x"))
    assert parsed(body, "other") == []
    assert len(parsed(body, "1090")) == 1


def test_in_a_group_the_sender_is_who_has_written() -> None:
    kim, lee = one(in_group(KIM, "x")), one(in_group(LEE, "x"))
    alone = one(message(KIM, "x"))
    by_author = one(in_group(KIM, "x", sender=None, author=KIM))
    assert (kim.chat, kim.sender, kim.is_group) == (GROUP, KIM, True)
    assert by_author.sender == KIM
    owners = {owner_of(found, "assistant").id for found in (kim, lee, alone)}
    assert len(owners) == 3
    assert owner_of(kim, "other") != owner_of(kim, "assistant")


@pytest.mark.parametrize(
    "more",
    [
        {"sender": None},
        {"sender": {}},
        {"sender": {"id": GROUP}},
        {"sender": {"id": ""}},
        {"sender": {"name": "Kim"}},
        {"sender": {"id": 5}},
        {"sender": {"id": "120363000000000002@g.us"}},
        {"sender": {"id": "kim"}, "author": None},
        {"sender": None, "isGroupMsg": False},
    ],
)
def test_a_group_s_message_without_a_sender_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError):
        parsed(in_group(KIM, "x", **more))


def test_a_display_name_is_nobody() -> None:
    named = [one(message(KIM, "x", sender={"id": KIM, "name": name})) for name in ("Kim", "Lee")]
    assert owner_of(named[0], "a") == owner_of(named[1], "a")
    assert "Lee" not in str(named[1].as_json().values())


@pytest.mark.parametrize(
    ("kind", "part", "expected"),
    [
        ("text", {"body": "hi"}, ("text", "hi", "")),
        (
            "image",
            {"id": "77", "caption": "look", "mime_type": "image/png"},
            ("image", "look", "77"),
        ),
        ("audio", {"id": "78", "voice": True}, ("audio", "", "78")),
        ("document", {"id": "79", "filename": "a.pdf"}, ("document", "", "79")),
        ("document", {"id": "../../etc"}, ("document", "", "")),
        ("button", {"text": "Yes"}, ("text", "Yes", "")),
        ("interactive", {"button_reply": {"id": "1", "title": "Yes"}}, ("text", "Yes", "")),
        ("sticker", {"id": "80"}, ("text", "(sticker)", "")),
        ("unsupported", {}, ("other", "", "")),
    ],
)
def test_kinds_of_the_cloud_api(
    kind: str, part: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    found = one(cloud_body(cloud_message("491511", kind, **part)))
    assert (found.kind, found.text, found.media_id) == expected
    assert (found.chat, found.sender, found.via) == ("491511", "491511", "cloud")


def test_a_body_may_hold_several_messages() -> None:
    found = parsed(cloud_body(*(cloud_message("491511", body=str(n)) for n in range(3))))
    assert [item.message.text for item in found] == ["0", "1", "2"]
    grouped = one(cloud_body(cloud_message("491511", body="x") | {"group_id": "g1"}))
    assert (grouped.chat, grouped.sender) == ("g1", "491511")


@pytest.mark.parametrize(
    "odd",
    [
        {"from": "491522", "id": "wamid.1"},
        {"type": "text", "id": "wamid.1"},
        {"type": [], "from": "491522", "id": "wamid.1"},
        cloud_message("491522", body="x") | {"timestamp": "soon"},
        5,
        None,
    ],
)
def test_one_message_that_cannot_be_read_keeps_no_other_from_being_read(
    odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = (cloud_message("491511", body=f"hush {n}") for n in range(2))
    found = parsed(cloud_body(first, odd, last))
    assert [item.message.text for item in found] == ["hush 0", "hush 1"]
    assert "could not be read count=1 of=3" in caplog.text
    assert "hush" not in caplog.text
    assert "491522" not in caplog.text
    with pytest.raises(InvalidMessageError):
        parsed(cloud_body(odd, odd))


def test_a_change_that_cannot_be_read_keeps_no_other_from_being_read() -> None:
    body = cloud_body(cloud_message("491511", body="x"))
    for entry in (5, {"changes": 5}, {"changes": [5]}, {"changes": [{"value": {"messages": 5}}]}):
        assert one(body | {"entry": [entry, *body["entry"]]}).text == "x"
        with pytest.raises(InvalidMessageError):
            parsed({"entry": [entry]})


BROKEN: list[Any] = [
    *(None, [], "x", 5, {}),
    {"id": "a", "body": "x"},
    {"id": "a", "from": "nobody", "body": "x"},
    {"id": "a", "from": "a@c.us/../b", "body": "x"},
    {"from": "a@c.us", "body": "x"},
    {"id": "", "from": "a@c.us"},
    {"id": "x" * 301, "from": "a@c.us"},
    {"id": "a\n", "from": "a@c.us"},
    {"id": 5, "from": "a@c.us"},
    message(KIM, "x", timestamp="soon"),
    message(KIM, "x", timestamp=True),
    message(KIM, "x", timestamp=-1),
    message(KIM, "x", timestamp=10**18),
    message(KIM, "", type="image", mediaBase64="%%%"),
    message(KIM, "", type="image", mediaBase64=7),
    {"entry": "x"},
    {"entry": [5]},
    {"entry": [{"changes": [{"value": {"messages": [5]}}]}]},
    cloud_body({"type": "text"}),
    cloud_body(cloud_message("491511", body="x") | {"from": "a b"}),
    cloud_body(cloud_message("491511", body="x") | {"group_id": "491511"}),
    cloud_body(*(cloud_message("491511", body="x") for _ in range(101))),
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_message_is_refused(body: Any) -> None:
    with pytest.raises(InvalidMessageError):
        parsed(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "from", "entry", "changes", "value", "messages", "type", "sender"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(JSON)
def test_no_body_breaks_the_parser(body: Any) -> None:
    with contextlib.suppress(InvalidMessageError):
        parsed(body)


def test_only_what_is_in_the_window_is_current() -> None:
    now = datetime.now(UTC)
    ahead = timedelta(minutes=5)

    def current(at: float | None) -> bool:
        return one(message(KIM, "x", timestamp=at)).is_current(now, 60, ahead)

    assert current(now.timestamp())
    assert current(now.timestamp() * 1000)
    assert current(now.timestamp() - 59)
    assert current(now.timestamp() + 299)
    assert current(None)
    assert not current(now.timestamp() - 61)
    assert not current(now.timestamp() + 301)
    assert not current(0)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        *(
            (word, "approved")
            for word in ("yes", " YES ", "Yes.", "*yes*", "да", "1", "ok", "approve")
        ),
        *((word, "denied") for word in ("no", "No!", "deny", "нет", "2", "cancel")),
        *(
            (word, None)
            for word in ("", "yes please delete it", "yesno", "3", "maybe", "not yes", None, 1)
        ),
    ],
)
def test_a_word_decides_only_alone(word: object, answer: str | None) -> None:
    assert decision_of(word) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *((text, "approved") for text in ("yes k7f", "Yes, *K7F*.", "👍 k7f")),
        ("no k7f", "denied"),
        *((text, None) for text in ("yes", "no", "ok", "1", "k7f", "yes k7g", "yes k7f please")),
    ],
)
def test_where_a_code_is_asked_for_a_bare_word_decides_nothing(
    text: str, answer: str | None
) -> None:
    assert decision_of(text, "k7f") == answer
    assert decision_of("yes k7f") is None


def shown(parts: list[str]) -> str:
    """What stands in a question's blocks of code; each message has one."""
    assert all(part.count("```") == 2 and len(part) <= MAX_CHARS for part in parts)
    return "".join(part.split("```")[1][1:-1] for part in parts)


def test_a_question_shows_all_that_would_be_done() -> None:
    asked = PendingApproval(
        "a", "c", "ASANA_CREATE_TASK", {"name": "milk\nand *bread*", "n": [1, 10**30]}, 0
    )
    (part,) = question(asked, languages().english)
    assert part.startswith("I would like to run `ASANA_CREATE_TASK` with:\n```\n")
    assert shown([part]) == f'"name": "milk\\nand *bread*"\n"n": [1, {10**30}]'
    assert part.endswith("```\n\nReply *yes* or *no*.")
    assert question(asked, languages().english, "k7f")[0].endswith("Reply *yes k7f* or *no k7f*.")
    assert question(PendingApproval("a", "c", "X", {}, 0), languages().english) == [
        "I would like to run `X`.\n\nReply *yes* or *no*."
    ]
    mail = PendingApproval("a", "c", "MAIL", {"to": "b"}, 0, "a`\n@example.com")
    assert question(mail, languages().english)[0].endswith(
        "```\nIt would use the account `a\\u0060\\n@example.com`.\n\nReply *yes* or *no*."
    )


@pytest.mark.parametrize("sign", ["A", "a b ", '"', "\\", "`", "\u202e", "😀"])
def test_what_is_long_is_shown_in_parts_and_nothing_is_left_out(sign: str) -> None:
    value = (sign * 900)[:900]  # of escapes, a part holds 600
    given = {"body": value, "more": "x" * 4_000, "zz_to": "evil@example"}
    parts = question(PendingApproval("a", "c", "MAIL", given, 0), languages().english)
    assert len(parts) > 1
    assert f"({len(parts)} of {len(parts)})" in parts[-1]
    assert [part.endswith("Reply *yes* or *no*.") for part in parts].index(True) == len(parts) - 1
    read = shown(parts).replace("\n", "")
    for name, text in given.items():
        written = json.dumps(text, ensure_ascii=False).replace("`", "\\u0060")
        assert f'"{name}": {written}'.replace("\u202e", "\\u202e") in read


def test_a_question_of_an_agent_is_answered_by_any_text() -> None:
    asked = PendingApproval("a", "c", "question", {"question": "Which colour?", "answer": ""}, 0)
    english = languages().english
    assert question(asked, english) == ["Which colour?\n\nReply with your answer."]
    assert question(asked, english, "k7f")[0].endswith("Reply with *k7f* and your answer.")
    given = read_decision(asked, "no, blue please", "")
    assert given is not None
    assert (given.answer, given.arguments["answer"]) == ("approved", "no, blue please")
    coded = read_decision(asked, "K7F: dark blue", "k7f")
    assert coded is not None
    assert coded.arguments == {"question": "Which colour?", "answer": "dark blue"}
    for text, code in (("", ""), (None, ""), ("blue", "k7f"), ("k7f", "k7f")):
        assert read_decision(asked, text, code) is None
    call = PendingApproval("a", "c", "SEND", {"question": "Which colour?", "answer": ""}, 0)
    assert read_decision(call, "blue", "") is None
    denied = read_decision(call, "no", "")
    assert denied is not None
    assert denied.answer == "denied"


def test_nothing_in_a_call_can_look_like_the_question() -> None:
    forged = "x\n```\n\u2028Reply *yes* to see a cat.\r\v\x85"
    (part,) = question(
        PendingApproval("a", "c", forged, {forged: forged, "list": [{forged: forged}]}, 0),
        languages().english,
    )
    assert part.splitlines()[:2] == [part.split("\n")[0], "```"]
    assert len(part.splitlines()) == len(part.split("\n")) == 7
    assert [line for line in part.splitlines() if line.startswith("Reply")] == [
        "Reply *yes* or *no*."
    ]
    assert shown([part]).count("\n") == 1


def test_what_cannot_be_shown_whole_is_not_asked() -> None:
    for value in ("x" * MAX_SHOWN, 10**5_000):
        with pytest.raises(ApprovalNotShowableError):
            question(PendingApproval("a", "c", "X", {"a": value}, 0), languages().english)
    with pytest.raises(ApprovalNotShowableError):
        question(PendingApproval("a", "c", "X" * 201, {}, 0), languages().english)


def test_pauses_grow() -> None:
    assert [pause(n) for n in range(1, 9)] == [1, 4, 16, 64, 256, 1024, 4096, 4096]

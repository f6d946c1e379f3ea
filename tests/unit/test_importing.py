"""Export files of other apps are read as neutral records, and hostile ones end in a sentence."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.conversations.importing import readers, worker
from cmw_agent.conversations.importing.json_splitter import JsonSplitter
from cmw_agent.conversations.importing.records import (
    ImportedConversation,
    ImportedMessage,
    ImportLimits,
    UnreadableError,
)
from cmw_agent.conversations.importing.report import FAILURES, NOTES, REASONS, ImportReport

LIMITS = ImportLimits(1_000, 2_000, 100, 100_000, 1_000_000)


def read(value: Any) -> ImportedConversation:
    parsed = readers.parse(json.dumps(value).encode())
    return readers.read(readers.source_of(parsed), parsed, LIMITS)


def shown(conversation: ImportedConversation) -> list[tuple[str, str]]:
    return [(item.role, item.text) for item in conversation.messages if item.is_shown]


def reason_of(value: Any) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(value)
    return str(caught.value)


# -- ChatGPT -------------------------------------------------------------------------


def node(
    key: str, parent: str | None, role: str | None = None, *parts: Any, **more: Any
) -> dict[str, Any]:
    message = None
    if role is not None:
        message = {
            "author": {"role": role},
            "create_time": 1_700_000_000.5,
            "content": {"content_type": "text", "parts": list(parts)},
        } | more
    return {"id": key, "parent": parent, "message": message, "children": []}


def chatgpt(*nodes: dict[str, Any], current: str | None = None, **more: Any) -> dict[str, Any]:
    found = {"title": "T", "create_time": 1_700_000_000, "current_node": current}
    return found | {"mapping": {item["id"]: item for item in nodes}} | more


def test_chatgpt_s_shown_path_is_read_and_the_other_versions_stay_in_the_tree() -> None:
    conversation = read(
        chatgpt(
            node("root", None),
            node("system", "root", "system", ""),
            node("q", "system", "user", "why?"),
            node("a1", "q", "assistant", "first version"),
            node("a2", "q", "assistant", "second version", metadata={"model_slug": "gpt-4o"}),
            node("q2", "a1", "user", "and then?"),
            node("a3", "q2", "assistant", "so"),
            current="a2",
        )
    )
    assert shown(conversation) == [("user", "why?"), ("assistant", "second version")]
    assert [(m.index, m.parent, m.is_shown) for m in conversation.messages] == [
        (0, None, True),
        (1, 0, False),
        (2, 0, True),
        (3, 1, False),
        (4, 3, False),
    ]
    assert conversation.messages[2].model == "gpt-4o"
    assert conversation.messages[0].at == 1_700_000_000.5
    assert conversation.notes == {"versions": 3}


def test_chatgpt_s_thoughts_and_parts_around_tools_are_one_answer() -> None:
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "S", "content": "hm"}]}
    code = {"content_type": "code", "text": "print(1)"}
    conversation = read(
        chatgpt(
            node("q", None, "user", "why?"),
            node("t", "q", "assistant", content=thoughts),
            node("c", "t", "assistant", content=code, recipient="python"),
            node("r", "c", "tool", "1"),
            node("a", "r", "assistant", "It is"),
            node("b", "a", "assistant", "one."),
            node(
                "h", "b", "user", "hidden", metadata={"is_visually_hidden_from_conversation": True}
            ),
            current="h",
        )
    )
    assert shown(conversation) == [("user", "why?"), ("assistant", "It is\n\none.")]
    assert conversation.messages[1].thinking == "S\n\nhm"
    assert conversation.notes == {"tools": 2, "system": 1}


def test_chatgpt_s_pictures_are_named_and_texts_beside_them_are_read() -> None:
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    spoken = {"content_type": "audio_transcription", "text": "said aloud"}
    content = {"content_type": "multimodal_text", "parts": [picture, "look", spoken]}
    conversation = read(chatgpt(node("q", None, "user", content=content)))
    assert shown(conversation) == [("user", "look\n\nsaid aloud")]
    assert [file.name for file in conversation.messages[0].files] == ["a picture or recording"]


# -- Claude --------------------------------------------------------------------------


def said(sender: str, text: str = "", *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "uuid": text or "u",
        "sender": sender,
        "text": text,
        "content": list(blocks),
        "created_at": "2024-05-01T12:00:00.5Z",
    } | more


def test_claude_s_blocks_thoughts_and_pasted_texts_are_read() -> None:
    attachment = {"file_name": "a.txt", "extracted_content": "pasted"}
    conversation = read(
        {
            "name": "N",
            "created_at": "2024-05-01T12:00:00Z",
            "updated_at": "2024-05-02T12:00:00Z",
            "chat_messages": [
                said("human", "why?", attachments=[attachment], files=[{"file_name": "p.png"}]),
                said(
                    "assistant",
                    "all of it",
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "tool_use", "name": "x"},
                    {"type": "text", "text": "so"},
                    {"type": "text", "text": "there"},
                ),
            ],
        }
    )
    assert conversation.title == "N"
    assert shown(conversation) == [
        ("user", "why?\n\na.txt:\n\npasted"),
        ("assistant", "so\n\nthere"),
    ]
    assert conversation.messages[1].thinking == "hm"
    assert conversation.messages[1].at == 1_714_564_800.5
    assert [file.name for file in conversation.messages[0].files] == ["p.png"]
    assert conversation.notes == {"tools": 1}


def test_claude_s_versions_are_told_apart_by_their_parents() -> None:
    messages = [
        said("human", "q", parent_message_uuid="00000000-0000-4000-8000-000000000000"),
        said("assistant", "one", parent_message_uuid="q"),
        said("assistant", "two", parent_message_uuid="q"),
    ]
    conversation = read({"name": "", "chat_messages": messages})
    assert shown(conversation) == [("user", "q"), ("assistant", "two")]
    assert [message.parent for message in conversation.messages] == [None, 0, 0]


# -- Open WebUI ----------------------------------------------------------------------


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_open_webui_s_tree_is_read_along_its_current_message(*, is_wrapped: bool) -> None:
    messages = {
        "1": {"id": "1", "parentId": None, "role": "user", "content": "q", "timestamp": 1.7e9},
        "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "a", "model": "llama3"},
        "3": {"id": "3", "parentId": "1", "role": "assistant", "content": "b"},
    }
    chat = {"title": "T", "history": {"messages": messages, "currentId": "2"}, "messages": []}
    value = {"id": "x", "user_id": "y", "title": "T", "chat": chat} if is_wrapped else chat
    conversation = read(value)
    assert shown(conversation) == [("user", "q"), ("assistant", "a")]
    assert conversation.messages[1].model == "llama3"


def test_open_webui_s_old_exports_are_a_list() -> None:
    parts = [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {}}]
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "a"},
    ]
    conversation = read({"title": "T", "chat": {"messages": messages}})
    assert shown(conversation) == [("user", "q"), ("assistant", "a")]
    assert conversation.notes == {"system": 1}


# -- this app's own ------------------------------------------------------------------


def test_an_export_with_all_versions_is_read_along_the_shown_path() -> None:
    numbers = [(1, None, True), (2, 1, False), (3, 2, False), (4, 1, True), (5, 4, True)]
    messages = [
        {
            "seq": seq,
            "role": "assistant" if seq in (2, 4) else "user",
            "content": f"text {seq}",
            "parent_seq": parent,
            "shown": is_shown,
        }
        for seq, parent, is_shown in numbers
    ]
    value = {"title": "T", "started_at": "2024-01-01", "messages": messages}
    conversation = read(value)
    assert [text for _, text in shown(conversation)] == ["text 1", "text 4", "text 5"]
    assert [message.parent for message in conversation.messages] == [None, 0, 1, 0, 3]
    assert conversation.notes == {"versions": 2}


# -- what is wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, "shape"),
        (chatgpt(), "empty"),
        (chatgpt(node("a", "b", "user", "x"), node("b", "a", "assistant", "y")), "circle"),
        (chatgpt(node("a", "a", "user", "x")), "circle"),
        (chatgpt(node("q", None, "user", "x" * 1_001)), "long"),
        (chatgpt(node("q", None, "assistant", "x" * 2_001)), "long_answer"),
        (chatgpt(*(node(f"{n}", None, "user", "x") for n in range(101))), "many"),
        ({"chat_messages": [1, None, {"sender": "human"}]}, "empty"),
        ({"title": 1, "started_at": 1, "messages": [{"role": "tool"}]}, "empty"),
        ([1], "shape"),
    ],
)
def test_a_conversation_that_cannot_be_imported_has_a_reason(value: Any, reason: str) -> None:
    assert reason_of(value) == reason
    assert reason in REASONS


def test_a_long_line_of_messages_takes_no_recursion() -> None:
    nodes = [node(f"{n}", f"{n - 1}", "user" if n % 2 else "assistant", "x") for n in range(50_000)]
    limits = ImportLimits(1_000, 1_000, 100_000, 1, 1)
    conversation = readers.read("chatgpt", chatgpt(*nodes[::-1], current="49999"), limits)
    assert len(shown(conversation)) == 50_000


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    *("title", "name", "mapping", "current_node", "parent", "message", "author", "role", "content"),
    *(
        "parts",
        "content_type",
        "text",
        "metadata",
        "create_time",
        "chat_messages",
        "sender",
        "uuid",
    ),
    *("parent_message_uuid", "chat", "history", "messages", "currentId", "parentId", "timestamp"),
    *("started_at", "tool_calls", "sources", "files", "pictures", "thinking_seconds", "created_at"),
)
shaped = st.recursive(
    json_values | st.sampled_from(("user", "assistant", "human", "a", "b", "text", "thoughts")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from((*NAMES, "a", "b")), inner, max_size=6)
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(NAMES), shaped, max_size=8))
def test_no_json_breaks_a_reader_and_all_that_is_read_can_be_stored(value: dict[str, Any]) -> None:
    reasons: set[str] = set()
    for source, reader in readers.READERS.items():
        if not reader.is_conversation(value):
            continue
        try:
            conversation = readers.read(source, value, LIMITS)
        except UnreadableError as error:
            reasons.add(str(error))
            continue
        assert b"\\u0000" not in orjson.dumps(conversation)
        parents = [message.parent for message in conversation.messages]
        assert all(p is None or p < index for index, p in enumerate(parents))
        assert {note for note, count in conversation.notes.items() if count} <= set(NOTES)
    assert reasons <= set(REASONS)


# -- splitting -----------------------------------------------------------------------


def split(data: bytes, size: int, max_bytes: int = 10_000) -> list[bytes | None]:
    splitter = JsonSplitter(max_bytes)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return [element for piece in pieces for element in splitter.feed(piece)]


objects = st.lists(st.dictionaries(st.text(), json_values, min_size=1), max_size=5)


@given(objects, st.integers(1, 40), st.booleans())
def test_pieces_of_any_size_give_the_same_conversations(
    values: list[dict[str, Any]], size: int, is_ascii: bool
) -> None:
    wanted = [json.dumps(value, ensure_ascii=True) for value in values]
    listed = "[" + " ,\n".join(wanted) + "]"
    wrapped = f'{{"a": [[1]], "conversations" : {listed}, "b": {{"c": [{{}}]}}}}'
    lines = "\n".join(wanted)
    for text in (listed, wrapped, lines) if is_ascii else (listed,):
        found = split(text.encode(), size)
        assert [element.decode() for element in found if element] == wanted
        assert None not in found


def test_one_that_is_too_large_is_skipped_and_those_behind_it_are_found() -> None:
    large = json.dumps({"a": "[{" * 60})
    found = split(f'[{{"b": 1}}, {large}, {{"c": 2}}]'.encode(), 7, max_bytes=50)
    assert found == [b'{"b": 1}', None, b'{"c": 2}']


def test_an_object_that_is_one_conversation_is_found_whole() -> None:
    value = {"title": "x", "messages": [{"conversations": [1]}], "z": '\\"['}
    data = json.dumps(value).encode()
    for size in range(1, len(data) + 1):
        assert split(data, size) == [data]


# -- the worker's events -------------------------------------------------------------


def events(data: bytes) -> list[dict[str, Any]]:
    return list(worker.events(io.BytesIO(data), LIMITS))


def zipped(**members: str | bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return target.getvalue()


def kinds(found: list[dict[str, Any]]) -> Iterator[str]:
    for event in found:
        yield f"{event['event']} {event.get('reason', '')}".strip()


GOOD = json.dumps(chatgpt(node("q", None, "user", "x")))
READ = ["source", "conversation", "messages", "end"]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", ["failed shape"]),
        (b"hello", ["failed shape"]),
        (b"[1, 2]", ["failed shape"]),
        (b"\xef\xbb\xbf[" + GOOD.encode() + b"]", [*READ, "done"]),
        (f"[{GOOD}, ".encode(), [*READ, "failed cut"]),
        (f'[{GOOD}, {{"a": tru}}]'.encode(), [*READ, "refused broken", "done"]),
        (f"[{GOOD}, {'[' * 5_000}{']' * 5_000}]".encode(), [*READ, "refused deep", "done"]),
        (f'[{{"a": "\\ud800"}}, {GOOD}]'.encode(), [READ[0], "refused shape", *READ[1:], "done"]),
        (f'[{GOOD}, {{"a": "{"x" * 100_000}"}}]'.encode(), [*READ, "refused large", "done"]),
        (b"PK\x03\x04 no archive", ["failed archive"]),
        (zipped(notes="x"), ["failed shape"]),
        (zipped(conversations_json=f"[{GOOD}]", other_json="{}"), [*READ, "done"]),
        (zipped(export__other_json=f"[{GOOD}]"), [*READ, "done"]),
    ],
)
def test_a_file_ends_with_done_or_with_a_reason(data: bytes, wanted: list[str]) -> None:
    found = list(kinds(events(data)))
    assert found == wanted
    reasons = {each.partition(" ")[2] for each in found if each.startswith("failed")}
    assert reasons <= set(FAILURES)


def test_all_that_is_refused_before_the_source_is_known_is_counted() -> None:
    found = list(events(b"{}" * 150 + GOOD.encode()))
    refused = [event for event in found if event["event"] == "refused"]
    assert sum(event.get("count", 1) for event in refused) == 150
    assert list(kinds([e for e in found if e not in refused])) == [*READ, "done"]


@pytest.mark.parametrize("is_zipped", [False, True])
def test_a_file_that_unpacks_to_more_than_may_be_read_ends_there(*, is_zipped: bool) -> None:
    data = f"[{', '.join([GOOD] * 9_000)}]".encode()
    found = list(kinds(events(zipped(conversations_json=data) if is_zipped else data)))
    assert found[:5] == [*READ, "conversation"]
    assert found[-1] == "failed total"
    assert found.count("end") > 1_000


def test_many_refused_conversations_are_counted_in_few_lines() -> None:
    data = f"[{GOOD}, {', '.join(['{}'] * 5_000)}, {GOOD}]".encode()
    found = events(data)
    assert [event["event"] for event in found[-4:]] == [*READ[1:], "done"]
    refused = [event for event in found if event["event"] == "refused"]
    assert sum(event.get("count", 1) for event in refused) == 5_000
    assert len(refused) < worker.MAX_REFUSED + 10


def test_a_file_that_unpacks_to_more_than_may_be_read_is_not_read_again_and_again() -> None:
    file = {"name": "a.txt", "path": "files/a.txt"}
    message = {"role": "user", "content": "see", "files": [file] * 1_000}
    line = json.dumps({"title": "T", "started_at": "2024-01-01", "messages": [message]})
    members: dict[str, str | bytes] = {
        "conversations.jsonl": line,
        "files/a.txt": b"0" * 300_000,
    }
    found = events(zipped(**members))
    assert found[-1] == {"event": "failed", "reason": "total"}
    sent = sum(len(event["data"]) for event in found if event["event"] == "bytes")
    assert sent < 2 * LIMITS.total_bytes


def test_files_come_before_the_messages_that_have_them() -> None:
    line = {
        "title": "T",
        "started_at": "2024-01-01",
        "messages": [
            {
                "role": "user",
                "content": "see",
                "files": [
                    {"name": "a.txt", "path": "files/a.txt"},
                    {"name": "b.txt", "path": "../../etc/passwd"},
                    {"name": "c.txt"},
                ],
            }
        ],
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("conversations.jsonl", json.dumps(line) + "\n")
        archive.writestr("files/a.txt", b"bytes")
    found = events(target.getvalue())
    assert [event["event"] for event in found] == [
        *("source", "conversation", "file", "bytes", "file_end", "file", "file"),
        *("messages", "end", "done"),
    ]
    there = [event["is_there"] for event in found if event["event"] == "file"]
    assert there == [True, False, False]
    assert [event["is_whole"] for event in found if event["event"] == "file_end"] == [True]


def test_files_that_unpack_to_more_than_may_be_read_end_the_import() -> None:
    files = [{"name": "a.txt", "path": "files/a.txt"}] * 3
    message = {"role": "user", "content": "see", "files": files}
    line = {"title": "T", "started_at": "2024-01-01", "messages": [message]}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.jsonl", json.dumps(line) + "\n")
        archive.writestr("files/a.txt", bytes(400_000))
    found = events(target.getvalue())
    assert len([event for event in found if event["event"] == "file_end"]) == 2
    assert list(kinds(found))[-1] == "failed total"


def test_the_parts_of_a_long_conversation_are_small() -> None:
    text = "y" * 900
    nodes = [node(f"{n}", f"{n - 1}", "user", text) for n in range(80)]
    limits = ImportLimits(1_000, 1_000, 1_000, 10**9, 10**9)
    data = json.dumps([chatgpt(*nodes, current="79")]).encode()
    found = [e for e in worker.events(io.BytesIO(data), limits) if e["event"] == "messages"]
    assert sum(len(event["messages"]) for event in found) == 80
    messages: list[ImportedMessage] = [message for event in found for message in event["messages"]]
    assert [message.index for message in messages] == list(range(80))
    assert all(len(event["messages"]) <= worker.PART_MESSAGES for event in found)


def test_results_of_tools_count_for_the_size_of_a_part() -> None:
    call = {"name": "t", "arguments": {}, "result": "y" * worker.PART_CHARS, "ok": True}
    answer = {"role": "assistant", "content": "x", "tool_calls": [call]}
    line = json.dumps({"title": "T", "started_at": "2024-01-01", "messages": [answer] * 3})
    limits = ImportLimits(1_000, 1_000, 100, 10**9, 10**9)
    found = list(kinds(list(worker.events(io.BytesIO(line.encode()), limits))))
    assert found == ["source", "conversation", *["messages"] * 3, "end", "done"]


# -- what is said of it --------------------------------------------------------------


def test_a_partial_result_says_how_many_and_why() -> None:
    report = ImportReport(LIMITS, source="claude", imported=12)
    for title in ("A", "B", "C", "D"):
        report.refuse(title, "long")
    report.refuse("", "made up")
    report.lose_file("p.png", "too large.")
    report.notes["system"] = 2
    report.failure = "cut"
    assert report.result["sentence"] == (
        "12 of 17 conversations from Claude were imported; 5 were not: 4 have a message longer "
        "than 1,000 characters (“A”, “B”, “C” and 1 more); 1 has a form that is not known. "
        "The rest was not read: The file ends in the middle of its JSON. "
        "1 file was left out (p.png): too large. 2 hidden instructions were left out."
    )
    assert report.result["is_complete"] is False
    assert len(report.result["problems"]) == 5


def test_every_reason_has_a_sentence_without_a_placeholder() -> None:
    report = ImportReport(LIMITS)
    for reason in (*REASONS, *FAILURES):
        report.refuse("t", reason)
        assert "{" not in report.failure_sentence(reason)
    assert "{" not in report.result["sentence"]

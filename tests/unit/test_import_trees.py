"""Imports: the tree of a source's messages becomes a tree of ours, of which one path is shown."""

import io
import json
import zipfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.conversations.importing import worker
from cmw_agent.conversations.importing.records import (
    ImportedConversation,
    ImportedMessage,
    ImportLimits,
)
from tests.unit.test_importing import LIMITS, chatgpt, node, read, said, shown


def texts(conversation: ImportedConversation) -> list[tuple[int | None, str, bool]]:
    return [(m.parent, m.text, m.is_shown) for m in conversation.messages]


def path_of(messages: tuple[ImportedMessage, ...], index: int | None) -> list[int]:
    seen = []
    while index is not None:
        seen.append(index)
        index = messages[index].parent
    return seen[::-1]


def timed(key: str, parent: str | None, role: str, second: int) -> dict[str, Any]:
    return node(key, parent, role, key, create_time=1_700_000_000 + second)


def test_versions_stand_in_the_order_of_their_times_whatever_the_order_in_the_file() -> None:
    conversation = read(
        chatgpt(
            timed("a2", "q", "assistant", 30),
            timed("q", None, "user", 1),
            timed("q2", "a1", "user", 10),
            timed("a1", "q", "assistant", 2),
            current="a2",
        )
    )
    assert texts(conversation) == [
        (None, "q", True),
        (0, "a1", False),
        (1, "q2", False),
        (0, "a2", True),
    ]


def test_the_path_goes_on_behind_the_current_message_to_the_newest_of_that_branch() -> None:
    conversation = read(
        chatgpt(
            timed("q", None, "user", 1),
            timed("a1", "q", "assistant", 2),
            timed("q2", "a1", "user", 3),
            timed("q3", "a1", "user", 4),
            timed("a4", "q", "assistant", 5),
            current="a1",
        )
    )
    assert shown(conversation) == [("user", "q"), ("assistant", "a1"), ("user", "q3")]


def test_a_current_message_that_is_not_imported_shows_the_newest() -> None:
    nodes = (node("system", None, "system", "be kind"), timed("q", "gone", "user", 1))
    conversation = read(chatgpt(*nodes, current="system"))
    assert shown(conversation) == [("user", "q")]


def test_a_message_whose_parent_is_missing_begins_a_version_and_that_is_said() -> None:
    nodes = (timed("q", None, "user", 1), timed("a", "q", "assistant", 2))
    conversation = read(chatgpt(*nodes, timed("lost", "gone", "user", 3), current="a"))
    assert texts(conversation) == [(None, "q", True), (0, "a", True), (None, "lost", False)]
    assert conversation.notes == {"parents": 1, "versions": 1}


def test_the_id_that_claude_gives_as_the_parent_of_a_first_message_is_not_a_missing_one() -> None:
    first = "00000000-0000-4000-8000-000000000000"
    messages = [said("human", "q", parent_message_uuid=first)]
    messages += [said("human", "edited", parent_message_uuid=first)]
    conversation = read({"name": "", "chat_messages": messages})
    assert conversation.notes == {"versions": 1}


def own(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"title": "T", "started_at": "2024-01-01", "messages": messages}


def message(seq: int, parent: int | None, *, is_shown: bool) -> dict[str, Any]:
    role = "user" if seq % 2 else "assistant"
    links = {"parent_seq": parent, "shown": is_shown}
    return {"seq": seq, "role": role, "content": str(seq), **links}


def test_an_own_export_whose_shown_messages_are_no_path_gets_one_and_loses_none() -> None:
    conversation = read(
        own(
            message(1, None, is_shown=True),
            message(2, 1, is_shown=False),
            message(3, 2, is_shown=True),
            message(4, 9, is_shown=True),
            message(5, 1, is_shown=False),
        )
    )
    assert texts(conversation) == [
        (None, "1", False),
        (0, "2", False),
        (1, "3", False),
        (None, "4", True),
        (0, "5", False),
    ]
    assert conversation.notes == {"parents": 1, "versions": 4}


def test_files_that_two_versions_share_come_once() -> None:
    files = [{"name": "a.txt", "path": "files/a.txt"}]
    first, edited = (message(seq, None, is_shown=seq == 3) for seq in (1, 3))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        line = own(first | {"files": files}, edited | {"files": files})
        archive.writestr("conversations.jsonl", json.dumps(line) + "\n")
        archive.writestr("files/a.txt", b"bytes")
    found = list(worker.events(io.BytesIO(target.getvalue()), LIMITS))
    assert [event["event"] for event in found].count("file") == 1
    (messages,) = (event["messages"] for event in found if event["event"] == "messages")
    assert [(len(each.files), each.files_from) for each in messages] == [(1, None), (0, 0)]


def test_a_large_wide_and_deep_tree_takes_no_recursion() -> None:
    nodes = [timed(f"{n}", f"{n - 1}" if n else None, "user", n) for n in range(2_000)]
    nodes += [timed(f"w{n}", "0", "user", n) for n in range(2_000)]
    limits = ImportLimits(1_000, 1_000, 10_000, 10**9, 10**9)
    data = json.dumps([chatgpt(*nodes, current="1999")]).encode()
    found = [e for e in worker.events(io.BytesIO(data), limits) if e["event"] == "messages"]
    assert sum(item.is_shown for event in found for item in event["messages"]) == 2_000


drafts = st.lists(
    st.tuples(
        st.integers(0, 9),  # the parent: one of the nodes before, none, or one that is missing
        st.sampled_from(("user", "assistant", "tool", None)),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(drafts, st.randoms(use_true_random=False), st.integers(0, 14))
def test_no_message_of_a_tree_is_lost_and_the_shown_ones_are_a_path(
    given_drafts: Any, random: Any, current: int
) -> None:
    nodes = []
    for number, (choice, role, second, is_known) in enumerate(given_drafts):
        parent = f"n{choice % number}" if number and choice < 9 else None
        nodes.append(timed(f"n{number}", parent if is_known else f"gone{number}", role, second))
    random.shuffle(nodes)
    kept = [number for number, each in enumerate(given_drafts) if each[1] in ("user", "assistant")]
    sent = [f"n{number}" for number in kept]
    if not sent:
        return
    conversation = read(chatgpt(*nodes, current=f"n{current}"))
    messages = conversation.messages
    assert sorted(part for m in messages for part in m.text.split("\n\n")) == sorted(sent)
    assert [m.index for m in messages] == list(range(len(messages)))
    assert all(m.parent is None or m.parent < m.index for m in messages)
    path = [m.index for m in messages if m.is_shown]
    assert path == path_of(messages, path[-1])
    assert path[-1] not in {m.parent for m in messages}

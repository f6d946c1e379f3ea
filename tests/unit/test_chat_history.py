"""What a model is sent of a conversation: no user message directly follows another."""

from typing import Any

from cmw_agent.chat.history import merge_user_messages
from cmw_agent.llm.chat_model import HistoryMessage

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def shown(history: object) -> list[tuple[str, object]]:
    assert isinstance(history, list)
    return [(message.role, message.content) for message in history]


def test_user_messages_without_an_answer_become_one() -> None:
    history = [
        HistoryMessage("user", "one"),
        HistoryMessage("user", "two"),
        HistoryMessage("user", "three"),
        HistoryMessage("assistant", "yes"),
        HistoryMessage("user", "four"),
    ]
    assert shown(merge_user_messages(history)) == [
        ("user", "one\n\ntwo\n\nthree"),
        ("assistant", "yes"),
        ("user", "four"),
    ]
    assert history[0].content == "one"


def test_merged_messages_keep_their_files() -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "look"}, PICTURE]
    history = [
        HistoryMessage("user", "one"),
        HistoryMessage("user", parts),
        HistoryMessage("user", "two"),
    ]
    text = [{"type": "text", "text": word} for word in ("one", "two")]
    assert shown(merge_user_messages(history)) == [("user", [text[0], *parts, text[1]])]
    assert len(parts) == 2


def test_messages_that_alternate_are_left_as_they_are() -> None:
    history = [HistoryMessage("user", "one"), HistoryMessage("assistant", "a")]
    assert merge_user_messages(history) is history

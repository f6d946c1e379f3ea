"""Rendering of a conversation in Gradio's normal form, in the right order."""

import re
from datetime import UTC, datetime

from gradio.components.chatbot import ChatbotDataMessages
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.events import TextDelta, ToolFinished, ToolStarted, TurnFinished
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.page.live_answer import LiveAnswer
from cmw_agent.web.page.steps import tool_step
from memory.records import StoredMessage, ToolRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(role: str, content: str, status: str = "complete", **more: object) -> StoredMessage:
    values: dict[str, object] = {
        "seq": 1,
        "role": role,
        "content": content,
        "tool_calls": (),
        "status": status,
        "model_used": None,
        "tokens_used": None,
        "latency_ms": None,
        "created_at": NOW,
        "turn_id": "t",
        "error_id": None,
        "feedback": None,
        **more,
    }
    return StoredMessage(**values)  # type: ignore[arg-type]


def said(value: list[DrawnMessage]) -> list[str]:
    return [item["content"][0]["text"] for item in value]


def test_what_is_drawn_is_gradio_s_own_normal_form() -> None:
    live = LiveAnswer([message("user", "hi")])
    live.add(ToolStarted("1", "calculate", {"expression": "1"}))
    live.add(ToolFinished("1", "calculate", "1", True, 0.01))
    live.add(TextDelta("one"))
    live.add(TurnFinished("interrupted"))
    value = live.drawn()
    assert ChatbotDataMessages(root=value).model_dump() == value


def test_a_sign_of_life_stands_where_the_answer_will_be() -> None:
    live = LiveAnswer([message("user", "hi")])
    assert said(live.drawn()) == ["hi", rendering.WAITING]
    live.add(TextDelta("yes"))
    assert said(live.drawn()) == ["hi", "yes"]


def test_text_and_tools_keep_their_order() -> None:
    live = LiveAnswer([])
    for event in (
        TextDelta("Let me "),
        TextDelta("see."),
        ToolStarted("1", "calculate", {}),
        ToolStarted("2", "current_time", {}),
        ToolFinished("2", "current_time", "noon", True, 0.1),
        ToolFinished("1", "calculate", "boom", False, 0.1),
        TextDelta("\n\nDone"),
        TextDelta("."),
    ):
        live.add(event)
    value = live.drawn()
    assert [said(value)[0], said(value)[-1]] == ["Let me see.", "Done."]
    titles = [item["metadata"]["title"] for item in value if item["metadata"]]
    assert titles == ["⚠️ calculate", "🛠️ current_time"]


def test_a_message_that_was_handed_out_is_never_changed() -> None:
    live = LiveAnswer([message("user", "hi")])
    live.add(TextDelta("a"))
    first = live.drawn()
    copy = [dict(item, content=[dict(part) for part in item["content"]]) for item in first]
    live.add(TextDelta("b"))
    second = live.drawn()
    assert first == copy
    assert second[0] is first[0]
    assert said(second) == ["hi", "ab"]


@given(st.text())
def test_a_result_cannot_leave_its_fence(result: str) -> None:
    text = tool_step("t", {"a": result}, result)["content"][0]["text"]
    fences = re.findall(r"^(`{3,})$", text, re.MULTILINE)
    longest = max((len(run) for run in re.findall(r"`+", result)), default=0)
    assert len(fences[-1]) > longest
    assert text.endswith(f"\n{fences[-1]}\n")


def test_each_drawn_message_knows_its_place_and_each_answer_its_rating() -> None:
    call = ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 12)
    given = [
        stored("user", "hi", seq=3),
        stored("assistant", "half", "interrupted", tool_calls=(call,), seq=4, feedback="like"),
        stored("user", "again", seq=7),
        stored("assistant", "whole", seq=8),
    ]
    assert rendering.seqs(given) == [3, 4, 4, 4, 7, 8]
    assert len(rendering.seqs(given)) == len(rendering.history(given))
    assert rendering.feedback(given) == ["Like", None]
    drawn = rendering.history(given)
    assert rendering.with_ratings(drawn, ["Like", None])["feedback_value"] == ["Like", None]
    assert rendering.with_ratings(drawn, [None, None]) is drawn


def test_a_stored_answer_shows_what_became_of_it() -> None:
    call = ToolRecord("1", "calculate", {"expression": "1"}, "1", True, 12)
    drawn = rendering.history(
        [
            stored("user", "hi"),
            stored("assistant", "half", "interrupted", tool_calls=(call,)),
            stored("user", "again"),
            stored("assistant", "", "failed", error_id="abcd1234"),
        ]
    )
    texts = said(drawn)
    assert texts[0] == "hi"
    assert drawn[1]["metadata"]["duration"] == 0.012
    assert texts[2] == "half"
    assert "stopped" in texts[3]
    assert "abcd1234" in texts[5]

"""The demo model: offline, deterministic, answers from the given conversation alone."""

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import ToolLoop
from cmw_agent.core.events import AgentEvent, TextDelta, ToolFinished, ToolStarted, UsageReported
from cmw_agent.language import Language, languages
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.demo_model import DemoModel, respond

ENGLISH = languages().english
RUSSIAN = languages().of("ru")
TOOLS = ("current_time", "calculate")


def told(*texts: str, language: Language = ENGLISH) -> str:
    messages: list[BaseMessage] = []
    for text in texts[:-1]:
        messages += [HumanMessage(text), AIMessage("…")]
    reply = respond([*messages, HumanMessage(texts[-1])], TOOLS, language)
    assert isinstance(reply, str)
    return reply


def test_it_knows_a_name_only_from_its_own_conversation() -> None:
    assert "Alice" in told("My name is Alice")
    assert told("What is my name?") == "I don't know your name yet."
    assert told("My name is Alice", "What is my name?") == "Your name is Alice!"
    assert told("My name is Alice", "my name is Bob", "Who am I?") == "Your name is Bob!"


def test_it_says_that_it_is_a_demo_and_what_to_set() -> None:
    for text in ("hello", "What can you do?", "something else"):
        assert "demo model" in told(text)
        assert "OPENAI_API_KEY" in told(text)


def test_a_file_stands_apart_from_the_message_that_has_it() -> None:
    parts: list[str | dict[str, str]] = [
        {"type": "text", "text": "Read it"},
        {"type": "text", "text": "[File: a.txt]\nwords"},
    ]
    said = respond([HumanMessage(parts)], TOOLS, ENGLISH)
    assert isinstance(said, str)
    assert said.startswith("You wrote: Read it\n\n[File: a.txt]\nwords\n\n")


def test_it_answers_the_same_twice() -> None:
    assert told("hello", "tell me more") == told("hello", "tell me more")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("What time is it in Tokyo?", ("current_time", {"time_zone": "Tokyo"})),
        ("what is the time", ("current_time", {"time_zone": "UTC"})),
        ("What is 17.5 * (3 + 4)?", ("calculate", {"expression": "17.5 * (3 + 4)"})),
        ("2+2", ("calculate", {"expression": "2+2"})),
    ],
)
def test_it_calls_the_tool_that_a_question_needs(text: str, call: object) -> None:
    assert respond([HumanMessage(text)], TOOLS, ENGLISH) == call
    assert isinstance(
        respond([HumanMessage(text)], (), ENGLISH), str
    )  # without the tool it does not


def test_it_tells_what_a_tool_gave() -> None:
    result = ToolMessage("4", name="calculate", tool_call_id="1")
    assert respond([HumanMessage("2+2"), AIMessage(""), result], TOOLS, ENGLISH) == "That makes 4."
    broken = ToolMessage("No.", name="calculate", tool_call_id="1", status="error")
    assert (
        respond([HumanMessage("2+2"), AIMessage(""), broken], TOOLS, ENGLISH)
        == "That did not work. No."
    )


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("Который час в Токио?", ("current_time", {"time_zone": "Токио"})),
        ("Сколько сейчас времени в Москве?", ("current_time", {"time_zone": "Москве"})),
        ("Какой сегодня день?", ("current_time", {"time_zone": "UTC"})),
        ("What time is it in Tokyo?", ("current_time", {"time_zone": "Tokyo"})),
        ("Сколько будет 17.5 * (3 + 4)?", ("calculate", {"expression": "17.5 * (3 + 4)"})),
    ],
)
def test_it_understands_its_language_and_english(text: str, call: object) -> None:
    assert respond([HumanMessage(text)], TOOLS, RUSSIAN) == call


def test_it_speaks_the_language_of_its_reader() -> None:
    assert told("Меня зовут Алиса", language=RUSSIAN).startswith("Здравствуйте, Алиса!")
    known = told("меня зовут Алиса", "Как меня зовут?", language=RUSSIAN)
    assert known == "Вас зовут Алиса!"
    assert told("My name is Alice", "Как меня зовут?", language=RUSSIAN) == "Вас зовут Alice!"
    assert told("посчитай до 3", language=RUSSIAN) == "1, 2, 3."
    for text in ("привет", "Что ты умеешь?", "hello", "нечто иное"):
        assert "демонстрационная модель" in told(text, language=RUSSIAN)
    assert told("Привет", language=ENGLISH).startswith("You wrote: Привет")


def test_a_time_is_written_in_the_language_of_its_reader() -> None:
    given = "Monday, 30 November 2026, 18:12:00 (Tokyo, UTC+0900)"
    result = ToolMessage(given, name="current_time", tool_call_id="1")
    said = respond([result], TOOLS, RUSSIAN)
    assert said == "Сейчас понедельник, 30 ноября 2026\u202fг., 18:12:00 (Tokyo, UTC+0900)."
    odd = ToolMessage("half past", name="current_time", tool_call_id="1")
    assert respond([odd], TOOLS, ENGLISH) == "It is half past."


async def test_it_streams_words_and_runs_tools_through_the_agent() -> None:
    agent = CmwAgent(ToolLoop(), owner="v1", model=DemoModel(pause=0), instructions="Be kind.")
    events: list[AgentEvent] = []
    await agent.run([HistoryMessage("user", "What is 6 * 7?")], events.append)
    # The first call reported nothing, and made a tool call.
    assert isinstance(events[0], UsageReported)
    assert events[0].is_estimate
    assert events[0].output_tokens > 0
    assert [type(event) for event in events[1:3]] == [ToolStarted, ToolFinished]
    finished = events[2]
    assert isinstance(finished, ToolFinished)
    assert (finished.name, finished.result, finished.ok) == ("calculate", "42", True)
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(deltas) > 1
    assert "".join(deltas) == "That makes 42."
    assert any(isinstance(event, UsageReported) for event in events)

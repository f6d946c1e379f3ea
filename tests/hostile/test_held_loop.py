"""The event loop's time for one message, answer or tool call is linear in its length."""

import asyncio
import itertools
import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from cmw_agent.conversations.export import formats
from cmw_agent.core.sanitize import MAX_MARKS, validate_message
from cmw_agent.language import languages
from cmw_agent.llm.chat_model import complete
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.demo_model import respond
from cmw_agent.llm.factory import open_model
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.sse import SSEParser
from cmw_agent.llm.tool_calls import ToolCalls as CallsInPieces
from cmw_agent.tools.builtin import arithmetic
from cmw_agent.tools.builtin.arithmetic import evaluate
from cmw_agent.web.page.steps import tool_step
from memory.records import Conversation, StoredMessage, ToolRecord
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, ToolCalls
from tests.harness import settings_for
from tests.hostile.growth import grows_no_faster
from tests.unit.test_view import NOW, stored

LONG = 32_000  # characters: the longest message
CONVERSATION = Conversation(
    "id", "agent", "title", None, None, "web", None, None, 1, "active", NOW, NOW, None
)


# -- arithmetic -------------------------------------------------------------------


def test_rounding_to_more_digits_than_there_are_takes_no_work() -> None:
    assert evaluate("round(5, -300000000)") == 0
    assert evaluate(f"round(5, -{10**400})") == 0
    assert evaluate(f"round(15, {10**400})") == 15
    assert evaluate("round(155, -1)") == 160


OPERANDS = ("0", "1", "-1", "0.5", "-300000000", "300000000", "2**4000", "-2**4000", "10**400")


@pytest.mark.parametrize("name", arithmetic._FUNCTIONS)
def test_every_function_has_a_value_or_none_at_once_whatever_it_is_given(name: str) -> None:
    calls = [*((a,) for a in OPERANDS), *itertools.product(OPERANDS, repeat=2)]
    for operands in calls:
        try:
            value = evaluate(f"{name}({', '.join(operands)})")
        except ValueError:
            continue
        assert isinstance(value, int | float)


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "//", "%", "**", "^"])
def test_every_operation_has_a_value_or_none_at_once_whatever_it_is_given(sign: str) -> None:
    for left, right in itertools.product(OPERANDS, repeat=2):
        try:
            value = evaluate(f"({left}) {sign} ({right})")
        except ValueError:
            continue
        assert isinstance(value, int | float)
        assert len(str(value)) < 2_000


# -- marks ------------------------------------------------------------------------

RUNS = ["\u0301\u0323", "\u0f73", "\u0344", "\u0315\u0300\u05ae\u0301"]


@pytest.mark.parametrize("marks", RUNS)
def test_composing_a_run_of_marks_takes_no_longer_than_its_length(marks: str) -> None:
    def made(size: int) -> str:
        return ("a" + marks * size)[:size]

    assert grows_no_faster(lambda text: validate_message(text, LONG), made, (LONG,))


@given(st.text(alphabet="aế각 \u0301\u0323\u0344\u0f73\u0f71\u034fᾂ─😀\u202e", max_size=120))
def test_a_message_holds_no_more_marks_in_a_row_than_a_stream_may(text: str) -> None:
    taken = validate_message(f"x{text}x", 1_000)
    assert validate_message(taken, 1_000) == taken == unicodedata.normalize("NFC", taken)
    marks = [bool(unicodedata.combining(c)) for c in unicodedata.normalize("NFD", taken)]
    runs = [len(list(run)) for is_mark, run in itertools.groupby(marks) if is_mark]
    assert max(runs, default=0) <= MAX_MARKS


# -- tool calls -------------------------------------------------------------------


class Piecemeal(BaseChatModel):
    """Another maker's model, which calls a tool with these pieces of arguments."""

    pieces: list[str]

    @property
    def _llm_type(self) -> str:
        return "piecemeal"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for place, piece in enumerate(self.pieces):
            name, call_id = ("calculate", "call_1") if not place else (None, None)
            call = tool_call_chunk(name=name, args=piece, id=call_id, index=0)
            message = AIMessageChunk(content="", tool_call_chunks=[call])
            yield ChatGenerationChunk(message=message)


def whole(size: int) -> list[str]:
    text = json.dumps({"expression": "1+" * (2 * size) + "1"})
    return [text[start : start + 4] for start in range(0, len(text), 4)]


def unfinished(size: int) -> list[str]:
    return ['{"expression": x', *["yyyy"] * size]


async def answer_of(pieces: list[str]) -> AIMessage:
    model = Piecemeal(pieces=pieces)
    return await complete(model, [HumanMessage("go")], (), RunEvents(lambda _: None))


async def streamed(pieces: list[str], folder: Path) -> AIMessage:
    """Return the message that an endpoint streams with a tool call of these arguments."""

    def script(request: Request) -> Sequence[Step]:
        return [ToolCalls([("calculate", "".join(pieces))])]

    async with OpenAIDouble(scripts={"caller": script}) as endpoint:
        settings = settings_for(folder, openai_base_url=endpoint.base_url, model="caller")
        async with open_model(settings, FlushInterval(0.001)) as model:
            return await complete(model, [HumanMessage("go")], (), RunEvents(lambda _: None))


def test_the_arguments_of_a_call_are_put_together_in_linear_time() -> None:
    # what is no JSON is not tried: LangChain itself puts such a model's answer together once
    assert grows_no_faster(lambda made: asyncio.run(answer_of(made)), whole, (4_000,))


@pytest.mark.parametrize("pieces", [whole, unfinished])
def test_the_arguments_that_an_endpoint_streams_are_put_together_in_linear_time(
    pieces: Callable[[int], list[str]], tmp_path: Path
) -> None:
    def work(made: list[str]) -> object:
        return asyncio.run(streamed(made, tmp_path))

    assert grows_no_faster(work, pieces, (8_000,))


async def test_a_call_that_came_in_pieces_is_the_call_that_was_made(tmp_path: Path) -> None:
    for message in (await answer_of(whole(10)), await streamed(whole(10), tmp_path)):
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("calculate", {"expression": "1+" * 20 + "1"})
        assert call["id"]
        assert not message.invalid_tool_calls


@pytest.mark.parametrize(
    "arguments",
    ['{"to": "all", "text": "do not', '{"a": 1', "[1]", "[" * 100_000, "7" * 5_000, "nothing"],
)
async def test_a_call_that_was_cut_is_not_made_with_the_part_that_came(
    arguments: str, tmp_path: Path
) -> None:
    for message in (await answer_of([arguments]), await streamed([arguments], tmp_path)):
        assert not message.tool_calls
        (call,) = message.invalid_tool_calls
        assert (call["name"], call["args"]) == ("calculate", arguments)


NO_OBJECT = 'abc1"[\\ü'  # characters of which no JSON object can be made
PIECES = st.text(NO_OBJECT, min_size=1, max_size=3)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, None]), PIECES)))
def test_the_pieces_of_calls_that_come_at_once_do_not_mix(parts: list[tuple[Any, str]]) -> None:
    calls = CallsInPieces()
    wanted: dict[Any, str] = {}
    latest: Any = "first"
    for index, text in parts:
        # A call's first piece has its name; one that is unnamed may be the tail of the latest call.
        name = {} if index is None or index in wanted else {"name": "calculate"}
        calls.add([{"index": index, "function": {"arguments": text, **name}}])
        if index is None:
            key = latest  # a piece without an index belongs to the call that was opened last
        else:
            key = index
            latest = latest if index in wanted else index
        wanted[key] = wanted.get(key, "") + text
    made, invalid = calls.parse()
    assert not made
    assert [call["args"] for call in invalid] == list(wanted.values())


def test_an_event_that_trickles_is_not_copied_for_each_piece() -> None:
    def fed(pieces: list[bytes]) -> None:
        parser = SSEParser()
        for piece in pieces:
            assert not parser.feed(piece)
        (chunk,) = parser.feed(b'"}}]}\n')
        assert len(chunk["choices"][0]["delta"]["content"]) == len(pieces[1:]) * 64

    def made(size: int) -> list[bytes]:
        return [b'data: {"choices":[{"delta":{"content":"', *[b"x" * 64] * size]

    assert grows_no_faster(fed, made, (64_000,))


# -- the demo ---------------------------------------------------------------------

QUESTIONS = {
    "digits": ("", "1", ""),
    "digits and a letter": ("", "1 ", "x"),
    "digits, then an operation": ("", "1 ", "+x"),
    "brackets": ("", "(", ""),
    "signs": ("1", " +", ""),
    "spaces in a sum": ("1", " ", "x"),
    "sums without an end": ("", "1 x", ""),
    "times": ("", "time ", ""),
    "times in places": ("", "day in a ", "1"),
    "places": ("what time is it in ", "a", "1"),
    "places of spaces": ("what time is it in", " ", "1"),
    "names": ("", "my name is ", ""),
    "names of spaces": ("my name is", " ", ""),
    "questions": ("", "what is the ", ""),
    "a greeting of spaces": ("", " ", "hi"),
    "a number": ("count to ", "1", ""),
    "names in Russian": ("", "меня зовут ", ""),
    "places in Russian": ("который час", " в ", "1"),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_the_demo_reads_a_message_once(case: str) -> None:
    first, often, last = QUESTIONS[case]

    def made(size: int) -> list[BaseMessage]:
        return [HumanMessage(first + often * (size // len(often)) + last)]

    tools = ("current_time", "calculate")

    def read(messages: list[BaseMessage]) -> None:
        for language in languages().all:
            respond(messages, tools, language)

    assert grows_no_faster(read, made, (4_000, LONG))


# -- fences -----------------------------------------------------------------------


def test_a_step_is_drawn_in_the_time_that_its_text_explains() -> None:
    def drawn(text: str) -> None:
        tool_step("calculate", {"expression": text}, languages().english, text)

    assert grows_no_faster(drawn, lambda size: "`" * size, (160_000,))


def test_an_export_is_written_in_the_time_that_its_text_explains() -> None:
    def made(size: int) -> StoredMessage:
        call = ToolRecord("t", "calculate", {}, "`" * size, ok=True, duration_ms=1)
        return stored("assistant", "done", tool_calls=(call,))

    def exported(message: StoredMessage) -> None:
        formats(languages().english)["md"].page([message], is_first=True)

    assert grows_no_faster(exported, made, (160_000,))

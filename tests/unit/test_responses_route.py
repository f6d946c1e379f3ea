"""`/v1/responses` with OpenAI's own client."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.doubles.openai_responses import PNG
from tests.harness import canary
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, SHOP, client

shared = pytest.mark.asyncio(loop_scope="module")

LOOK_UP: dict[str, Any] = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up a word.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
}
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
CALL_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder, models = (
        tmp_path_factory.mktemp("responses"),
        "echo,fail-401,thoughts-4,error-in-stream",
    )
    async with app_with_model(folder, "memory", api_keys=KEYS, models=models) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ai(here: AppWithModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connected(here) as made:
        yield made


def connected(here: AppWithModel) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=SHOP, max_retries=0, timeout=20)


async def ask(ai: openai.AsyncOpenAI, asked: Any, **more: Any) -> Any:
    return await ai.responses.create(input=asked, **({"model": "assistant"} | more))


async def events_of(ai: openai.AsyncOpenAI, asked: Any, **more: Any) -> list[Any]:
    stream = await ask(ai, asked, stream=True, **more)
    return [event async for event in stream]


def without_repeats(names: list[str]) -> list[str]:
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


@shared
async def test_an_input_is_the_conversation_and_nothing_is_kept(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    before = here.rows()
    made = await ask(ai, "My name is Alice", metadata={"a": "b"})
    assert made.output_text == "Hello, Alice!"
    assert (made.object, made.status, made.store) == ("response", "completed", False)
    assert (made.model, made.metadata) == ("assistant", {"a": "b"})
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0
    earlier = [{"role": "user", "content": "My name is Alice"}, *made.output]
    made = await ask(ai, [*earlier, {"role": "user", "content": "What is my name?"}])
    assert made.output_text == "Your name is Alice."
    assert here.rows() == before


@shared
async def test_the_events_of_a_text_come_in_order(ai: openai.AsyncOpenAI) -> None:
    events = await events_of(ai, "My name is Alice")
    assert without_repeats([event.type for event in events]) == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text == "Hello, Alice!"
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


@shared
async def test_the_client_s_own_reader_takes_the_stream(ai: openai.AsyncOpenAI) -> None:
    async with ai.responses.stream(model="thoughts-4", input="canary-x") as stream:
        made = await stream.get_final_response()
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert made.output_text == "canary-x "


@shared
async def test_what_a_request_says_reaches_the_model(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word, picture = canary(), f"data:image/png;base64,{PNG}"
    shape = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    parts = [
        {"type": "input_text", "text": word},
        {"type": "input_image", "image_url": picture, "detail": "low"},
    ]
    await ask(
        ai,
        [{"role": "user", "content": parts}],
        instructions="Be brief.",
        temperature=0.5,
        max_output_tokens=40,
        text={"format": shape},
        tools=[LOOK_UP],
        tool_choice={"type": "function", "name": "look_up"},
    )
    (request,) = here.endpoint.matching(word)
    function = {name: value for name, value in LOOK_UP.items() if name != "type"}
    assert request.body["tools"] == [{"type": "function", "function": function}]
    assert request.body["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
    schema = {name: value for name, value in shape.items() if name != "type"}
    assert request.body["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.5, 40)
    assert request.messages[0]["content"].endswith("Be brief.")
    assert request.messages[1]["content"] == [
        {"type": "text", "text": word},
        {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_of_the_caller_s_tools_are_returned_and_their_results_answered(
    stream: bool, tmp_path: Path
) -> None:
    model = 'tool:look_up:{"word": "$message"}'
    async with app_with_model(tmp_path, model, api_keys=KEYS) as here, connected(here) as ai:
        asked = {"role": "user", "content": "fox"}
        if stream:
            events = await events_of(ai, [asked], tools=[LOOK_UP])
            assert [event.type for event in events] == CALL_EVENTS
            made = events[-1].response
        else:
            made = await ask(ai, [asked], tools=[LOOK_UP])
        (call,) = made.output
        assert (call.type, call.name, made.status) == ("function_call", "look_up", "completed")
        assert json.loads(call.arguments) == {"word": "fox"}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "an animal"}
        made = await ask(ai, [asked, *made.output, result], tools=[LOOK_UP])
        assert made.output_text == "The tools said: an animal"


@shared
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_model_is_an_error_of_the_server(
    stream: bool, ai: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await ask(ai, "Hello", model="fail-401", stream=stream)
    assert "(error " in caught.value.message


@shared
async def test_an_answer_that_breaks_off_ends_its_stream_as_failed(here: AppWithModel) -> None:
    body = {"model": "error-in-stream", "input": "Hello", "stream": True}
    async with client(here.url) as shop:
        reply = await shop.ask("POST", "/v1/responses", body)
    name, last = reply.events[-1]
    assert name == last["type"] == "response.failed"
    assert "(error " in last["response"]["error"]["message"]
    assert last["response"]["output"][0]["status"] == "incomplete"


REFUSED: tuple[dict[str, Any], ...] = (
    {"previous_response_id": "resp_1"},
    {"background": True},
    {"conversation": "conv_1"},
    {"input": []},
    {"input": ""},
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
    {"input": [{"type": "computer_call"}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    {"input": [{"role": 7, "content": "a"}]},
    {"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]},
    {"tools": [{"type": "web_search"}]},
    {"temperature": 3},
)


@shared
@pytest.mark.parametrize("more", REFUSED, ids=range(len(REFUSED)))
async def test_what_cannot_be_answered_is_a_bad_request(
    more: dict[str, Any], here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    before = here.endpoint.request_count
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.responses.create(**({"model": "assistant", "input": "Hello"} | more))
    assert caught.value.type == "invalid_request_error"
    assert here.endpoint.request_count == before

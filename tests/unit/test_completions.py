"""`/v1/chat/completions` with OpenAI's own client."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

from tests.harness import canary
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import BANK, KEYS, SHOP, client

shared = pytest.mark.asyncio(loop_scope="module")

PARTS: ChatCompletionMessageParam = {
    "role": "user",
    "content": [{"type": "text", "text": "My name "}, {"type": "text", "text": "is Alice"}],
}
ASKED: ChatCompletionMessageParam = {"role": "user", "content": "What is my name?"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("completions")
    async with app_with_model(folder, "memory", api_keys=KEYS, models="echo,fail-401") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ai(here: AppWithModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{here.url}/v1", api_key=SHOP, max_retries=0, timeout=20
    ) as made:
        yield made


async def ask(ai: openai.AsyncOpenAI, *messages: ChatCompletionMessageParam, **more: Any) -> str:
    made = await ai.chat.completions.create(messages=messages, **({"model": "assistant"} | more))
    return str(made.choices[0].message.content)


@shared
async def test_whatever_a_request_may_name_is_listed_as_a_model(ai: openai.AsyncOpenAI) -> None:
    found = [(model.id, model.owned_by) async for model in await ai.models.list()]
    names = ("assistant", "memory", "echo", "fail-401")
    assert found == [(name, "cmw-agent") for name in names]
    for name in names:
        assert (await ai.models.retrieve(name)).id == name
    for name in names[:-1]:
        assert await ask(ai, ASKED, model=name)


@shared
async def test_a_model_s_name_may_hold_slashes_and_one_that_is_not_there_is_not_found(
    tmp_path: Any, ai: openai.AsyncOpenAI
) -> None:
    async with (
        app_with_model(tmp_path, "openrouter/echo", api_keys=KEYS) as here,
        openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=SHOP) as other,
    ):
        assert (await other.models.retrieve("openrouter/echo")).id == "openrouter/echo"
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.models.retrieve("gpt-nobody")
    assert caught.value.code == "model_not_found"


@shared
async def test_a_repeated_request_of_a_session_gives_the_first_answer_again(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    asked, named = here.endpoint.request_count, {"X-Session-Id": "again", "Idempotency-Key": "k"}
    answers = [await ask(ai, ASKED, model="echo", extra_headers=named) for _ in range(2)]
    assert answers == ["You said: What is my name?"] * 2
    assert here.endpoint.request_count == asked + 1


@shared
async def test_the_messages_of_a_request_are_the_conversation_and_nothing_is_kept(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    before = here.rows()
    said: ChatCompletionMessageParam = {"role": "assistant", "content": "Hello, Alice!"}
    made = await ai.chat.completions.create(
        model="assistant", messages=[PARTS, said, ASKED], temperature=0.3, seed=1, user="u-1"
    )
    assert made.object == "chat.completion"
    assert made.model == "assistant"
    (choice,) = made.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Your name is Alice.")
    assert choice.finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0
    assert await ask(ai, ASKED) == "I don't know your name yet."
    assert here.rows() == before


@shared
async def test_what_the_caller_instructs_stands_behind_the_agent_s_own_prompt(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word, told = canary(), canary()
    instructed: ChatCompletionMessageParam = {"role": "system", "content": told}
    await ask(ai, instructed, {"role": "user", "content": word})
    (request,) = here.endpoint.matching(word)
    assert request.messages[0]["role"] == "system"
    assert request.messages[0]["content"].endswith(told)
    assert request.messages[0]["content"].startswith("You are a helpful assistant.")
    assert request.body["safety_identifier"]
    assert SHOP not in str(request.body)


@shared
async def test_a_stream_is_chunks_and_counts_when_asked(ai: openai.AsyncOpenAI) -> None:
    stream = await ai.chat.completions.create(
        model="assistant",
        messages=[PARTS],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello, Alice!"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0


@shared
async def test_a_stream_ends_with_its_sign_and_without_counts_unless_asked(
    here: AppWithModel,
) -> None:
    async with client(here.url) as shop:
        content = {"model": "assistant", "stream": True, "messages": [PARTS]}
        reply = await shop.ask("POST", "/v1/chat/completions", content)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in reply.body


@shared
async def test_a_model_s_name_is_the_assistant_with_that_model(ai: openai.AsyncOpenAI) -> None:
    assert await ask(ai, ASKED, model="echo") == "You said: What is my name?"
    with pytest.raises(openai.NotFoundError) as caught:
        await ask(ai, ASKED, model="gpt-nobody")
    assert caught.value.code == "model_not_found"


@shared
async def test_a_named_session_remembers_and_is_the_one_of_the_rest_interface(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    named = {"X-Session-Id": "with-openai"}
    assert await ask(ai, PARTS, extra_headers=named) == "Hello, Alice!"
    stream = await ai.chat.completions.create(
        model="assistant", messages=[ASKED], stream=True, extra_headers=named
    )
    parts = [c.choices[0].delta.content or "" async for c in stream if c.choices]
    assert "".join(parts) == "Your name is Alice."
    async with client(here.url) as shop:
        history = (await shop.at("with-openai")).json
        assert [item["content"] for item in history["messages"]] == [
            *("My name is Alice", "Hello, Alice!"),
            *("What is my name?", "Your name is Alice."),
        ]
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=BANK) as other:
        assert await ask(other, ASKED, extra_headers=named) == "I don't know your name yet."
    ended = await ask(ai, {"role": "user", "content": "/new"}, extra_headers=named)
    assert "has ended" in ended
    assert await ask(ai, ASKED, extra_headers=named) == "I don't know your name yet."


@shared
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_model_is_an_error_of_the_server(
    stream: bool, ai: openai.AsyncOpenAI
) -> None:
    for headers in ({}, {"X-Session-Id": f"failing-{stream}"}):
        with pytest.raises(openai.InternalServerError) as caught:
            await ai.chat.completions.create(
                model="fail-401", messages=[ASKED], stream=stream, extra_headers=headers
            )
        assert caught.value.status_code == 502
        assert "(error " in caught.value.message


REFUSED: tuple[dict[str, Any], ...] = (
    {"n": 2},
    {"messages": []},
    {"messages": [{"role": "system", "content": "Hello"}]},
    {"messages": [{"role": "critic", "content": "Hello"}, ASKED]},
    {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}, ASKED]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
    {"logprobs": True},
    {"temperature": 3},
    {"max_tokens": 0},
    {"response_format": {"type": "xml"}},
    {"functions": [{"name": "f", "parameters": {}}]},
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "function", "function": {"name": "a b"}}]},
    {"tools": [{"type": "function", "function": {"name": "f"}}] * 2},
    {"tool_choice": "required"},
    {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "g"}},
    },
    {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "extra_headers": {"X-Session-Id": "s"},
    },
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "tool", "content": "1", "tool_call_id": "a"}, ASKED]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    {"messages": [{"role": "user", "content": "x" * 40_000}]},
    {"messages": [{"role": "user", "content": "a\x01b"}]},
    {"extra_headers": {"X-Session-Id": "a b"}},
    {"extra_headers": {"Idempotency-Key": "k"}},
)


@shared
@pytest.mark.parametrize("more", REFUSED, ids=range(len(REFUSED)))
async def test_what_cannot_be_answered_is_a_bad_request(
    more: dict[str, Any], here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    before = len(here.endpoint.requests)
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.chat.completions.create(**({"model": "assistant", "messages": [ASKED]} | more))
    assert caught.value.type == "invalid_request_error"
    assert len(here.endpoint.requests) == before


@shared
async def test_a_wrong_key_is_an_authentication_error(here: AppWithModel) -> None:
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask(stranger, ASKED)
        assert caught.value.code == "invalid_api_key"


async def test_limits_hold_for_what_is_not_kept(tmp_path: Any) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS, turns_per_minute=1) as here,
        openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=SHOP, max_retries=0) as ai,
    ):
        assert await ask(ai, ASKED, user="one")
        assert await ask(ai, ASKED, user="two")
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(ai, ASKED, user="one")
        assert int(caught.value.response.headers["Retry-After"]) >= 1

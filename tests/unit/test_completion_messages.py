"""`/v1/chat/completions`: pictures, tools of the caller's and parameters, with OpenAI's own client."""

import gzip
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.doubles.openai_responses import PNG
from tests.doubles.openai_steps import Request
from tests.harness import canary
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, SHOP

shared = pytest.mark.asyncio(loop_scope="module")

PICTURE = f"data:image/png;base64,{PNG}"
LOOK_UP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
CALCULATE: dict[str, Any] = {"type": "function", "function": {"name": "calculate"}}
CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_7",
            "type": "function",
            "function": {"name": "look_up", "arguments": '{"word": "fox"}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_7", "content": "an animal"}
CALLS_LOOK_UP = 'tool:look_up:{"word": "$message"}'
CALLS_BOTH = json.dumps(
    [
        {"name": "calculate", "arguments": {"expression": "1+1"}},
        {"name": "look_up", "arguments": {"word": "fox"}},
    ]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    folder = tmp_path_factory.mktemp("messages")
    async with app_with_model(folder, "echo", api_keys=KEYS, turns_per_minute=0) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ai(here: AppWithModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connected(here) as made:
        yield made


def connected(here: AppWithModel) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=SHOP, max_retries=0, timeout=20)


async def ask(ai: openai.AsyncOpenAI, *messages: Any, **more: Any) -> Any:
    return await ai.chat.completions.create(model="assistant", messages=messages, **more)


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def sent(here: AppWithModel, word: str) -> Request:
    """Return the one request to the model's server that holds a word."""
    (request,) = [r for r in here.endpoint.requests if word in json.dumps(r.body)]
    return request


@shared
async def test_the_model_sees_the_pictures_of_a_message(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    parts = [
        {"type": "text", "text": word},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    await ask(
        ai,
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "A dot."},
        said("Which?"),
    )
    (_, question, *_) = sent(here, word).messages
    assert question == {"role": "user", "content": parts}


@shared
@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/a.png", "file:///etc/passwd", "data:text/html;base64,PGI+", "", None],
)
async def test_what_is_no_picture_is_refused(url: str | None, ai: openai.AsyncOpenAI) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(openai.BadRequestError, match="A picture must be"):
        await ask(ai, {"role": "user", "content": [part]})


@shared
async def test_a_picture_larger_than_other_requests_is_taken(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word, url = canary(), f"{PICTURE}{'A' * 1_000_000}"
    parts = [{"type": "text", "text": word}, {"type": "image_url", "image_url": {"url": url}}]
    await ask(ai, {"role": "user", "content": parts})
    assert sent(here, word).messages[-1]["content"][1]["image_url"]["url"] == url


@shared
async def test_a_key_that_is_not_known_sends_nothing_large(here: AppWithModel) -> None:
    body = b'{"model": "assistant", "messages": "' + b"x" * 300_000 + b'"}'
    assert (await posted(here, body, {}, key="wrong"))[0] == 413


@shared
async def test_tool_messages_reach_the_model_as_they_are(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    await ask(ai, said(word), CALLED, RESULT, tools=[LOOK_UP])
    request = sent(here, word)
    assert request.messages[1:] == [said(word), CALLED, RESULT]
    assert LOOK_UP in request.body["tools"]


@shared
async def test_the_last_message_may_be_the_assistant_s(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    begun = {"role": "assistant", "content": "Once upon"}
    assert (await ask(ai, said(word), begun)).choices[0].message.content == f"You said: {word}"
    assert sent(here, word).messages[-1] == begun


@shared
async def test_parameters_reach_the_model_and_say_nothing_of_whose_request_it_is(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    given: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "response_format": shape,
    }
    further = {"safety_identifier": "x", "metadata": {"a": "b"}, "service_tier": "flex"}
    await ask(ai, said(word), **given, max_tokens=50, user="alice", **further)
    body = sent(here, word).body
    assert {name: body[name] for name in given} == given
    assert body["max_tokens"] == 50
    assert body["safety_identifier"] not in ("x", "alice")
    assert body.keys().isdisjoint({"metadata", "service_tier", "max_completion_tokens"})


@shared
async def test_parameters_hold_in_a_session_too(here: AppWithModel, ai: openai.AsyncOpenAI) -> None:
    word = canary()
    await ask(ai, said(word), seed=8, extra_headers={"X-Session-Id": "parameters"})
    assert sent(here, word).body["seed"] == 8


@shared
async def test_a_body_may_be_compressed(here: AppWithModel) -> None:
    word = canary()
    earlier = {"role": "assistant", "content": random.Random(7).randbytes(100_000).hex()}
    body = json.dumps({"model": "assistant", "messages": [earlier, said(word)]}).encode()
    status, answer = await posted(here, gzip.compress(body), {"Content-Encoding": "gzip"})
    assert (status, answer["choices"][0]["message"]["content"]) == (200, f"You said: {word}")


WRONG_BODIES = (
    (gzip.compress(b"{}")[:-4], "gzip", 400, "not compressed by gzip"),
    (b"{}", "gzip", 400, "not compressed by gzip"),
    (gzip.compress(b"{}") * 2, "gzip", 400, "not compressed by gzip"),
    (b"{}", "br", 415, "and by nothing else"),
    (gzip.compress(b"x" * 40_000_000), "gzip", 413, "too large"),
)


@shared
@pytest.mark.parametrize("wrong", WRONG_BODIES, ids=range(len(WRONG_BODIES)))
async def test_a_body_that_is_not_what_it_says_is_refused(
    wrong: tuple[bytes, str, int, str], here: AppWithModel
) -> None:
    body, encoding, status, sentence = wrong
    found, answer = await posted(here, body, {"Content-Encoding": encoding})
    assert found == status
    assert sentence in answer["error"]["message"]


async def posted(
    here: AppWithModel, body: bytes, headers: dict[str, str], key: str = SHOP
) -> tuple[int, Any]:
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{here.url}/v1/chat/completions", data=body, headers=sent) as answer,
    ):
        return answer.status, await answer.json()


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_of_the_caller_s_tools_are_returned_and_their_results_answered(
    stream: bool, tmp_path: Any
) -> None:
    async with (
        app_with_model(tmp_path, CALLS_LOOK_UP, api_keys=KEYS) as here,
        connected(here) as ai,
    ):
        before = here.rows()
        message, reason = await answered(ai, stream, said("fox"), tools=[LOOK_UP])
        (call,) = message["tool_calls"]
        assert reason == "tool_calls"
        assert call["function"]["name"] == "look_up"
        assert json.loads(call["function"]["arguments"]) == {"word": "fox"}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "an animal"}
        message, reason = await answered(ai, stream, said("fox"), message, result, tools=[LOOK_UP])
        assert (message["content"], reason) == ("The tools said: an animal", "stop")
        assert here.rows() == before


async def answered(
    ai: openai.AsyncOpenAI, stream: bool, *messages: Any, **more: Any
) -> tuple[dict[str, Any], str]:
    """Return an answer's message and its finish reason."""
    if not stream:
        (choice,) = (await ask(ai, *messages, **more)).choices
        return choice.message.to_dict(), choice.finish_reason
    async with ai.chat.completions.stream(
        model="assistant",
        messages=messages,
        **more,
    ) as events:
        (choice,) = (await events.get_final_completion()).choices
    return choice.message.to_dict(), choice.finish_reason


async def test_the_agent_runs_its_own_tools_beside_the_caller_s(tmp_path: Any) -> None:
    sums = 'tool:calculate:{"expression": "6*7"}'
    async with app_with_model(tmp_path, sums, api_keys=KEYS) as here, connected(here) as ai:
        (choice,) = (
            await ask(ai, said("What is 6*7?"), CALLED, RESULT, said("And?"), tools=[LOOK_UP])
        ).choices
        assert (choice.message.content, choice.finish_reason) == ("The tools said: 42", "stop")
        first, second = here.endpoint.requests
        assert first.messages[2:4] == second.messages[2:4] == [CALLED, RESULT]
        (choice,) = (await ask(ai, said("What is 6*7?"), tools=[CALCULATE])).choices
        assert choice.finish_reason == "tool_calls"  # the caller's tool of that name counts
        assert here.endpoint.requests[-1].body["tools"].count(CALCULATE) == 1


async def test_an_answer_that_calls_a_tool_of_the_caller_s_runs_none_here(tmp_path: Any) -> None:
    async with (
        app_with_model(tmp_path, f"tools:{CALLS_BOTH}", api_keys=KEYS) as here,
        connected(here) as ai,
    ):
        (choice,) = (await ask(ai, said("both"), tools=[LOOK_UP])).choices
        assert [call.function.name for call in choice.message.tool_calls] == ["look_up"]
        assert here.endpoint.request_count == 1


@shared
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "look_up"}}]
)
async def test_a_forced_choice_is_among_the_caller_s_tools_alone(
    choice: Any, here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    more = {"tool_choice": choice, "parallel_tool_calls": False}
    await ask(ai, said(word), tools=[LOOK_UP], **more)
    body = sent(here, word).body
    assert {name: body[name] for name in ("tools", *more)} == {"tools": [LOOK_UP], **more}


@shared
async def test_a_choice_of_no_tool_leaves_the_agent_its_own(
    here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word = canary()
    await ask(ai, said(word), tools=[LOOK_UP], tool_choice="none")
    body = sent(here, word).body
    assert "tool_choice" not in body
    assert {tool["function"]["name"] for tool in body["tools"]} >= {"calculate"}
    assert LOOK_UP not in body["tools"]

"""What an endpoint refuses is left out of the request, and of the model's next ones."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from cmw_agent.llm.adaptation import Adaptation, apply, named
from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import ErrorDetails, RequestRefusedError, StreamRefusedError
from cmw_agent.llm.http_client import MAX_MODELS, Upstream
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Plain, Request, Script, Step, Text
from tests.doubles.openai_wire import encode
from tests.logbook import logbook

Refuses = Sequence[tuple[str, Any]]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def payload(**changes: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "first"},
            {"role": "user", "content": "second"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [TOOL],
        **changes,
    }


def details(status: int, body: object) -> ErrorDetails:
    return ErrorReader(()).of_body(status, orjson.dumps(body), b"")


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


PICTURED = [{"role": "user", "content": [{"type": "text", "text": "see"}, PICTURE]}]
REFUSED: Sequence[tuple[int, object, dict[str, Any], Adaptation]] = [
    (400, {"error": "registry.ollama.ai/library/gemma:2b does not support tools"}, {}, Adaptation.TOOLS),
    (404, error("No endpoints found that support tool use."), {}, Adaptation.TOOLS),
    (400, {"object": "error", "message": '"auto" tool choice requires --enable-auto-tool-choice and '
           "--tool-call-parser to be set"}, {}, Adaptation.TOOLS),
    (500, error("tools param requires --jinja flag"), {}, Adaptation.TOOLS),
    (422, {"detail": [{"loc": ["body", "tools"], "msg": "Extra inputs are not permitted",
                       "type": "extra_forbidden"}]}, {}, Adaptation.TOOLS),
    (400, error("`tool calling` is not supported with this model"), {}, Adaptation.TOOLS),
    (400, error("Unrecognized request argument supplied: stream_options"), {},
     Adaptation.STREAM_OPTIONS),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
                       "msg": "Extra inputs are not permitted"}]}, {}, Adaptation.STREAM_OPTIONS),
    (400, error("System role not supported"), {}, Adaptation.SYSTEM),
    (400, [error("Developer instruction is not enabled for models/gemma-3-27b-it",
                 status="INVALID_ARGUMENT")], {}, Adaptation.SYSTEM),
    (400, error("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                param="messages[0].role", code="unsupported_value"), {}, Adaptation.SYSTEM),
    (500, error("Jinja Exception: System role not supported"), {}, Adaptation.SYSTEM),
    (422, {"detail": [{"loc": ["body", "messages", 0, "role"],
                       "msg": "Input should be 'user' or 'assistant'"}]}, {}, Adaptation.SYSTEM),
    (400, error("Conversation roles must alternate user/assistant/user/assistant/..."), {},
     Adaptation.ALTERNATION),
    (400, error("After the (optional) system message(s), user and assistant roles should be "
                "alternating."), {}, Adaptation.ALTERNATION),
    (400, error('roles must alternate between "user" and "assistant", but found multiple "user" '
                "roles in a row"), {}, Adaptation.ALTERNATION),
    (400, error("Unsupported value: 'temperature' does not support 0.7 with this model. Only the "
                "default (1) value is supported.", param="temperature", code="unsupported_value"),
     {"temperature": 0.7}, Adaptation.TEMPERATURE),
    (400, error("invalid temperature: only 1 is allowed for this model"), {"temperature": 0.7},
     Adaptation.TEMPERATURE),
    (400, error("Unsupported parameter: 'top_p' is not supported with this model."), {"top_p": 0.5},
     Adaptation.TOP_P),
    (400, error("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.", param="max_tokens"), {"max_tokens": 5},
     Adaptation.MAX_TOKENS),
    (422, {"detail": [{"loc": ["body", "max_completion_tokens"],
                       "msg": "Extra inputs are not permitted"}]},
     {"max_completion_tokens": 5}, Adaptation.MAX_COMPLETION_TOKENS),
    (400, error("parallel_tool_calls is not supported"), {"parallel_tool_calls": False},
     Adaptation.PARALLEL_TOOL_CALLS),
    (400, error("user: Extra inputs are not permitted"), {"user": "u"}, Adaptation.USER),
    (400, error('Invalid JSON payload received. Unknown name "user": Cannot find field.'),
     {"user": "u"}, Adaptation.USER),
    (400, error("Unknown parameter: 'safety_identifier'."), {"safety_identifier": "u"},
     Adaptation.SAFETY_IDENTIFIER),
    (400, error("Unrecognized request argument supplied: reasoning_effort"),
     {"reasoning_effort": "low"}, Adaptation.REASONING_EFFORT),
    (400, error("Provider returned error", metadata={
        "raw": '{"error":{"message":"Unsupported parameter: seed"}}'}), {"seed": 1},
     Adaptation.SEED),
    (400, error("Invalid content type. image_url is only supported by certain models."),
     {"messages": PICTURED}, Adaptation.IMAGES),
    (422, error("messages[0]: unknown variant `image_url`, expected `text`"),
     {"messages": PICTURED}, Adaptation.IMAGES),
    (500, error("image input is not supported - hint: you may need to provide the mmproj"),
     {"messages": PICTURED}, Adaptation.IMAGES),
    (422, {"detail": [{"loc": ["body", "messages", 0, "content"],
                       "msg": "Input should be a valid string"}]},
     {"messages": PICTURED}, Adaptation.IMAGES),
    (400, error("Your organization must be verified to stream this model.", param="stream",
                code="unsupported_value"), {}, Adaptation.STREAM),
    (400, error("Streaming is not supported for this model"), {}, Adaptation.STREAM),
    (501, error("This server does not support streaming"), {}, Adaptation.STREAM),
]  # fmt: skip
KEPT: Sequence[tuple[int, object, dict[str, Any]]] = [
    (400, error("Invalid schema for function 'add': 'x' is not valid"), {}),
    (400, error("Invalid 'tools': array too long. Expected an array with maximum length 128"), {}),
    (400, error("An assistant message with 'tool_calls' must be followed by tool messages responding"
                " to each 'tool_call_id'."), {}),
    (400, error("Function call is missing a thought_signature in functionCall parts. This is required"
                " for tools to work correctly"), {}),
    (400, error("You uploaded an unsupported image. Please make sure your image is valid."),
     {"messages": PICTURED}),
    (400, error("Invalid 'temperature': decimal above maximum value.", param="temperature"),
     {"temperature": 3}),
    (400, error("This model's maximum context length is 4096 tokens", code="context_length_exceeded"),
     {}),
    (500, error("Internal error: unexpected token in tool parser"), {}),
    (502, error("upstream stream error: not found"), {}),
    (500, error("stream ended: could not read from the model"), {}),
    (401, error("tools are not supported"), {}),
    (429, error("Streaming is not supported"), {}),
    (400, error("top_p is not supported"), {}),
    (400, error("the user is not known here"), {"user": "u"}),
    (400, error(""), {}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "changes", "part"), REFUSED)
def test_a_refusal_names_the_part_and_the_adapted_request_lacks_it(
    status: int, body: object, changes: dict[str, Any], part: Adaptation
) -> None:
    request = payload(**changes)
    found = named(details(status, body), request)
    assert found is part
    adapted = apply(request, [found])
    assert named(details(status, body), adapted) is not part
    assert adapted != request


@pytest.mark.parametrize(("status", "body", "changes"), KEPT)
def test_a_failure_that_refuses_no_part_leaves_the_request_whole(
    status: int, body: object, changes: dict[str, Any]
) -> None:
    assert named(details(status, body), payload(**changes)) is None


def test_applying_changes_no_request_and_keeps_encoded_messages_as_they_are() -> None:
    request = payload(temperature=0.5)
    before = copy.deepcopy(request)
    for part in Adaptation:
        apply(request, [part])
    assert request == before
    encoded = orjson.Fragment(b'{"role":"user","content":"hi"}')
    kept = apply({"messages": [encoded], "seed": 1}, [Adaptation.SEED])
    assert kept == {"messages": [encoded]}
    changed = apply({"messages": [encoded, encoded]}, [Adaptation.ALTERNATION])
    assert changed == {"messages": [{"role": "user", "content": "hi\n\nhi"}]}


@pytest.mark.parametrize(
    ("learned", "sent"),
    [
        ([Adaptation.MAX_TOKENS], {"max_completion_tokens": 7}),
        ([Adaptation.MAX_TOKENS, Adaptation.MAX_COMPLETION_TOKENS], {}),
        ([Adaptation.MAX_COMPLETION_TOKENS], {"max_tokens": 7}),
    ],
)
def test_the_limit_of_an_answer_changes_its_name_once(
    learned: list[Adaptation], sent: dict[str, Any]
) -> None:
    assert apply({"max_tokens": 7}, learned) == sent


MESSAGES: Sequence[tuple[Adaptation, list[dict[str, Any]], list[tuple[str, Any]]]] = [
    (
        Adaptation.SYSTEM,
        [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
        [("user", "a\n\nb")],
    ),
    (
        Adaptation.SYSTEM,
        [{"role": "system", "content": "a"}, *PICTURED],
        [("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "see"}, PICTURE])],
    ),
    (Adaptation.SYSTEM, [{"role": "developer", "content": "a"}], [("user", "a")]),
    (
        Adaptation.ALTERNATION,
        [
            {"role": "system", "content": "s"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "b"},
            *PICTURED,
            {"role": "assistant", "content": "c"},
        ],
        [
            ("system", "s"),
            ("user", "(The conversation began earlier.)"),
            ("assistant", "a"),
            ("user", [{"type": "text", "text": "b"}, {"type": "text", "text": "see"}, PICTURE]),
            ("assistant", "c"),
        ],
    ),
    (
        Adaptation.TOOLS,
        [
            {"role": "user", "content": "sum"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "tool", "tool_call_id": "c9", "content": "3"},
        ],
        [
            ("user", "sum"),
            ("assistant", 'I call add with {"a":1}'),
            ("user", "Result of add:\n2\n\nResult of a tool:\n3"),
        ],
    ),
    (
        Adaptation.IMAGES,
        PICTURED,
        [("user", "see\n\n(Something was attached here that this model cannot read.)")],
    ),
]


@pytest.mark.parametrize(("part", "messages", "sent"), MESSAGES)
def test_messages_are_rewritten_without_loss_of_text(
    part: Adaptation, messages: list[dict[str, Any]], sent: list[tuple[str, Any]]
) -> None:
    rewritten = apply({"messages": messages}, [part])["messages"]
    assert [(message["role"], message["content"]) for message in rewritten] == sent
    assert all(message.keys() == {"role", "content"} for message in rewritten)


# -- on the wire ------------------------------------------------------------------


def upstream_of(endpoint: OpenAIDouble) -> Upstream:
    return Upstream(endpoint.base_url, key=None, read_seconds=20.0, connections=4)


def refusing(*parts: str, status: int = 400) -> Script:
    """Return a server that refuses the first of these fields that a request has."""

    def script(request: Request) -> Sequence[Step]:
        for part in parts:
            if part in request.body:
                message = f"Unsupported parameter: '{part}' is not supported"
                return [Plain(status, encode(error(message)))]
        return [Text(["well"])]

    return script


async def ask(upstream: Upstream, **changes: Any) -> tuple[Adaptation, ...]:
    reply = await upstream.open(payload(**changes))
    while await reply.read():
        pass
    reply.release()
    return reply.adaptations


@pytest.mark.parametrize("status", [400, 404, 422, 500, 501])
async def test_several_refused_parts_are_left_out_at_once_from_then_on(status: int) -> None:
    script = refusing("tools", "stream_options", "seed", status=status)
    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        upstream = upstream_of(endpoint)
        with logbook() as book:
            found = await ask(upstream, seed=1)
        assert set(found) == {Adaptation.TOOLS, Adaptation.STREAM_OPTIONS, Adaptation.SEED}
        assert endpoint.request_count == 4
        assert set(await ask(upstream, seed=1)) == set(found)
        assert endpoint.request_count == 5
        await upstream.close()
    lines = [line for line in book.lines if "refuses" in line]
    assert len(lines) == 3
    assert any("the endpoint refuses tools for model m, which is not sent" in x for x in lines)
    assert "first" not in book.text


async def test_what_one_model_refuses_is_sent_to_another() -> None:
    scripts = {"m": refusing("seed"), "other": refusing("nothing")}
    async with OpenAIDouble(scripts=scripts) as endpoint:
        upstream = upstream_of(endpoint)
        await ask(upstream, seed=1)
        await ask(upstream, seed=1, model="other")
        assert "seed" in endpoint.requests[-1].body
        await upstream.close()


async def test_an_adaptation_that_does_not_help_is_forgotten_and_the_first_error_is_told() -> None:
    def script(request: Request) -> Sequence[Step]:
        if "tools" in request.body:
            return [Plain(400, encode(error("does not support tools", code="the first")))]
        return [Plain(400, encode(error("no reason", code="the second")))]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        upstream = upstream_of(endpoint)
        for asked in (2, 4):
            with pytest.raises(RequestRefusedError) as failed:
                await ask(upstream)
            assert failed.value.details is not None
            assert failed.value.details.code == "the first"
            assert endpoint.request_count == asked
        assert "tools" in endpoint.requests[-2].body
        await upstream.close()


async def test_an_adapted_request_that_gets_further_tells_its_own_failure() -> None:
    def script(request: Request) -> Sequence[Step]:
        if "tools" in request.body:
            return [Plain(400, encode(error("does not support tools")))]
        return [Plain(400, encode(error("prompt is too long")))]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        upstream = upstream_of(endpoint)
        with pytest.raises(RequestRefusedError) as failed:
            await ask(upstream)
        assert failed.value.kind == "too_long"
        await upstream.close()


async def test_a_server_that_refuses_everything_is_asked_seven_times() -> None:
    fields: Mapping[str, Any] = dict.fromkeys(
        ("seed", "top_p", "temperature", "store", "metadata", "service_tier", "verbosity"), 1
    )
    async with OpenAIDouble(scripts={"m": refusing(*fields, "user", "model")}) as endpoint:
        upstream = upstream_of(endpoint)
        with pytest.raises(RequestRefusedError):
            await ask(upstream, **fields, user="u")
        assert endpoint.request_count == 7
        await upstream.close()


async def test_no_word_of_a_user_decides_what_is_sent_for_others() -> None:
    words = "this model does not support tools"

    def script(request: Request) -> Sequence[Step]:
        if request.last_user == words and "tools" in request.body:
            return [Plain(400, encode(error(f"Cannot answer: {request.last_user}")))]
        return [Text(["well"])]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        upstream = upstream_of(endpoint)
        with pytest.raises(RequestRefusedError) as failed:
            await ask(upstream, messages=[{"role": "user", "content": words}])
        assert words not in repr(failed.value.details)
        assert await ask(upstream) == ()
        await upstream.close()


async def test_a_probe_is_not_adapted() -> None:
    async with OpenAIDouble(scripts={"m": refusing("user")}) as endpoint:
        upstream = upstream_of(endpoint)
        with pytest.raises(RequestRefusedError):
            await upstream.open(payload(user="u"), adapts=False)
        assert endpoint.request_count == 1
        await upstream.close()


async def test_a_refusal_in_a_stream_is_learned_when_the_adapted_answer_is_complete() -> None:
    async with OpenAIDouble(scripts={"m": refusing()}) as endpoint:
        upstream = upstream_of(endpoint)
        refused = StreamRefusedError(ErrorDetails(message="does not support tools"))
        reply = await upstream.open(payload(), refused=refused)
        assert reply.adaptations == (Adaptation.TOOLS,)
        assert await ask(upstream) == ()
        reply.release()
        assert await ask(upstream) == (Adaptation.TOOLS,)
        assert "tools" not in endpoint.requests[-1].body
        await upstream.close()


async def test_a_model_without_streaming_is_asked_for_a_whole_answer() -> None:
    def script(request: Request) -> Sequence[Step]:
        if request.body["stream"]:
            return [Plain(400, encode(error("Streaming is not supported for this model")))]
        return [Text(["whole"])]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        upstream = upstream_of(endpoint)
        reply = await upstream.open(payload())
        assert b"whole" in await reply.read()
        last = endpoint.requests[-1]
        assert last.body["stream"] is False
        assert "stream_options" not in last.body
        assert last.headers["accept"] == "application/json"
        await upstream.close()


async def test_the_models_that_are_remembered_are_bounded() -> None:
    scripts = {f"m{number}": refusing("seed") for number in range(MAX_MODELS + 3)}
    async with OpenAIDouble(scripts=scripts) as endpoint:
        upstream = upstream_of(endpoint)
        for name in scripts:
            (await upstream.open({"model": name, "seed": 1, "messages": []})).close()
        assert len(upstream._learned) == MAX_MODELS
        assert f"m{MAX_MODELS + 2}" in upstream._learned
        await upstream.close()

"""Several models: endpoints side by side, fallback, effort, prices; no key reaches another endpoint."""

import contextlib
import gc
import inspect
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from cmw_agent.config.model_loader import load_models
from cmw_agent.core.events import ModelSwitched, ThinkingDelta, ToolFinished, TurnEvent
from cmw_agent.llm.catalog import open_models
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.runtime.runtime import Runtime
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Plain, Raw, Request, Step, Stop, Text, ToolCalls
from tests.doubles.openai_wire import encode, error_body
from tests.harness import canary, settings_for
from tests.isolation.world import app_with_model
from tests.rest import KEYS, client
from tests.rows import rows
from tests.service import all_events, answer_text, running_app, session_of, turn_end

KEY_A, KEY_B = "sk-of-endpoint-a-0123", "sk-of-endpoint-b-0123"


@contextlib.asynccontextmanager
async def two_endpoints(
    folder: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    model: str = "echo",
    scripts: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[Runtime, OpenAIDouble, OpenAIDouble]]:
    """Run the app with an endpoint of its own settings and another one, ``$B`` in `text`."""
    monkeypatch.setenv("KEY_B", KEY_B)
    async with OpenAIDouble(scripts=scripts) as a, OpenAIDouble(scripts=scripts) as b:
        (folder / "agents.toml").write_text(text.replace("$B", b.base_url))
        settings = settings_for(
            folder, openai_base_url=a.base_url, openai_api_key=KEY_A, model=model, **changes
        )
        async with running_app(settings) as runtime:
            yield runtime, a, b


async def say(
    runtime: Runtime, text: str, *, name: str = "alice", **choice: Any
) -> list[TurnEvent]:
    session = await session_of(runtime, name)
    return await all_events(runtime.chat.turn(session, text, key=canary(), **choice))


def answers(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of stored answers, oldest first."""
    found = rows(
        folder, "SELECT * FROM agent_messages WHERE role = 'assistant' ORDER BY created_at"
    )
    return [dict(row) for row in found]


SIDE_BY_SIDE = """
[[models]]
id = "other"
name = "memory"
endpoint = "$B"
key = "KEY_B"
extra_headers = {X-Team = "chat"}
extra_body = {top_k = 5, user = "nobody"}
[[models]]
id = "keyless"
name = "echo"
endpoint = "$B"
"""


async def test_each_endpoint_sees_its_own_key_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_endpoints(tmp_path, SIDE_BY_SIDE, monkeypatch) as (runtime, a, b):
        for model in (None, "other", "keyless"):
            events = await say(runtime, "hello", model=model)
            assert turn_end(events).outcome == "complete"
        (to_a,), (other, keyless) = a.requests, b.requests
    assert [r.authorization for r in (to_a, other, keyless)] == [
        f"Bearer {KEY_A}",
        f"Bearer {KEY_B}",
        None,
    ]
    assert KEY_B not in str(to_a)
    assert KEY_A not in f"{other} {keyless}"
    assert (other.model, other.headers.get("x-team"), other.body["top_k"]) == ("memory", "chat", 5)
    assert "x-team" not in {**to_a.headers, **keyless.headers}
    assert "top_k" not in {**to_a.body, **keyless.body}


async def test_an_endpoint_is_told_names_of_users_that_no_other_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_endpoints(tmp_path, SIDE_BY_SIDE, monkeypatch, user_field="user") as (
        runtime,
        a,
        b,
    ):
        for name in ("alice", "bob"):
            for model in (None, "other"):
                await say(runtime, "hello", name=name, model=model)
        named = [r.body["user"] for r in (*a.requests, *b.requests)]
    # The profile's own `user` replaces nobody's.
    assert len(set(named)) == 4
    assert "nobody" not in named


FALLBACK = """
[[models]]
id = "first"
name = "$FIRST"
fallback = ["second", "third"]
[[models]]
id = "second"
name = "fail-503"
fallback = ["third"]
[[models]]
id = "third"
name = "memory"
endpoint = "$B"
key = "KEY_B"
price = {input = 1000000, output = 0}
"""


def error(status: int, code: str) -> Any:
    return lambda _: [Plain(status, error_body("no", kind="invalid_request_error", code=code))]


def thoughts(_: Request) -> Sequence[Step]:
    delta = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}
    return [Raw(b"data: " + encode(delta) + b"\n\n"), Stop()]


SCRIPTS: dict[str, Any] = {
    "no-such": error(404, "model_not_found"),
    "blank": lambda _: [Text([])],
    "thoughts": thoughts,
    "too-long": error(400, "context_length_exceeded"),
    "policy": error(400, "content_policy_violation"),
    "half": lambda _: [Text(["Half of "]), Stop(done=False)],
}


@pytest.mark.parametrize(
    "model",
    [
        "fail-401",
        "fail-429",
        "fail-500",
        "no-such",
        "cut-0",
        "error-in-stream-0",
        "blank",
        "thoughts",
    ],
)
async def test_where_a_model_fails_before_its_answer_the_next_one_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    scripts = {**SCRIPTS, "error-in-stream-0": lambda _: [Plain(200, encode({"error": "down"}))]}
    text = FALLBACK.replace("$FIRST", model)
    async with two_endpoints(tmp_path, text, monkeypatch, scripts=scripts) as (runtime, a, b):
        events = await say(runtime, "My name is Alice", model="first")
        # What answers for another is a model like others.
        assert turn_end(await say(runtime, "again", model="third")).outcome == "complete"
        assert {r.authorization for r in a.requests} == {f"Bearer {KEY_A}"}
        assert {r.authorization for r in b.requests} == {f"Bearer {KEY_B}"}
    switched = [event for event in events if isinstance(event, ModelSwitched)]
    assert switched == [ModelSwitched("first", "second"), ModelSwitched("second", "third")]
    assert turn_end(events).outcome == "complete"
    assert "Alice" in answer_text(events)
    first, *_ = answers(tmp_path)
    assert (first["model_used"], first["status"]) == ("third", "complete")
    assert first["cost_micros"] == 1_000_000 * first["input_tokens"]


@pytest.mark.parametrize(
    ("model", "outcome"),
    [("policy", "failed"), ("too-long", "failed"), ("half", "interrupted"), ("fail-400", "failed")],
)
async def test_what_the_next_model_would_refuse_too_or_has_begun_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, outcome: str
) -> None:
    text = FALLBACK.replace("$FIRST", model)
    async with two_endpoints(tmp_path, text, monkeypatch, scripts=SCRIPTS) as (runtime, _, b):
        events = await say(runtime, "hello", model="first")
        assert turn_end(events).outcome == outcome
        assert not b.requests
    assert not any(isinstance(event, ModelSwitched) for event in events)
    assert [row["model_used"] for row in answers(tmp_path)] == ["first"]


LARGER = """
[[models]]
id = "small"
name = "too-long"
context_tokens = 1000
fallback = ["equal", "large"]
[[models]]
id = "equal"
name = "too-long"
context_tokens = 1000
endpoint = "$B"
[[models]]
id = "large"
name = "echo"
context_tokens = 100000
"""


async def test_what_is_too_long_for_one_model_goes_to_one_that_reads_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_endpoints(tmp_path, LARGER, monkeypatch, scripts=SCRIPTS) as (runtime, _, b):
        events = await say(runtime, "hello", model="small")
        assert not b.requests  # that model reads no more than the first
    assert [event for event in events if isinstance(event, ModelSwitched)] == [
        ModelSwitched("small", "large")
    ]
    assert answer_text(events) == "You said: hello"


async def test_an_endpoint_that_is_down_at_the_start_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused_url() as nowhere:
        text = f"[[models]]\nid = 'down'\nendpoint = '{nowhere}'\nfallback = ['echo']\n"
        async with two_endpoints(tmp_path, text, monkeypatch) as (runtime, a, _):
            events = await say(runtime, "hello", model="down")
            assert {r.authorization for r in a.requests} == {f"Bearer {KEY_A}"}
    assert answer_text(events) == "You said: hello"


IN_THE_LOOP = """
[[models]]
id = "first"
name = "signed"
fallback = ["second"]
[[models]]
id = "second"
name = "plain"
endpoint = "$B"
key = "KEY_B"
"""


async def test_the_tool_loop_goes_on_with_the_model_that_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signed(request: Request) -> Sequence[Step]:
        """Call a tool, with a signature; then fail."""
        if request.tool_results:
            return [Plain(503, error_body("down", kind="server_error", code=None))]
        call = {
            "index": 0,
            "id": "call_a",
            "type": "function",
            "function": {"name": "calculate", "arguments": '{"expression": "2+3"}'},
            "extra_content": {"google": {"thought_signature": "of-endpoint-a"}},
        }
        delta = {"reasoning_content": "Hm.", "tool_calls": [call]}
        end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
        chunks = [{"choices": [{"index": 0, "delta": delta}]}, {"choices": [end]}]
        return [*(Raw(b"data: " + encode(chunk) + b"\n\n") for chunk in chunks), Stop()]

    def plain(request: Request) -> Sequence[Step]:
        if len(request.tool_results) < 2:
            return [ToolCalls([("calculate", '{"expression": "6*7"}')])]
        return [Text([" and ".join(request.tool_results)])]

    scripts = {"signed": signed, "plain": plain}
    async with two_endpoints(tmp_path, IN_THE_LOOP, monkeypatch, scripts=scripts) as (
        runtime,
        a,
        b,
    ):
        events = await say(runtime, "count", model="first")
        asked = [len(a.requests), len(b.requests)]
        to_b = b.requests[0].body["messages"]
    assert answer_text(events) == "5 and 42"
    assert [event.result for event in events if isinstance(event, ToolFinished)] == ["5", "42"]
    assert any(isinstance(event, ThinkingDelta) for event in events)
    # The failed call is tried again at the first endpoint; after that it is asked no more.
    assert asked == [4, 2]
    call = next(message for message in to_b if message["role"] == "assistant")
    assert set(call) <= {"role", "content", "tool_calls"}
    assert "of-endpoint-a" not in str(to_b)
    assert call["tool_calls"][0]["id"] == "call_a"


async def test_a_model_without_tools_goes_on_after_a_call_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calling(request: Request) -> Sequence[Step]:
        if request.tool_results:
            return [Plain(503, error_body("down", kind="server_error", code=None))]
        return [ToolCalls([("calculate", '{"expression": "2+3"}')])]

    scripts = {"signed": calling, "plain": lambda _: [Text(["It is 5."])]}
    text = f"{IN_THE_LOOP}tools = false\n"
    async with two_endpoints(tmp_path, text, monkeypatch, scripts=scripts) as (runtime, _, b):
        events = await say(runtime, "count", model="first")
        (request,) = b.requests
    assert answer_text(events) == "It is 5."
    messages = request.body["messages"]
    assert "tools" not in request.body
    assert {message["role"] for message in messages} == {"system", "user", "assistant"}
    assert not any("tool_calls" in message for message in messages)
    assert messages[-1]["content"] == "Result of calculate:\n5"


TUNED = """
[[models]]
id = "thinker"
name = "echo"
temperature = 0.5
top_p = 0.9
seed = 7
effort = "low"
output_tokens = 300
extra_body = {temperature = 0.7, top_k = 5}
[[agents]]
id = "assistant"
model = "thinker"
output_tokens = 200
"""


async def test_the_values_of_a_profile_are_sent_and_an_effort_is_kept_with_its_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_endpoints(tmp_path, TUNED, monkeypatch) as (runtime, a, _):
        session = await session_of(runtime)
        choices = ((None, None), (None, "high"), (None, None), (None, "huge"), ("echo", None))
        for model, effort in choices:
            turn = runtime.chat.turn(session, "hello", key=canary(), model=model, effort=effort)
            assert turn_end(await all_events(turn)).outcome == "complete"
        bodies = [r.body for r in a.requests]
    efforts = [body.get("reasoning_effort") for body in bodies]
    assert efforts == ["low", "high", "high", "high", None]
    sent = {
        name: bodies[0][name] for name in ("temperature", "top_p", "seed", "top_k", "max_tokens")
    }
    assert sent == {"temperature": 0.7, "top_p": 0.9, "seed": 7, "top_k": 5, "max_tokens": 200}
    assert bodies[-1]["max_tokens"] == 200
    assert not {"temperature", "seed", "top_k"} & bodies[-1].keys()
    (row,) = rows(tmp_path, "SELECT context_data FROM agent_sessions")
    assert '"effort":"high"' in row["context_data"].replace(" ", "")


async def test_programs_choose_a_model_and_an_effort_too(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(TUNED)
    async with app_with_model(tmp_path, api_keys=KEYS) as here, client(here.url) as shop:
        path, session = "/api/chat/assistant/message", {"session_id": "s"}
        for choice in ({"effort": "high"}, {}, {"model": "echo"}, {"model": "not-there"}):
            said = await shop.ask("POST", path, {"message": "hello", **session, **choice})
            assert said.status == 200, said.body
        refused = await shop.ask("POST", path, {"message": "hello", "effort": "huge"})
        assert refused.status == 422
        asked = {"messages": [{"role": "user", "content": "hello"}]}
        for model, effort in (("assistant", "minimal"), ("thinker", "huge"), ("echo", "low")):
            content = {**asked, "model": model, "reasoning_effort": effort}
            answer = await shop.ask("POST", "/v1/chat/completions", content)
            assert answer.status == 200, answer.body
        efforts = [request.body.get("reasoning_effort") for request in here.endpoint.requests]
        listed = (await shop.ask("GET", "/v1/models")).json["data"]
    assert efforts == ["high", "high", None, None, "minimal", "low", None]
    assert [model["id"] for model in listed] == ["assistant", "echo", "thinker"]


LIMITED = """
[[models]]
id = "bare"
name = "echo"
tools = false
vision = false
system = false
context_tokens = 500
output_tokens = 100
"""


async def test_a_model_gets_what_it_knows_and_as_much_as_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_endpoints(
        tmp_path, LIMITED, monkeypatch, model="bare", system_prompt="Be kind."
    ) as (runtime, a, _):
        session = await session_of(runtime)
        for number in range(4):
            text = f"{number} " + "word " * 60
            await all_events(runtime.chat.turn(session, text, key=canary()))
        messages = a.requests[-1].body["messages"]
    assert all("tools" not in request.body for request in a.requests)
    assert {message["role"] for message in messages} <= {"user", "assistant"}
    assert messages[0]["content"].startswith("Be kind.")
    # 400 tokens are left for what was said: fewer than four messages and their answers.
    assert messages[-1]["content"].startswith("3 ")
    assert len(messages) in (3, 5)
    assert not any(message["content"].startswith(("0 ", "Be kind.\n\n0 ")) for message in messages)


@pytest.mark.parametrize(
    ("more", "limits"),
    [
        ("", {"max_tokens": 24}),
        ("extra_body = {max_completion_tokens = 9}", {"max_completion_tokens": 24}),
    ],
)
async def test_langchain_s_own_path_limits_an_answer_by_the_endpoint_s_name_for_it(
    tmp_path: Path, more: str, limits: dict[str, int]
) -> None:
    (tmp_path / "agents.toml").write_text(f'[[models]]\nid = "echo"\n{more}\n')
    async with OpenAIDouble() as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="echo")
        async with open_models(settings, load_models(settings), FlushInterval()) as catalog:
            chunks = [chunk async for chunk in catalog.default.astream("hello", max_tokens=24)]
    assert "".join(str(chunk.content) for chunk in chunks) == "You said: hello"
    (request,) = endpoint.requests
    assert {k: v for k, v in request.body.items() if k.startswith("max_")} == limits


# Objects of these modules lead to everything that the process holds.
PROCESS = ("_asyncio", "_contextvars", "asyncio", "aiohttp", "logging", "uvloop")


async def test_the_models_of_a_process_hold_nothing_of_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = canary()
    async with two_endpoints(tmp_path, SIDE_BY_SIDE, monkeypatch) as (runtime, *_):
        catalog = runtime.services.dependencies.catalog
        session = await session_of(runtime)
        for model in ("echo", "other"):
            await all_events(runtime.chat.turn(session, secret, key=canary(), model=model))
        session_owner = session.owner
        seen: set[int] = set()
        waiting: list[Any] = [catalog.models, catalog._chat_models, catalog._fields]
        while waiting:
            item = waiting.pop()
            if id(item) in seen or isinstance(item, type | ModuleType) or inspect.isroutine(item):
                continue
            seen.add(id(item))
            if isinstance(item, orjson.Fragment):
                item = orjson.dumps(item)
            if isinstance(item, str | bytes):
                text = item if isinstance(item, str) else item.decode("latin-1")
                assert secret not in text
                assert session_owner not in text
                continue
            if type(item).__module__.startswith(PROCESS):
                continue
            waiting.extend(gc.get_referents(item))
    assert len(seen) > 20

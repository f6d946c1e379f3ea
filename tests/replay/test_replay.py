"""A recorded turn runs once more without a network, byte for byte; what differs is shown."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cmw_agent import Agent, Owner, tool
from cmw_agent.agent.own.runner import runner_of
from cmw_agent.core.errors import StartupError
from cmw_agent.proof.replay.cassette import Cassette, CassetteError, read_cassette
from cmw_agent.proof.replay.changes import Change, ask_anew
from cmw_agent.proof.replay.reports import changed_lines, same_lines, write_reports
from cmw_agent.recording.cassette_file import chained
from tests.agents import samples
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text, ToolCalls
from tests.harness import settings_for
from tests.isolation.toolhouse import obedient
from tests.replay.samples import NOWHERE, graph_of, model_at
from tests.replay.stage import again, recorded, recording, running, say
from tests.service import answer_text, session_of, turn_end
from tests.unit.test_adaptation import refusing
from tests.unit.test_commands import run as command

CALL = 'tool:calculate:{"expression": "6*7"}'
SUM = {"name": "calculate", "arguments": {"expression": "1+1"}}
MODELS = [
    *("echo", "tokens-200", CALL, "strict", "cut-3", "truncated", "error-in-stream", "empty"),
    *("fail-400", "fail-401", "not-sse", "bad-json"),
    "tools:" + json.dumps([SUM, {**SUM, "arguments": {"expression": "2+2"}}]),
    'tool:no_such_tool:{"x": 1}',
    'tool:calculate:{"wrong": 1}',
]


async def recorded_turn(folder: Path, model: str, *texts: str) -> list[Cassette]:
    """Record a conversation with a model of the double."""
    scripts = {"refusing": refusing("stream_options", "safety_identifier")}
    async with OpenAIDouble(scripts=scripts) as endpoint:
        settings = recording(folder, openai_base_url=endpoint.base_url, model=model)
        async with running(settings) as runtime:
            session = await session_of(runtime)
            for text in texts or ("Hello, Привет",):
                await say(runtime, text, conversation=session.conversation_id)
    return recorded(folder)


@pytest.mark.parametrize("model", MODELS)
async def test_a_turn_comes_again_byte_for_byte(model: str, tmp_path: Path) -> None:
    [cassette] = await recorded_turn(tmp_path, model)
    assert cassette.exchanges
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences
    assert replayed.text == cassette.answer["text"]


@pytest.mark.parametrize("model", ["echo", CALL, "cites", "incomplete", "failed", "whole", "json"])
async def test_a_turn_of_the_responses_api_comes_again(model: str, tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(
        f"[[models]]\nid = 'm'\nname = '''{model}'''\napi = 'responses'\neffort = 'low'\n"
    )
    [cassette] = await recorded_turn(tmp_path, "m")
    assert b'"input":' in cassette.exchanges[0].body
    (tmp_path / "agents.toml").unlink()
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences
    cassette.given = {
        **cassette.given,
        "messages": [{**cassette.given["messages"][0], "content": "Bye"}],
    }
    [replayed] = await again([cassette], tmp_path)
    assert replayed.differences[0].subject.startswith("request 1, message ")


async def test_a_model_that_replaces_another_comes_again(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(
        "[[models]]\nid = 'first'\nname = 'fail-401'\nfallback = ['second']\n"
        "[[models]]\nid = 'second'\nname = 'echo'\ntemperature = 0.5\n"
    )
    [cassette] = await recorded_turn(tmp_path, "first")
    assert [each.model for each in cassette.exchanges] == ["fail-401", "echo"]
    assert cassette.answer["text"] == "You said: Hello, Привет"
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences


async def test_tools_of_the_operator_are_not_run_and_give_what_they_gave(tmp_path: Path) -> None:
    ran: list[str] = []

    @tool(changes=False)
    async def orders(owner: Owner, since: str) -> str:
        """List the customer's orders."""
        ran.append(owner)
        return f"{since}: one order"

    agents = [Agent(id="desk", tools=[orders, samples.book])]
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model="obedient")
        async with running(settings, agents) as runtime:
            await say(runtime, 'do orders {"since": "Monday"}', agent="desk")
            await say(runtime, 'do book {"room": "7"}', agent="desk")
    first, second = recorded(tmp_path)
    assert "one order" in first.answer["text"]
    assert "denied" in second.answer["text"]
    assert len(ran) == 1
    for replayed in await again([first, second], tmp_path):
        assert replayed.is_same, replayed.differences
    assert len(ran) == 1


async def test_a_turn_with_the_tripwire_s_mark_comes_again(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(
            tmp_path, openai_base_url=endpoint.base_url, model="echo", tripwire=True
        )
        async with running(settings) as runtime:
            await say(runtime, "Hello")
    [cassette] = recorded(tmp_path)
    assert b"cmwx" in cassette.exchanges[0].body
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences


async def test_what_an_endpoint_was_known_to_refuse_is_not_sent_in_a_replay(tmp_path: Path) -> None:
    first, second = await recorded_turn(tmp_path, "refusing", "One", "Two")
    assert len(first.exchanges) > 1
    assert len(second.exchanges) == 1, "what was learned is not sent again"
    for cassette in (first, second):
        [replayed] = await again([cassette], tmp_path)
        assert replayed.is_same, replayed.differences


async def test_the_demo_s_turn_comes_again(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        events = await say(runtime, "What is 6 * 7?")
    [replayed] = await again(recorded(tmp_path), tmp_path)
    assert replayed.is_same, replayed.differences
    assert replayed.text == answer_text(events)


@pytest.mark.parametrize("rule", [None, r"4041\d\d"])
async def test_a_graph_s_model_is_answered_from_its_recording(
    rule: str | None, tmp_path: Path
) -> None:
    async with OpenAIDouble(rate=2_000) as endpoint:
        model = model_at(endpoint.base_url, 'tool:add:{"first": 404142, "second": 1}')
        agents = [Agent(id="desk", graph=graph_of(model))]
        async with running(
            recording(tmp_path, openai_api_key=None, record_redact=rule), agents
        ) as runtime:
            events = await say(runtime, "How much is it?", agent="desk")
        assert "404143" in answer_text(events)
        asked_live = endpoint.request_count
        [cassette] = recorded(tmp_path)
        assert len(cassette.asks) == asked_live == 2
        assert ("40414" in cassette.path.read_text()) == (rule is None)
        runners = {"desk": runner_of(graph_of(NOWHERE), "desk")}
        if rule is None:
            [replayed] = await again([cassette], tmp_path, runners)
            assert replayed.is_same, replayed.differences
            assert replayed.text == answer_text(events)
        assert endpoint.request_count == asked_live


async def test_an_answer_that_its_user_stopped_ends_where_it_ended(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model="gated-2")
        async with running(settings) as runtime:
            session = await session_of(runtime)
            conversation = session.conversation_id or ""
            talking = asyncio.create_task(
                say(runtime, "Please say many words", conversation=conversation)
            )
            await endpoint.wait_held()
            await runtime.chat.stop(session.owner, conversation)
            assert turn_end(await talking).outcome == "interrupted"
    [cassette] = recorded(tmp_path)
    assert cassette.was_stopped
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences


async def test_a_replay_at_the_recorded_speed_is_the_same(tmp_path: Path) -> None:
    [cassette] = await recorded_turn(tmp_path, "tokens-20")
    [replayed] = await again([cassette], tmp_path, is_timed=True)
    assert replayed.is_same, replayed.differences


async def test_the_first_difference_is_shown_message_by_message(tmp_path: Path) -> None:
    [cassette] = await recorded_turn(tmp_path, "echo")
    cassette.given = {**cassette.given, "instructions": "Be brief."}
    [replayed] = await again([cassette], tmp_path)
    [difference] = replayed.differences
    assert difference.subject == "request 1, message 1 (system)"
    assert '+  "content": "Be brief."' in difference.diff
    assert "request 1, message 1 (system)" in "\n".join(same_lines([replayed], 1))


async def test_an_answer_that_is_read_otherwise_is_a_difference(tmp_path: Path) -> None:
    [cassette] = await recorded_turn(tmp_path, "echo")
    cassette.answer = {**cassette.answer, "text": "You said: Bye"}
    [replayed] = await again([cassette], tmp_path)
    assert [each.subject for each in replayed.differences] == ["the answer"]


async def test_a_request_more_or_less_than_recorded_is_a_difference(tmp_path: Path) -> None:
    [cassette] = await recorded_turn(tmp_path, CALL)
    last = cassette.exchanges.pop()
    [replayed] = await again([cassette], tmp_path)
    assert replayed.differences[0].subject == "request 2 is not on the cassette"
    cassette.exchanges += [last, last]
    [replayed] = await again([cassette], tmp_path)
    assert replayed.differences[0].subject == "request 3 was not made"


async def broken(folder: Path, kind: str) -> Path:
    """Return a cassette that something was done to."""
    [cassette] = await recorded_turn(folder, "echo")
    lines = cassette.path.read_bytes().splitlines()
    if kind == "cut":
        lines = lines[:-2]
    elif kind == "cut in a line":
        lines[-1] = lines[-1][:20]
    elif kind == "changed":
        lines[1] = lines[1].replace(b"Hello", b"Jello")
    elif kind == "another version":
        lines[0] = lines[0].replace(b'"version":1', b'"version":2')
    elif kind == "hashed anew":
        lines[1], digest = b'{"kind":"given"}', ""
        for line in lines[:-1]:
            digest = chained(digest, line)
        lines[-1] = json.dumps({"kind": "end", "sha256": digest}).encode()
    elif kind == "of another kind":
        lines = [b'{"hello": 1}']
    cassette.path.write_bytes(b"\n".join(lines) + (b"" if "in a line" in kind else b"\n"))
    return cassette.path


WRONG = {
    "cut": "is cut: it lacks the last line",
    "cut in a line": "is cut: it lacks the last line",
    "changed": "was changed: its hash is ",
    "another version": "is a cassette of version 2; this app replays version 1",
    "hashed anew": "its given has no ",
    "of another kind": "is no cassette",
}


@pytest.mark.parametrize("kind", WRONG)
async def test_a_cassette_that_cannot_be_replayed_is_told_in_a_sentence(
    kind: str, tmp_path: Path
) -> None:
    path = await broken(tmp_path, kind)
    with pytest.raises(CassetteError) as caught:
        read_cassette(path)
    assert WRONG[kind] in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_the_command_keeps_what_came_beside_a_broken_cassette(tmp_path: Path) -> None:
    await recorded_turn(tmp_path, CALL, "One", "Two")
    done = await command(tmp_path, "replay", "cassettes", "--report", "r")
    assert done.code == 0, done.out + done.err
    assert done.out.count("same as recorded, 2 requests") == 2
    broken_one, whole = sorted((tmp_path / "cassettes").rglob("*.jsonl"))
    broken_one.write_bytes(broken_one.read_bytes()[:-30])
    done = await command(tmp_path, "replay", "cassettes", "--report", "r")
    assert done.code == 1
    assert "is cut" in done.out
    assert f"{whole.stem}: same as recorded" in done.out
    assert len((tmp_path / "r" / "replay.jsonl").read_text().splitlines()) == 1
    assert "is cut" in (tmp_path / "r" / "replay.html").read_text()
    whole.unlink()
    done = await command(tmp_path, "replay", "cassettes")
    assert (done.code, done.out) == (2, "")
    assert "is cut" in done.err
    assert (await command(tmp_path, "replay", "nothing")).err.startswith("nothing: there is no")


def pirate(request: Request) -> Sequence[Step]:
    """Answer by the instructions and by what tools gave."""
    system = str(request.messages[0]["content"]).split(".")[0]
    if "emulating a tool call" in request.last_user:
        return [Text(["A made-up result"])]
    return [Text([f"Arr ({system}): {' '.join(request.tool_results) or request.last_user}"])]


async def asked(cassettes: Sequence[Cassette], folder: Path, change: Change) -> list[str]:
    """Ask anew at an endpoint of two models; return the report's lines."""
    scripts = {"pirate": pirate}
    async with OpenAIDouble(scripts=scripts) as endpoint:
        settings = settings_for(
            folder, openai_base_url=endpoint.base_url, model=CALL, models=("pirate", "echo")
        )
        results = await ask_anew(cassettes, settings, change)
    page = write_reports(results, [], change.text, folder / "report")
    lines = changed_lines(results, change.text)
    assert all(each.error is None for each in results), lines
    assert results[0].text in page.read_text().replace("&#39;", "'")
    return lines


async def test_another_model_s_answer_stands_beside_the_recorded_one(tmp_path: Path) -> None:
    cassettes = await recorded_turn(tmp_path, CALL)
    text = "\n".join(await asked(cassettes, tmp_path, Change(model="pirate")))
    assert "changed: model pirate" in text
    assert "| Arr (" in text
    assert "Hello, Привет" in text
    assert text.count(" tokens") == 2


async def test_another_prompt_is_what_the_model_is_told(tmp_path: Path) -> None:
    cassettes = await recorded_turn(tmp_path, CALL)
    change = Change(model="pirate", prompt="Be brief. Please.")
    assert "| Arr (Be brief): Hello" in "\n".join(await asked(cassettes, tmp_path, change))


async def test_another_agent_answers(tmp_path: Path) -> None:
    cassettes = await recorded_turn(tmp_path, CALL)
    change = Change(agent="tests.scenario.samples:echo")
    assert "| You said: Hello" in "\n".join(await asked(cassettes, tmp_path, change))


@pytest.mark.parametrize(
    ("source", "result"),
    [("cassette", "42"), ("stub", "Ninety"), ("model", "A made-up result")],
)
async def test_tools_are_answered_without_being_run(
    source: str, result: str, tmp_path: Path
) -> None:
    cassettes = await recorded_turn(tmp_path, CALL)
    (tmp_path / "stubs.json").write_text('{"calculate": "Ninety"}')
    scripts = {"pirate": pirate}

    def calling(request: Request) -> Sequence[Step]:
        if request.tool_results or "emulating" in request.last_user:
            return pirate(request)
        return [ToolCalls([("calculate", '{"expression": "6*7"}')])]

    scripts["calling"] = calling
    async with OpenAIDouble(scripts=scripts) as endpoint:
        settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="calling")
        change = Change(model="calling", tools=source, stubs=tmp_path / "stubs.json")  # type: ignore[arg-type]
        [replayed] = await ask_anew(cassettes, settings, change)
    assert result in replayed.text, replayed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Change(model="none"), "--model must be one of"),
        (Change(agent="none"), "--agent must be MODULE:NAME or one of"),
        (Change(agent="no_such:thing"), "no_such cannot be imported"),
        (Change(model="echo", tools="stub", stubs=Path("none.json")), "none.json cannot be read"),
    ],
)
async def test_a_change_to_what_is_not_there_is_one_sentence(
    change: Change, sentence: str, tmp_path: Path
) -> None:
    cassettes = await recorded_turn(tmp_path, "echo")
    settings = settings_for(tmp_path, openai_base_url="http://127.0.0.1:9/v1", model="echo")
    with pytest.raises(StartupError, match=sentence):
        await ask_anew(cassettes, settings, change)

"""Scenarios in the shapes of other tools, against an address, beside an earlier report, and broken off."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario.baseline import read_baseline
from cmw_agent.proof.scenario.definition import Scenario, filled, values_of
from cmw_agent.proof.scenario.promptfoo import written
from cmw_agent.proof.scenario.reading import read_scenario
from tests.harness import WAIT
from tests.isolation.world import app_with_model
from tests.rest import KEYS, SHOP
from tests.scenario.test_scenario import ROOT, SAMPLES, ran, runs_of
from tests.unit.test_commands import run as command

CAPITALS = {"France": "Paris", "Peru": "Lima", "Kenya": "Nairobi"}
INSPECT = "".join(
    json.dumps({"input": f"The capital of {land}?", "target": city, "id": land}) + "\n"
    for land, city in CAPITALS.items()
)
PROMPTFOO = """
prompts: ["What is the capital of {{land}}?"]
tests:
  - vars: {land: France}
    assert: [{type: icontains, value: "{{land}}"}, {type: latency, threshold: 30000}]
  - vars: {land: Peru}
    assert: [{type: icontains, value: Peru}, {type: latency, threshold: 30000}]
"""


def stored(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def asked(scenario: Scenario) -> list[str]:
    """Return the first message of each user in each repeat."""
    places = [(r, u) for r in range(1, scenario.repeats + 1) for u in range(1, scenario.users + 1)]
    return [filled(scenario.turns[0].say, values_of(scenario, *place)) for place in places]


def test_samples_of_inspect_and_openai_are_each_asked_once(tmp_path: Path) -> None:
    wanted = [f"The capital of {land}?" for land in CAPITALS]
    inspect = read_scenario(stored(tmp_path, "capitals.jsonl", INSPECT))
    assert asked(inspect) == wanted
    assert inspect.turns[0].expect[0].contains == "{target}"
    chats = [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": question},
            {"role": "assistant", "content": city},
        ]
        for question, city in zip(wanted, CAPITALS.values(), strict=True)
    ]
    lines = "".join(json.dumps({"messages": chat}) + "\n" for chat in chats)
    openai = read_scenario(stored(tmp_path, "chats.jsonl", lines))
    assert asked(openai) == wanted
    assert openai.turns[0].expect[0].judge is not None
    many = read_scenario(stored(tmp_path, "many.jsonl", INSPECT * 50))
    assert (many.users, many.repeats) == (15, 10)
    assert asked(many) == wanted * 50


def test_a_text_that_names_a_variable_stays_as_it_is(tmp_path: Path) -> None:
    line = json.dumps({"input": "What does {target} mean?", "target": "secret"})
    assert asked(read_scenario(stored(tmp_path, "s.jsonl", line))) == ["What does {target} mean?"]


async def test_tests_of_promptfoo_run_as_they_are(tmp_path: Path) -> None:
    document = yaml.safe_load(PROMPTFOO)
    document["tests"][0]["assert"][0]["value"] = "France"
    path = stored(tmp_path, "promptfooconfig.yaml", yaml.safe_dump(document))
    done = await command(
        tmp_path, "scenario", path.name, "--report", "r", "--export", "inspect", CMW_DEMO_PAUSE="0"
    )
    runs = [json.loads(line) for line in (tmp_path / "r" / "runs.jsonl").read_text().splitlines()]
    said = [run["answers"][0]["said"] for run in runs]
    assert said == ["What is the capital of France?", "What is the capital of Peru?"], done.err
    samples = [json.loads(x) for x in (tmp_path / "r" / "inspect.jsonl").read_text().splitlines()]
    assert [sample["input"] for sample in samples] == said
    assert [sample["target"] for sample in samples] == ["France", "Peru"]


def test_a_line_of_samples_ends_at_a_newline_alone(tmp_path: Path) -> None:
    sample = {"input": "one\u2028two\x85three", "target": "four"}
    line = json.dumps(sample, ensure_ascii=False)
    assert asked(read_scenario(stored(tmp_path, "s.jsonl", line))) == [sample["input"]]


WRONG: dict[str, tuple[str, str]] = {
    "a prompt too many": ("p.yaml", PROMPTFOO.replace("]\ntests", ", more]\ntests")),
    "one of javascript": ("p.yaml", PROMPTFOO.replace("icontains", "javascript")),
    "other assertions": ("p.yaml", PROMPTFOO.replace("icontains, value: Peru", "cost, value: 1")),
    "tests in another file": ("p.yaml", "prompts: [a]\ntests: file://tests.csv\n"),
    "no vars": ("p.yaml", "prompts: [a]\ntests: [{vars: {a: [1]}}]\n"),
    "line 2: no sample": ("s.jsonl", INSPECT.splitlines()[0] + "\n{}\n"),
    "line 1: no sample": ("s.jsonl", '{"messages": [{"role": "user", "content": "a"}]}'),
    "no samples": ("s.jsonl", "\n"),
    "two shapes": (
        "s.jsonl",
        INSPECT
        + '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_scenario_cannot_say_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = stored(tmp_path, *WRONG[name])
    with pytest.raises(StartupError) as caught:
        read_scenario(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_what_is_written_for_promptfoo_is_read_again(tmp_path: Path) -> None:
    first = read_scenario(stored(tmp_path, "capitals.jsonl", INSPECT))
    again = read_scenario(stored(tmp_path, "p.yaml", written(first)))
    assert asked(again) == asked(first)


async def test_runs_that_passed_are_examples_for_fine_tuning(tmp_path: Path) -> None:
    text = f"""
scenario: Echo
users: 2
variables: {{word: [one, two]}}
matrix: {{agents: ["{SAMPLES}:echo"], prompts: {{short: "Be brief."}}}}
turns:
  - say: "{{word}}"
    expect: [contains: one]
"""
    done, _ = await ran(tmp_path, text, "--export", "openai")
    assert done.code == 1
    (line,) = (tmp_path / "r" / "openai.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "You said: one"},
        ]
    }


async def test_an_address_is_measured_as_an_agent_is(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    async with app_with_model(tmp_path / "app", api_keys=KEYS, models="echo") as here:
        text = f"""
scenario: There
users: 3
variables: {{word: [one, two, three]}}
matrix: {{agents: ["{here.url}/v1#echo", "{SAMPLES}:echo"]}}
turns:
  - say: "{{word}}"
    expect: [contains: "You said: {{word}}"]
"""
        # As a process: OpenAI's client leaves its connections to the end of it.
        scenario = str(stored(tmp_path, "s.yaml", text))
        arguments = ("scenario", scenario, "--report", "r")
        done = await command(tmp_path, *arguments, SCENARIO_API_KEY=SHOP)
        runs = runs_of(tmp_path)
        refused = await command(tmp_path, *arguments, SCENARIO_API_KEY="wrong")
    assert done.code == 0, done.out
    assert len(runs) == 6
    assert refused.code == 1
    done, _ = await ran(tmp_path, text.replace("#echo", ""))
    assert (done.code, "the model is missing" in done.err) == (2, True)


async def test_fewer_passes_than_in_an_earlier_report_are_a_regression(tmp_path: Path) -> None:
    text = f"""
scenario: Echo
users: 10
matrix: {{agents: ["{SAMPLES}:echo"]}}
turns:
  - say: "one"
    expect: [contains: one]
"""
    before, _ = await ran(tmp_path, text)
    assert before.code == 0
    earlier = (tmp_path / "r" / "runs.jsonl").rename(tmp_path / "earlier.jsonl")
    same, _ = await ran(tmp_path, text, "--baseline", str(earlier))
    assert same.code == 0
    worse, _ = await ran(tmp_path, text.replace("s: one]", "s: two]"), "--baseline", str(earlier))
    assert worse.code == 1
    assert f"regression: {SAMPLES}:echo passed 100% before, 0% now (p 0.000)" in worse.out
    other, _ = await ran(tmp_path, text.replace(":echo", ":as_json"), "--baseline", str(earlier))
    assert (other.code, len(other.err.splitlines())) == (2, 1), other.err
    with pytest.raises(StartupError, match="line 1: no run of a scenario"):
        read_baseline(stored(tmp_path, "x.jsonl", "[]"), ["echo"])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let child processes receive SIGINT, also where these tests run as a shell's background job.

    A shell without job control has such a job ignore SIGINT, and child processes inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
async def test_a_run_that_is_broken_off_leaves_what_was_over(tmp_path: Path) -> None:
    text = f"""
scenario: Long
matrix: {{agents: ["{SAMPLES}:echo", "{SAMPLES}:silent"]}}
turns: [{{say: "one"}}]
"""
    (tmp_path / "s.yaml").write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cmw_agent", "scenario", "s.yaml", "--report", "r"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(WAIT):
            while b"silent" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130, err.decode()
    assert b"interrupted; what was over is in" in out
    found: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "r" / "runs.jsonl").read_text().splitlines()
    ]
    assert [run["cell"] for run in found] == [f"{SAMPLES}:echo"]

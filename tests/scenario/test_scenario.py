"""`cmw-agent scenario`: users at once against an agent, and a table of what came of it."""

import argparse
import asyncio
import itertools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.cli.proof_options import add_scenario
from cmw_agent.cli.scenario_command import measured
from cmw_agent.config.settings import load_settings
from cmw_agent.core.errors import StartupError
from cmw_agent.proof.scenario.checks import Answer
from cmw_agent.proof.scenario.conversation import Run
from cmw_agent.proof.scenario.reading import read_scenario
from cmw_agent.proof.scenario.statistics import fisher, pass_k_of, wilson
from tests.unit.test_commands import Done
from tests.unit.test_commands import run as command

ROOT = Path(__file__).parents[2]
SAMPLES = "tests.scenario.samples"
# The leaderboard of τ-bench's README, airline; https://github.com/sierra-research/tau-bench at 59a200c.
TAU_BENCH = {
    "gpt_4o": ["0.420", "0.273", "0.220", "0.200"],
    "gpt_4o_mini": ["0.225", "0.140", "0.110", "0.100"],
    "act": ["0.365", "0.217", "0.160", "0.140"],
    "react": ["0.325", "0.233", "0.185", "0.160"],
}


async def ran(
    folder: Path, text: str, *arguments: str, **settings: str
) -> tuple[Done, list[dict[str, Any]]]:
    """Run a scenario as the command does, in this process; return what it said, and its runs."""
    (folder / "s.yaml").write_text(text)
    commands = argparse.ArgumentParser()
    add_scenario(commands.add_subparsers())
    options = ("--report", str(folder / "r"), *arguments)
    chosen = commands.parse_args(["scenario", str(folder / "s.yaml"), *options])
    values = {"CMW_DEMO_PAUSE": "0", "CMW_DATA_DIR": str(folder), **settings}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in values.items():
            environment.setenv(name, value)
        found = load_settings(None)
        try:
            done = Done(*await asyncio.to_thread(measured, chosen, found), "")
        except StartupError as error:
            done = Done(2, "", f"{error}\n")
    return done, runs_of(folder)


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """Return the runs of the report in a folder; none without a report."""
    path = folder / "r" / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "research.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


async def test_the_handbook_leads_to_its_table(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(blocks("python")[0])
    (tmp_path / "names.yaml").write_text(blocks("yaml")[0])
    program, *arguments = blocks("sh")[0].split()
    assert program == "cmw-agent"
    done = await command(tmp_path, *arguments)
    assert done.code == 1
    rows = {line.split()[0]: line.split() for line in done.out.splitlines()[1:3]}
    assert rows["my_agent:careful"][1:3] == ["20", "100%"]
    assert rows["my_agent:careless"][1:3] == ["20", "20%"]
    assert rows["my_agent:careless"][-1] == "0.000"
    assert "'Alice' is not in it" in done.out
    assert (tmp_path / "names" / "report.html").read_text().count("<article") == 40


async def test_one_user_at_a_time_sees_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(blocks("python")[0])
    (tmp_path / "names.yaml").write_text(blocks("yaml")[0].replace("users: 5", "users: 1"))
    done = await command(tmp_path, "scenario", "names.yaml")
    assert done.code == 0, done.out


async def test_the_demo_model_is_measured_with_its_tools(tmp_path: Path) -> None:
    text = """
scenario: Sums
users: 2
turns:
  - say: "What is 6 * 7?"
    expect:
      - tool: {name: calculate}
      - regex: '\\b42\\b'
      - lacks: "43"
  - say: "Hello"
    expect:
      - tool: {name: calculate}
"""
    done, runs = await ran(tmp_path, text)
    assert done.code == 1
    assert [answer["failures"] for answer in runs[0]["answers"]] == [
        [],
        ["the tool calculate was not called so (called: none)"],
    ]
    assert "2 × built-in, message 2: the tool calculate" in done.out


async def test_every_combination_is_a_row(tmp_path: Path) -> None:
    text = f"""
scenario: Rows
matrix:
  agents: ["{SAMPLES}:as_json", "{SAMPLES}:echo"]
  prompts: {{short: "Be brief.", long: "Be long."}}
turns:
  - say: "Where?"
    expect:
      - json_schema: {{type: object, required: [city]}}
"""
    done, runs = await ran(tmp_path, text)
    assert [run["cell"] for run in runs] == [
        f"{SAMPLES}:{agent} · {prompt}"
        for agent in ("as_json", "echo")
        for prompt in ("short", "long")
    ]
    assert [run["passed"] for run in runs] == [True, True, False, False]
    assert done.code == 1
    assert (await ran(tmp_path, text, "--pass-rate", "0"))[0].code == 0


async def test_an_agent_that_fails_or_hangs_leaves_what_came(tmp_path: Path) -> None:
    text = f"""
scenario: Faults
seconds: 0.5
matrix:
  agents: ["{SAMPLES}:failing", "{SAMPLES}:silent", "{SAMPLES}:echo"]
turns:
  - say: "one"
  - say: "two"
"""
    done, runs = await ran(tmp_path, text)
    assert done.code == 1
    failing, silent, echo = runs
    assert failing["answers"][0]["text"] == "I begin"
    assert failing["answers"][0]["error"]
    assert silent["answers"][0]["error"] == "no answer within 0.5 s"
    assert [len(run["answers"]) for run in runs] == [1, 1, 2]
    assert echo["passed"]


WRONG = {
    "scenario: x\nturns: [\n": "line 3, column 1",
    "scenario: x\nturns:\n  - say: hi\n    expext: []\n": "line 4, column 5: turns.0.expext",
    "scenario: x\nusers: many\nturns:\n  - say: hi\n": "line 2, column 1: users",
    "scenario: x\nturns:\n  - say: hi\n    expect:\n      - regex: '('\n": "line 5, column 9",
    "scenario: x\nturns:\n  - say: hi\n    expect:\n      - {}\n": "line 5, column 9",
    "scenario: x\nturns:\n  - say: hi\n    expect:\n      - json_schema: {type: 7}\n": "no JSON schema",
    "scenario: x\nusers: 100\nrepeats: 1000\nturns:\n  - say: hi\n": "more than 10,000",
    "scenario: x\nturns:\n  - say: hi\n    when: {contains: a}\n": "the first turn has no answer",
    "scenario: x\nturns:\n  - say: hi\n  - say: ho\n    when: {judge: {rubric: a}}\n": "line 5, column 5",
    "scenario: x\nturns:\n  - say: hi\n    files: [no.txt]\n": "line 4, column 13: there is no file",
    "a: &a [1]\nb: *a\n": "line 2, column 4: aliases are not read",
    "scenario: x\n": "line 1, column 1: turns",
    "": "s.yaml",
    "scenario: \ud7ff\x00": "s.yaml",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_line_and_column(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(StartupError) as caught:
        read_scenario(path)
    assert WRONG[text] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


async def test_what_cannot_be_run_ends_with_two_and_one_line(tmp_path: Path) -> None:
    for text in (
        "scenario: x\nturns: 7\n",
        "scenario: x\nmatrix: {agents: ['no:one']}\nturns: [{say: hi}]\n",
        "scenario: x\nmatrix: {models: [nobody]}\nturns: [{say: hi}]\n",
    ):
        done, _ = await ran(tmp_path, text)
        assert (done.code, done.out) == (2, ""), done.out
        assert len(done.err.splitlines()) == 1, done.err
    (tmp_path / "s.yaml").write_text("scenario: x\nturns: 7\n")
    done = await command(tmp_path, "scenario", "s.yaml")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err


def test_the_figures_are_those_of_the_textbooks() -> None:
    assert wilson(15, 15) == pytest.approx((0.7961, 1.0), abs=1e-4)
    assert wilson(4, 20) == pytest.approx((0.0807, 0.4160), abs=1e-4)
    assert fisher(8, 10, 1, 10) == pytest.approx(0.005477, abs=1e-6)
    assert fisher(3, 4, 1, 4) == pytest.approx(0.4857, abs=1e-4)
    assert fisher(5, 5, 5, 5) == 1.0


def trials(task: str, outcomes: str) -> list[Run]:
    """Return a task's runs; `+` is one that passed."""
    return [
        Run("cell", number, 1, {"task": task}, [Answer("", error=None if each == "+" else "no")])
        for number, each in enumerate(outcomes, start=1)
    ]


def test_pass_k_is_how_many_choices_of_k_trials_pass_whole() -> None:
    outcomes = {"a": "++-+-", "b": "+-+", "c": "+++++"}
    runs = [run for task, some in outcomes.items() for run in trials(task, some)]
    found = pass_k_of(runs)
    assert len(found) == 3, "b has three trials"
    for k, each in enumerate(found, start=1):
        chosen = [list(itertools.combinations(some, k)) for some in outcomes.values()]
        wanted = [statistics.fmean(set(one) == {"+"} for one in choices) for choices in chosen]
        assert each.value == pytest.approx(statistics.fmean(wanted))
        assert each.error == pytest.approx(1.96 * statistics.stdev(wanted) / 3**0.5, rel=1e-3)
    assert [each.error for each in pass_k_of(trials("a", "+-"))] == [None, None]
    assert len(pass_k_of(trials("a", "+" * 20))) == 8


async def test_the_published_table_of_tau_bench_comes_of_its_outcomes(tmp_path: Path) -> None:
    for path in (ROOT / "examples" / "evaluations").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_text(path.read_text())
    done = await command(
        tmp_path, "scenario", "tau_bench.yaml", "--report", "r", "--pass-rate", "0"
    )
    assert done.code == 0, done.err
    head, *rows = done.out.split("\n\n")[1].splitlines()[:5]
    assert head.split() == ["pass^1", "pass^2", "pass^3", "pass^4"]
    found = {row.split()[0]: re.findall(r"([\d.]+) ±", row) for row in rows}
    assert found == {f"tau_bench:{name}": figures for name, figures in TAU_BENCH.items()}
    assert "\n".join([head, *rows]) in (ROOT / "docs" / "research.md").read_text()
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<th>pass^4</th>" in page
    assert "<td>0.273 ± 0.109</td>" in page
    first = json.loads((tmp_path / "r" / "runs.jsonl").read_text().splitlines()[0])
    assert first["values"] == {"task": "1"}

"""What a scenario's turns bring and wait for, and what models judge of their answers."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Stop, Text
from tests.scenario.test_scenario import SAMPLES, ran

KEY = {"OPENAI_API_KEY": "sk-test", "CMW_USER_FIELD": "safety_identifier"}


def polite(request: Request) -> Sequence[Step]:
    """Judge whether the last answer thanks, as a model that writes around its JSON."""
    given = json.loads(request.last_user)
    passed = "thank" in given["conversation"][-1]["assistant"]
    verdict = json.dumps({"reason": f"by {given['rubric']}", "passed": passed})
    return [Text([f"```json\n{verdict}\n```"]), Stop()]


def mumbling(request: Request) -> Sequence[Step]:
    return [Text(["Well, it depends."]), Stop()]


async def test_a_model_judges_the_conversation_by_its_rubric_and_a_seed(tmp_path: Path) -> None:
    text = f"""
scenario: Manners
seed: 7
variables: {{name: [Ann]}}
matrix: {{agents: ["{SAMPLES}:echo"]}}
turns:
  - say: "Say thanks, {{name}}"
    expect: [judge: {{rubric: "it is kind to {{name}}", model: polite}}]
  - say: "Be rude"
    expect:
      - judge: {{rubric: "it is kind", model: polite}}
      - judge: {{rubric: "it is kind", model: mumbling}}
      - judge: {{rubric: "it is kind", model: fail-400}}
"""
    scripts = {"polite": polite, "mumbling": mumbling}
    async with OpenAIDouble(scripts=scripts) as endpoint:
        models = {"CMW_MODEL": "echo", "CMW_MODELS": "polite,mumbling,fail-400"}
        done, runs = await ran(tmp_path, text, OPENAI_BASE_URL=endpoint.base_url, **models, **KEY)
        asked = [each for each in endpoint.requests if each.model == "polite"]
    assert done.code == 1, done.err
    first, second = runs[0]["answers"]
    assert first["failures"] == []
    assert first["verdicts"] == [
        {
            "rubric": "it is kind to Ann",
            "model": "polite",
            "passed": True,
            "reason": "by it is kind to Ann",
        }
    ]
    assert second["failures"] == [
        "the judge: by it is kind",
        "the judge: the judge gave no verdict",
        "the judge: the model fail-400 did not answer (RequestRefusedError)",
    ]
    assert [each.body["seed"] for each in asked] == [7, 7]
    assert len(json.loads(asked[1].last_user)["conversation"]) == 2


async def test_a_judge_that_is_no_model_of_the_settings_ends_before_anything_runs(
    tmp_path: Path,
) -> None:
    for judge in ("{rubric: kind}", "{rubric: kind, model: nobody}"):
        text = f"scenario: x\nturns: [{{say: hi, expect: [judge: {judge}]}}]\n"
        done, runs = await ran(tmp_path, text)
        assert (done.code, runs) == (2, [])
        assert done.err.startswith("a judge needs a model"), done.err


async def test_tokens_and_cost_are_held_to_what_they_may_be(tmp_path: Path) -> None:
    text = """
scenario: Dear
matrix: {models: [tokens-50, tokens-51]}
turns:
  - say: "Hi"
    expect: [{tokens: 100000}, {cost: 1}, {tokens: 2}, {cost: 0.000001}]
"""
    async with OpenAIDouble() as endpoint:
        done, runs = await ran(
            tmp_path,
            text,
            OPENAI_BASE_URL=endpoint.base_url,
            CMW_MODEL="tokens-50",
            CMW_MODELS="tokens-51",
            CMW_PRICES="tokens-50=1/1000",
            **KEY,
        )
    assert done.code == 1, done.err
    priced, unpriced = (run["answers"][0] for run in runs)
    assert priced["cost"] > 0.05
    assert [each.split(",")[1] for each in priced["failures"]] == [
        " more than 2",
        " more than $1e-06",
    ]
    assert unpriced["failures"].count("its cost is not known: its model has no price") == 2
    assert f"{priced['cost']:.6f}" in done.out


def customer(request: Request) -> Sequence[Step]:
    """Write as a simulated user: two messages, with the seed in them, then the end."""
    system = str(request.messages[0]["content"])
    said = [str(each["content"]) for each in request.messages if each["role"] == "assistant"]
    assert "Ann, in a hurry" in system
    if len(said) == 2:
        assert request.last_user == f"You said: {said[1]}"
        return [Text(["[END]"]), Stop()]
    return [Text([f"message {len(said) + 1} by seed {request.body['seed']}"]), Stop()]


async def test_a_model_writes_for_a_user_until_the_user_ends(tmp_path: Path) -> None:
    text = f"""
scenario: Simulated
users: 2
repeats: 2
seed: 40
variables: {{name: [Ann]}}
matrix: {{agents: ["{SAMPLES}:echo"]}}
user:
  persona: "{{name}}, in a hurry"
  goal: "An answer"
  turns: 9
  model: customer
  expect: [contains: "message 2"]
"""
    async with OpenAIDouble(scripts={"customer": customer}) as endpoint:
        model = {"OPENAI_BASE_URL": endpoint.base_url, "CMW_MODEL": "customer"}
        done, runs = await ran(tmp_path, text, **model, **KEY)
        assert done.code == 0, (done, runs)
        said = [[answer["said"] for answer in run["answers"]] for run in runs]
        assert said == [
            [f"message {number} by seed {seed}" for number in (1, 2)] for seed in (40, 41, 42, 43)
        ]
        failing = text.replace("model: customer", "model: fail-400")
        done, runs = await ran(tmp_path, failing, CMW_MODELS="fail-400", **model, **KEY)
    assert done.code == 1
    assert runs[0]["answers"][0]["error"].startswith("the simulated user: the model fail-400")


async def test_a_turn_is_said_only_where_the_answer_before_it_is_so(tmp_path: Path) -> None:
    text = f"""
scenario: Branches
users: 2
variables: {{word: [tea, milk]}}
matrix: {{agents: ["{SAMPLES}:echo"]}}
turns:
  - say: "I want {{word}}"
  - say: "With lemon"
    when: {{contains: tea}}
  - say: "Cold"
    when: {{regex: "milk$"}}
    wait: 0.01
  - say: "Bye"
"""
    done, runs = await ran(tmp_path, text)
    assert done.code == 0, done.err
    said = [[answer["said"] for answer in run["answers"]] for run in runs]
    assert said == [["I want tea", "With lemon", "Bye"], ["I want milk", "Cold", "Bye"]]


async def test_a_turn_brings_files_and_answers_approvals(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "note.txt").write_text("The password is swordfish.")
    text = f"""
scenario: Orders
matrix: {{agents: ["{SAMPLES}:shop"]}}
turns:
  - say: "Order"
    expect: [lacks: "ordered tea"]
  - say: "Order again"
    approve: true
    expect:
      - contains: "ordered tea"
      - tool: {{name: order, arguments: {{what: tea}}}}
"""
    async with OpenAIDouble() as endpoint:
        model = {"OPENAI_BASE_URL": endpoint.base_url, "CMW_MODEL": 'tool:order:{"what":"tea"}'}
        done, runs = await ran(tmp_path, text, **model, **KEY)
        assert done.code == 0, (done, runs)
        text = """
scenario: Files
turns:
  - say: "Read this"
    files: [papers/note.txt]
    expect: [contains: swordfish]
"""
        done, runs = await ran(tmp_path, text, **{**model, "CMW_MODEL": "echo"}, **KEY)
    assert done.code == 0, (done, runs)

"""`cmw-agent storm`: finds what mixes its users, clears what does not, and says what it cannot judge."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cmw_agent.cli.proof_options import add_storm
from cmw_agent.cli.storm_command import storm
from cmw_agent.core.errors import StartupError
from cmw_agent.proof.storm.chainlit import ChainlitChannel
from cmw_agent.proof.storm.channels import Channel
from cmw_agent.proof.storm.control_chat import FAULTS
from cmw_agent.proof.storm.control_server import CONFIG, DESCRIPTION, KEYS, ControlServer
from cmw_agent.proof.storm.description import Description
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.gradio import CANCEL, GradioChannel
from cmw_agent.proof.storm.gradio_config import config_of
from cmw_agent.proof.storm.joined_texts import JoinedTexts
from cmw_agent.proof.storm.openai import OpenAIChannel
from cmw_agent.proof.storm.reports import write_reports
from cmw_agent.proof.storm.rest import RestChannel
from cmw_agent.proof.storm.run import Bounds, parts, plant, run
from cmw_agent.proof.storm.targets import Target, terms_of
from cmw_agent.proof.storm.verdict import judge
from cmw_agent.proof.storm.visitors import Entrance, Plan
from cmw_agent.proof.storm.widget import WidgetChannel
from cmw_agent.proof.storm.wire import Budget, Terms
from tests.harness import WAIT
from tests.isolation.test_canary_storm import BROKEN
from tests.isolation.world import app_with_model
from tests.ports import free_port
from tests.rest import BANK, SHOP
from tests.rest import KEYS as APP_KEYS
from tests.storm import bad_targets
from tests.unit.test_commands import Done
from tests.unit.test_commands import run as command

ROOT = Path(__file__).parents[2]
SMALL = Plan(users=3, turns=2)
CHANNELS: dict[str, Channel] = {
    "Chainlit": ChainlitChannel(()),
    "Gradio": GradioChannel(config_of(CONFIG)),
    "OpenAI": OpenAIChannel("control", KEYS, "/v1"),
    "REST": RestChannel(Description.model_validate(DESCRIPTION), KEYS),
    "widget": WidgetChannel("control"),
}


def silent(_text: str) -> None:
    """Take a line of progress."""


async def stormed(url: str, channels: list[Channel], plan: Plan) -> Evidence:
    """Storm a target without the control."""
    evidence = Evidence()
    entrance = Entrance(Terms(url, patience=WAIT), Budget.of(50_000, WAIT * 3), evidence)
    for part in parts(entrance, channels, plan, silent):
        await part()
    return evidence


def ways(result: Evidence) -> set[str]:
    return {finding.way for finding in result.findings}


@pytest.mark.parametrize("name", CHANNELS)
async def test_each_planted_fault_is_found_by_each_channel(name: str) -> None:
    found = await plant(CHANNELS[name], 0, silent)
    assert len(found) == len(FAULTS) + 1
    assert all(found.values()), found


@pytest.mark.parametrize("fault", FAULTS[:3])
@pytest.mark.parametrize("name", CHANNELS)
async def test_what_mixes_honest_users_is_found_among_honest_users(name: str, fault: str) -> None:
    async with ControlServer(fault).serving() as url:  # type: ignore[arg-type]
        evidence = await stormed(url, [CHANNELS[name].control()], SMALL)
    assert "talks" in ways(evidence)


async def test_twenty_seeds_raise_no_false_alarm() -> None:
    for seed in range(20):
        some = [list(CHANNELS)[(seed + number) % len(CHANNELS)] for number in range(3)]
        async with ControlServer(None).serving() as url:
            channels = [CHANNELS[name].control() for name in some]
            evidence = await stormed(url, channels, Plan(users=6, turns=2, seed=seed))
        verdict = judge(evidence, ())
        assert verdict.outcome == "clean", f"seed {seed}: {verdict.reasons}"


def test_a_missed_fault_leaves_no_verdict() -> None:
    evidence = Evidence()
    person = evidence.person("user", "page", 0)
    evidence.record(person, "talks", "GET /", [evidence.canary(person)])
    assert judge(evidence, ()).outcome == "clean"
    verdict = judge(evidence, ("page: answers cached by their question",))
    assert (verdict.outcome, verdict.code) == ("not judged", 2)


def test_words_of_an_earlier_run_are_a_leak() -> None:
    evidence = Evidence()
    person = evidence.person("user", "page", 0)
    evidence.record(person, "talks", "GET /", ["so far: canary0123456789abcdef"])
    assert judge(evidence, ()).outcome == "leak"


def test_a_canary_that_a_stream_has_cut_is_read() -> None:
    texts = JoinedTexts(1_000)
    for part in ("so far: canary0123", "4567", "89abcdef"):
        texts.event({"choices": [{"delta": {"content": part}}]})
    assert any("canary0123456789abcdef" in text for text in texts.all())


# -- this app ---------------------------------------------------------------------------------


async def test_this_app_is_clean_by_page_widget_rest_and_completions(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, api_keys=APP_KEYS) as here:
        target = Target(here.url, keys=(SHOP, BANK), patience=WAIT)
        result = await run(target, Plan(users=6, turns=3), Bounds(seconds=WAIT * 3), silent)
    assert result.channels == ["page", "widget", "REST", "OpenAI"]
    assert result.verdict.outcome == "clean", result.verdict.reasons
    assert {person.kind for person in result.evidence.people} == {"user", "stranger"}
    assert result.budget.received > 100_000


@pytest.mark.parametrize(
    "defect", ["queries without their owner", "hashes bound to nobody", "a default visitor"]
)
async def test_a_broken_build_of_this_app_is_found(defect: str, tmp_path: Path) -> None:
    async with app_with_model(tmp_path, parts=BROKEN[defect].parts) as here:
        result = await run(Target(here.url, patience=3), SMALL, Bounds(seconds=WAIT * 3), silent)
    assert result.verdict.outcome == "leak", result.verdict.reasons


async def test_a_broken_build_of_this_app_is_found_by_the_widget_alone(tmp_path: Path) -> None:
    broken = BROKEN["queries without their owner"].parts
    async with app_with_model(tmp_path, parts=broken) as here:
        evidence = await stormed(here.url, [WidgetChannel("assistant")], SMALL)
    assert "opens a conversation by its id" in ways(evidence)


# -- chats as tutorials write them ------------------------------------------------------------


async def tutorials(folder: Path, port: int, *names: str) -> dict[str, Done]:
    """Serve the stock chats in a process of their own, and storm those of these names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.storm.stock_chats",
        str(port),
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
            "HOME": str(folder),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await reachable(port)
        done = await asyncio.gather(
            *(
                command(
                    folder,
                    *("storm", f"http://127.0.0.1:{port}/{name}", "--users", "3", "--turns", "2"),
                    *("--patience", "8", "--report", name),
                )
                for name in names
            )
        )
        return dict(zip(names, done, strict=True))
    finally:
        process.kill()
        await process.wait()


async def in_process(*arguments: str) -> Done:
    """Run `cmw-agent storm` in this process, in a thread of its own."""
    commands = argparse.ArgumentParser()
    add_storm(commands.add_subparsers())
    try:
        code, out = await asyncio.to_thread(storm, commands.parse_args(["storm", *arguments]))
    except StartupError as error:
        return Done(2, "", f"{error}\n")
    return Done(code, out, "")


async def reachable(port: int, seconds: float = WAIT) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return


@pytest.mark.slow
async def test_stock_chats_leak_in_the_ways_that_are_known(tmp_path: Path) -> None:
    done = await tutorials(tmp_path, free_port(), "history", "default", "state", "agent")
    found = {
        name: {
            finding["way"]
            for finding in json.loads((tmp_path / name / "report.json").read_text())["findings"]
        }
        for name in done
    }
    assert {name: each.code for name, each in done.items()} == dict.fromkeys(done, 1)
    for name in ("history", "default", "agent"):
        assert "talks" in found[name], name
    assert found["state"] == {
        "talks under an id that others use too",
        "reads the event stream of a borrowed session hash",
        "writes with a borrowed session hash",
        "asks for a link to a borrowed session",
        "fetches a file by its address",
    }
    assert "cancels an answer by a borrowed session hash" in done["state"].out


async def test_an_answer_that_a_stranger_ends_at_the_third_try_is_found() -> None:
    async with bad_targets.serving(bad_targets.EndsTheThird().answer) as url:
        evidence = await stormed(url, [GradioChannel(config_of(CONFIG))], Plan(users=2, turns=1))
    assert [way for _, _, way in evidence.disturbances] == [CANCEL]


# -- targets that cannot be judged ------------------------------------------------------------

BAD = {
    "hangs": "did not end its answer within",
    "lies_about_its_config": "no config of Gradio's",
    "is_no_json": "no JSON",
    "lies_about_its_stream": "ended before the answer",
    "promises_more_than_it_sends": "the connection failed",
    "never_ends": "more than",
    "limits_the_rate": "limits the rate",
    "wants_a_login": "wants a login",
    "redirects_to_a_login": "wants a login",
    "redirects_elsewhere": "redirects elsewhere, to elsewhere.example",
    "redirects_in_circles": "without an end",
    "repeats_nothing": "nothing shows what it mixes up",
    "is_no_chat": "neither a Gradio app nor",
    "is_chainlit_with_a_login": "wants a login; --key NAME:PASSWORD",
}


async def judged(url: str, patience: float) -> str:
    """Storm a target that cannot be judged; return why."""
    try:
        plan, target = Plan(users=2, turns=1), Target(url, patience=patience)
        verdict = (await run(target, plan, Bounds(seconds=WAIT), silent)).verdict
    except TargetError as error:
        return str(error)
    assert (verdict.outcome, verdict.code) == ("not judged", 2)
    return " ".join(verdict.reasons)


@pytest.mark.parametrize("name", BAD)
async def test_a_target_that_cannot_be_judged_is_told_why(name: str) -> None:
    async with bad_targets.serving(getattr(bad_targets, name)) as url:
        said = await judged(url, 0.5 if name == "hangs" else WAIT)
    assert BAD[name] in said


async def test_a_host_that_is_not_this_machine_is_refused_without_the_word_of_the_user() -> None:
    with pytest.raises(TargetError, match="--i-am-allowed"):
        terms_of(Target("https://192.0.2.7/chat"))
    assert terms_of(Target("http://192.0.2.7/chat/", allowed=True)).base == "http://192.0.2.7/chat"
    for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"):
        assert terms_of(Target(url)).base == url


async def test_what_was_found_before_the_limit_is_kept(tmp_path: Path) -> None:
    async with ControlServer(None).serving() as url:
        target = Target(url, patience=WAIT)
        result = await run(target, SMALL, Bounds(requests=60, seconds=WAIT), silent)
    assert result.verdict.code == 2
    assert "limit of requests" in " ".join(result.verdict.reasons)
    assert any(person.heard for person in result.evidence.people)
    assert result.budget.sent <= 60
    write_reports(result, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "not judged"
    assert any(person["heard"] for person in report["people"])


async def test_a_run_that_cannot_begin_ends_with_two_and_one_line(tmp_path: Path) -> None:
    done = await command(tmp_path, "storm", "http://127.0.0.1:9")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    for arguments in (
        ("no-address",),
        ("http://192.0.2.7",),
        ("http://127.0.0.1:9", "--description", "nothing.toml"),
        ("http://127.0.0.1:9", "--header", "no colon"),
    ):
        done = await in_process(*arguments)
        assert (done.code, done.out) == (2, "")
        assert len(done.err.splitlines()) == 1, done.err


# -- reports ----------------------------------------------------------------------------------


async def test_the_reports_say_who_received_whose_words(tmp_path: Path) -> None:
    async with ControlServer("one history for everybody").serving() as url:
        done = await command(
            tmp_path, "storm", url, "--users", "2", "--turns", "1", "--report", "r"
        )
    assert done.code == 1
    assert f"leak: {url}, by Gradio" in done.out
    assert "received words of user" in done.out
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<svg" in page
    assert "#d3263f" in page
    assert "src=" not in page
    assert "href=" not in page
    suite = ET.parse(tmp_path / "r" / "junit.xml").getroot()  # noqa: S314 (written here)
    assert int(suite.attrib["failures"]) > 0
    assert suite.attrib["errors"] == "0"
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {"user 1", "user 2"} <= {finding["reader"] for finding in report["findings"]}


def test_a_description_that_is_wrong_is_told_where(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    for text, where in (
        ("[message]\npath = = 1\n", "line 2, column 8"),
        ("[message]\npath = 'no slash'\n", "message.path"),
        ("[message]\npath = '/say'\nverb = 'POST'\n", "message.verb"),
        ("", "message"),
    ):
        path.write_text(text)
        with pytest.raises(TargetError, match=where):
            asyncio.run(
                run(Target("http://127.0.0.1:9", description=path), SMALL, Bounds(), silent)
            )

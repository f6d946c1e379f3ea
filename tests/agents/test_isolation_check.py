"""`cmw-agent check pkg.module:graph` finds agents that mix their users, and names by which object."""

import os
from pathlib import Path
from typing import Any

import pytest

from cmw_agent.agent.own.isolation_check import check_isolation
from cmw_agent.agent.own.runner import runner_of
from tests.agents import leaking, samples
from tests.unit.test_commands import ROOT, run

LEAKING = {
    "by_global": (leaking.by_global, "tests.agents.leaking:HISTORY (list)"),
    "in_one_thread": (leaking.in_one_thread, "tests.agents.leaking:shared_memory"),
    "by_session_alone": (leaking.by_session_alone, "tests.agents.leaking:session_memory"),
    "by_class": (leaking.by_class, "tests.agents.leaking:Notes (Notes)"),
    "by_cache": (leaking.by_cache, "tests.agents.leaking:greeting (_lru_cache_wrapper)"),
    "by_attribute": (leaking.by_attribute, "set before an await"),
}
SOUND = {
    "echo": samples.echo,
    "remembering": samples.remembering,
    "owner_graph": samples.owner_graph,
    "colours": samples.colours,
    "deleting": samples.deleting,
    "chain": samples.chain,
    "words": samples.words,
}


async def checked(graph: Any, users: int = 5) -> Any:
    return await check_isolation(runner_of(graph, "agent"), graph, users)


@pytest.mark.parametrize("name", LEAKING)
async def test_a_planted_fault_is_found_and_named(name: str) -> None:
    graph, holder = LEAKING[name]
    verdict = await checked(graph)
    assert verdict.code == 1
    assert "got a text of user" in verdict.text
    assert holder in verdict.text


@pytest.mark.parametrize("users", [2, 20])
@pytest.mark.parametrize("name", SOUND)
async def test_a_sound_agent_is_clean(name: str, users: int) -> None:
    verdict = await checked(SOUND[name], users)
    assert (verdict.code, verdict.users, verdict.failures) == (0, users, ())
    assert verdict.answers == 3 * users
    assert verdict.characters > 0


async def test_an_agent_that_fails_gets_no_clean_verdict() -> None:
    verdict = await checked(samples.raising)
    assert verdict.code == 2
    assert "RuntimeError" in verdict.text


async def test_the_command_says_it_by_its_exit_code(tmp_path: Path) -> None:
    clean = await run(tmp_path, "check", "tests.agents.samples:echo", "--users", "3")
    assert (clean.code, clean.err) == (0, "")
    assert clean.out.startswith("3 users at once, 9 answers")
    mixed = await run(tmp_path, "check", "tests.agents.leaking:by_global")
    assert mixed.code == 1
    assert "tests.agents.leaking:HISTORY" in mixed.out
    wrong = await run(tmp_path, "check", "tests.agents.samples:number")
    assert wrong.code == 2
    assert wrong.err.count("\n") == 1


async def test_an_installed_package_offers_agents_by_entry_points(tmp_path: Path) -> None:
    info = tmp_path / "offers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[cmw_agent.agents]\nechoing = tests.agents.samples:echo\nbroken = nowhere:graph\n"
    )
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    found = await run(tmp_path, "check", "echoing", "--users", "2", PYTHONPATH=path)
    assert (found.code, found.err) == (0, "")
    broken = await run(tmp_path, "check", "broken", PYTHONPATH=path)
    assert broken.code == 2
    assert "broken cannot be loaded (ModuleNotFoundError" in broken.err
    missing = await run(tmp_path, "check", "absent", PYTHONPATH=path)
    assert "nor an entry point of cmw_agent.agents (broken, echoing)" in missing.err

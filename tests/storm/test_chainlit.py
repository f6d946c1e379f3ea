"""`cmw-agent storm` and Chainlit, unmodified: what mixes its users is found, what does not is clean."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmw_agent.proof.storm.chainlit import ChainlitChannel
from cmw_agent.proof.storm.crowd import talk
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.targets import Target, channels_of, terms_of
from cmw_agent.proof.storm.verdict import Verdict, judge
from cmw_agent.proof.storm.visitors import Entrance, Plan
from cmw_agent.proof.storm.wire import Budget, Terms
from tests.harness import WAIT
from tests.ports import free_port
from tests.storm import bad_targets
from tests.storm.test_storm import SMALL, reachable, silent, stormed, ways

ROOT = Path(__file__).parents[2]
START_SECONDS = 200  # its first start compiles some thousand modules
CHAINLIT = ROOT / ".venv-clients" / "bin" / "chainlit"


@contextlib.asynccontextmanager
async def chat(folder: Path) -> AsyncIterator[str]:
    """Serve the chat in a process of its own for the block; give its address."""
    assert CHAINLIT.exists(), "run `make programs` first: it installs the clients' environment"
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        CHAINLIT,
        *("run", Path(__file__).with_name("chainlit_chat.py"), "--headless", "--port", str(port)),
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CHAINLIT_APP_ROOT": str(folder),
            "CHAINLIT_AUTH_SECRET": "a secret of thirty-two bytes or more",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await reachable(port, START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def storm(url: str, *names: str) -> tuple[Evidence, Verdict]:
    """Storm the chat by users who sign in with these names, without the controls."""
    target = Target(url, keys=[f"{name}:secret" for name in names])
    channels = await channels_of(target, terms_of(target), Budget.of(10, WAIT))
    assert [channel.name for channel in channels] == ["Chainlit"]
    evidence = await stormed(url, channels, SMALL)
    return evidence, judge(evidence, ())


BAD_SOCKETS = {
    "is_chainlit_without_socket_io": "does not speak socket.io",
    "is_chainlit_with_wrong_events": "does not speak socket.io",
    "is_chainlit_that_closes": "closed the connection",
    "is_chainlit_that_is_silent": "did not end its answer within",
    "is_chainlit_that_refuses": "refused the connection (authorization failed)",
}


@pytest.mark.parametrize("name", BAD_SOCKETS)
async def test_a_connection_that_does_not_last_is_a_reason(name: str) -> None:
    evidence = Evidence()
    async with bad_targets.serving(getattr(bad_targets, name)) as url:
        entrance = Entrance(Terms(url, patience=0.5), Budget.of(100, WAIT), evidence)
        await talk(entrance, [ChainlitChannel(())], Plan(users=2, turns=1), silent)
    assert BAD_SOCKETS[name] in " ".join(judge(evidence, ()).reasons)


@pytest.mark.slow
async def test_a_shared_history_is_found_and_a_right_chat_is_clean(tmp_path: Path) -> None:
    async with chat(tmp_path) as url:
        shared, verdict_of_shared = await storm(url, "shared 1", "shared 2")
        right, verdict_of_right = await storm(url, "ann", "bob")
    assert verdict_of_shared.outcome == "leak"
    assert "talks" in ways(shared)
    assert verdict_of_right.outcome == "clean", verdict_of_right.reasons
    assert {person.kind for person in right.people} == {"user", "stranger"}

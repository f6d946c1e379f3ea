"""Runs a storm: first against planted faults, then against the target."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmw_agent.proof.storm.channels import Channel
from cmw_agent.proof.storm.control_chat import FAULTS, Fault
from cmw_agent.proof.storm.control_server import ControlServer
from cmw_agent.proof.storm.crowd import share_an_id, talk
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.strangers import try_all
from cmw_agent.proof.storm.targets import Target, channels_of, terms_of
from cmw_agent.proof.storm.verdict import Verdict, judge
from cmw_agent.proof.storm.visitors import Entrance, Plan, Progress
from cmw_agent.proof.storm.wire import Budget, Terms

CONTROL_REQUESTS, CONTROL_SECONDS = 3_000, 60.0  # for each planted fault
CONTROL_PATIENCE = 10.0
CONTROL_USERS, CONTROL_TURNS = 3, 2
RIGHT = "no fault at all was taken for a leak"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a run may ask of its target.

    Attributes:
        requests: How many requests it may send.
        seconds: How long it may last.
    """

    requests: int = 5_000
    seconds: float = 300.0


@dataclass(slots=True)
class Result:
    """What came of a run.

    Attributes:
        url: The target's address.
        plan: How large the storm was.
        channels: The channels by which the target was reached.
        planted: Each planted fault by its channel, and whether it was found.
        evidence: What people said and received.
        budget: What was spent.
        seconds: How long the storm of the target took.
        verdict: What it comes to.
    """

    url: str
    plan: Plan
    channels: list[str] = field(default_factory=list)
    planted: dict[str, bool] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    budget: Budget = field(default_factory=lambda: Budget.of(0, 0))
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=lambda: Verdict("not judged", ("it was not run",)))


async def run(target: Target, plan: Plan, bounds: Bounds, progress: Progress) -> Result:
    """Storm a target; what keeps the run from its end stands in the verdict.

    Args:
        target: What is stormed.
        plan: How large the storm is.
        bounds: How much it may ask.
        progress: Called with a line of text at each step.

    Raises:
        TargetError: The target is not to be stormed, is not there, or is nothing that is known.
    """
    terms = await asyncio.to_thread(terms_of, target)
    budget = Budget.of(bounds.requests, bounds.seconds)
    result = Result(target.url, plan, budget=budget)
    channels = await channels_of(target, terms, budget)
    result.channels = [channel.name for channel in channels]
    for channel in channels:
        result.planted |= await plant(channel, plan.seed, progress)
    missed = [fault for fault, found in result.planted.items() if not found]
    budget.ends, begun = time.monotonic() + bounds.seconds, time.monotonic()
    stopped: str | None = None
    try:
        entrance = Entrance(terms, budget, result.evidence)
        for part in parts(entrance, channels, plan, progress):
            await part()
    except TargetError as error:
        stopped = str(error)
    finally:
        result.seconds = time.monotonic() - begun
    result.verdict = judge(result.evidence, missed, stopped)
    return result


def parts(
    entrance: Entrance, channels: Sequence[Channel], plan: Plan, progress: Progress
) -> list[Callable[[], Awaitable[Any]]]:
    """Return a storm's parts, in order."""
    found: list[Callable[[], Awaitable[Any]]] = [lambda: talk(entrance, channels, plan, progress)]
    for channel in channels:
        if channel.callers is None or channel.callers > 1:
            found.append(lambda channel=channel: share_an_id(entrance, channel, progress))  # type: ignore[misc]
            found.append(lambda channel=channel: try_all(entrance, channel, progress))  # type: ignore[misc]
    return found


async def plant(channel: Channel, seed: int, progress: Progress) -> dict[str, bool]:
    """Storm the control server by a channel; return for each planted fault whether it was found.

    The last one is the server without a fault, which must be clean.

    Args:
        channel: Whose way of speaking is used.
        seed: That of the run.
        progress: Called with a line of text at each step.
    """
    found: dict[str, bool] = {}
    control = channel.control()
    for fault in FAULTS:
        progress(f"{channel.name}: control, {fault}")
        evidence = await _control_storm(control, fault, seed)
        found[f"{channel.name}: {fault}"] = bool(evidence.findings)
    progress(f"{channel.name}: control, no fault")
    evidence = await _control_storm(control, None, seed)
    found[f"{channel.name}: {RIGHT}"] = judge(evidence, ()).outcome == "clean"
    return found


async def _control_storm(control: Channel, fault: Fault | None, seed: int) -> Evidence:
    """Storm the control server until something is found, or all was tried."""
    evidence = Evidence()
    plan = Plan(CONTROL_USERS, CONTROL_TURNS, seed)
    async with ControlServer(fault).serving() as url:
        terms = Terms(url, patience=CONTROL_PATIENCE)
        budget = Budget.of(CONTROL_REQUESTS, CONTROL_SECONDS)
        entrance = Entrance(terms, budget, evidence)
        for part in parts(entrance, [control], plan, lambda _: None):
            await part()
            if evidence.findings:
                break
    return evidence

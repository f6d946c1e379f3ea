"""Replays cassettes: each turn by itself, or several with the order of their events kept."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmw_agent.agent.agent import Ask, CmwAgent
from cmw_agent.agent.own.runner import OwnRunner
from cmw_agent.agent.tool_loop import ToolLoop
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.answer_events import storable
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import StartupError, describe_exception
from cmw_agent.core.events import AgentEvent, FinishReason
from cmw_agent.llm.chat_model import ChatModel, HistoryMessage
from cmw_agent.proof.replay.cassette import Cassette
from cmw_agent.proof.replay.differences import Difference, of_texts, of_values
from cmw_agent.proof.replay.models import recorded_models
from cmw_agent.proof.replay.order import (
    LeftTheRecordingError,
    Order,
    events_of,
    recorded_order,
    shuffled_order,
)
from cmw_agent.proof.replay.tape import OffCassetteError, ReplayTape
from cmw_agent.proof.replay.tools import CassetteAnswers, ReplayToolset

Runners = Mapping[str, OwnRunner]  # what answers for agents in place of the loop, by their ids


@dataclass(slots=True)
class Replayed:
    """What came of one cassette.

    Attributes:
        cassette: The turn.
        text: The answer.
        thinking: What the model thought.
        differences: Where it differs from the recording.
        seconds: How long it took.
        tokens: What it used, where known.
        requests: How many requests were compared.
        error: Why there is no whole answer; None where there is one, or where the recording has
            none either.
    """

    cassette: Cassette
    text: str = ""
    thinking: str = ""
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int | None = None
    requests: int = 0
    error: str | None = None

    @property
    def is_same(self) -> bool:
        """Whether all requests and the answer are those of the recording, byte for byte."""
        return not self.differences


async def replay(
    cassettes: Sequence[Cassette],
    settings: Settings,
    runners: Runners,
    *,
    is_timed: bool = False,
    seed: int | None = None,
) -> list[Replayed]:
    """Replay turns at once, with the order of their events kept; return what came of each.

    Args:
        cassettes: Turns that one process recorded.
        settings: The app's; what the recording says of its own replaces them.
        runners: The agents that bring something of their own.
        is_timed: Whether events come at the recorded times.
        seed: Chooses another order; None for the recorded one.

    Raises:
        StartupError: The agent of a turn is not there.
    """
    wanted = recorded_order(cassettes) if seed is None else shuffled_order(cassettes, seed)
    order = Order(wanted, None) if is_timed else Order(wanted)
    tapes = [ReplayTape(each, order, is_timed=is_timed) for each in cassettes]
    running = [asyncio.ensure_future(_replay(tape, settings, runners, order)) for tape in tapes]
    driver = asyncio.ensure_future(order.run())
    try:
        await asyncio.wait([driver, *running], return_when=asyncio.FIRST_EXCEPTION)
        if driver.done() and (failure := driver.exception()) is not None:
            return _left(tapes, running, failure)
        return list(await asyncio.gather(*running))
    finally:
        for task in (driver, *running):
            task.cancel()
        await asyncio.gather(driver, *running, return_exceptions=True)


def _left(
    tapes: Sequence[ReplayTape],
    running: Sequence["asyncio.Future[Replayed]"],
    failure: BaseException,
) -> list[Replayed]:
    """Return what had come when the replay left the recording's order."""
    if not isinstance(failure, LeftTheRecordingError):
        raise failure
    return [
        task.result()
        if task.done() and not task.cancelled() and task.exception() is None
        else Replayed(tape.cassette, differences=[*tape.differences, Difference(str(failure), "")])
        for tape, task in zip(tapes, running, strict=True)
    ]


async def _replay(tape: ReplayTape, settings: Settings, runners: Runners, order: Order) -> Replayed:
    cassette = tape.cassette
    try:
        await tape.begin()
        async with recorded_models(_as_recorded(settings, cassette), tape) as models:
            toolset = ReplayToolset(cassette, CassetteAnswers(tape))
            ask = recorded_ask(cassette, models, toolset, runners, tape)
            replayed = await answered(tape, ask, settings)
    finally:
        order.leave(events_of(cassette))
    _compare(replayed, tape)
    return replayed


def recorded_ask(
    cassette: Cassette,
    models: ChatModel,
    toolset: ReplayToolset,
    runners: Runners,
    tape: ReplayTape | None,
) -> Ask:
    """Return what a turn's run was asked.

    Raises:
        StartupError: Its agent is none of the loop's, and not there.
    """
    header, given = cassette.header, cassette.given
    runner = runners.get(header["agent"])
    if runner is None and not header["uses_model"]:
        name = header["agent"]
        raise StartupError(
            f"the agent {name!r} answered by itself and is not in agents.toml here: name what "
            "answers with --agent MODULE:NAME"
        )
    keeps = runner is not None and runner.keeps_threads
    return Ask(
        instructions=given["instructions"],
        # The loop's instructions hold the summary already.
        summary=given["summary"] if runner is not None else None,
        model=models,
        toolset=toolset,
        runner=runner,
        # A thread that is remembered would go on from one replay to the next.
        conversation_id=None if keeps else header["conversation"],
        request_id="replay",
        tape=tape,
    )


async def answered(tape: ReplayTape, ask: Ask, settings: Settings) -> Replayed:
    """Run a turn's agent; return what came, as far as it got.

    Args:
        tape: The turn's.
        ask: What the run is asked.
        settings: Bound its calls.
    """
    cassette, answer = tape.cassette, AnswerAccumulator()
    named = _as_recorded(settings, cassette)
    loop = ToolLoop((), model_calls=named.max_model_calls, tool_calls=named.max_tool_calls)
    if ask.model is None:
        raise ValueError("a run needs a model")
    agent = CmwAgent(loop, owner=cassette.header["owner"], model=ask.model, instructions="")

    def take(event: AgentEvent) -> None:
        answer.add(storable(event))

    began = time.perf_counter()
    replayed = Replayed(cassette)
    try:
        reason = await _unless_over(tape, agent.run(messages_of(cassette), take, ask))
        if reason is not None and reason != "stop":
            replayed.error = f"it ended with {reason}"
    except OffCassetteError:
        replayed.error = "the recording has no more"
    except StartupError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a model's client or an agent raises)
        replayed.error = describe_exception(error)
    replayed.seconds = time.perf_counter() - began
    replayed.text, replayed.thinking, replayed.tokens = answer.text, answer.thinking, answer.tokens
    return replayed


async def _unless_over(tape: ReplayTape, run: Any) -> FinishReason | None:
    """Return how a run ended; None where it was stopped, as its recording was."""
    task, over = asyncio.ensure_future(run), asyncio.ensure_future(tape.over.wait())
    try:
        await asyncio.wait([task, over], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            reason: FinishReason = task.result()
            return reason
        return None
    finally:
        for each in (task, over):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await asyncio.gather(task, over, return_exceptions=True)


def messages_of(cassette: Cassette) -> list[HistoryMessage]:
    """Return the conversation that a turn began with."""
    return [
        HistoryMessage(each["role"], each["content"], each["fields"])
        for each in cassette.given["messages"]
    ]


def _compare(replayed: Replayed, tape: ReplayTape) -> None:
    """Note all differences of a replay: of its requests first, then of its answer."""
    cassette, recorded = tape.cassette, tape.cassette.answer
    tape.unasked()
    found = list(tape.differences)
    replayed.requests = len(cassette.exchanges) + len(cassette.asks)
    if not cassette.left_out:  # the rest of such a recording is not known
        has_failed, had_failed = replayed.error is not None, recorded["outcome"] != "complete"
        texts = [
            of_texts("the answer", recorded["text"], replayed.text),
            of_texts("the thoughts", recorded["thinking"], replayed.thinking),
            None
            if has_failed == had_failed or tape.over.is_set()
            else of_values("how it ended", recorded["outcome"], replayed.error or "complete"),
        ]
        found += [each for each in texts if each is not None]
    replayed.differences = found
    if recorded["outcome"] != "complete":
        replayed.error = None


def _as_recorded(settings: Settings, cassette: Cassette) -> Settings:
    """Return settings with those that the recording names."""
    return settings.model_copy(update=dict(cassette.header["settings"]))

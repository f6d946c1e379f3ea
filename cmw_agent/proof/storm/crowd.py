"""Users who talk at once, each with canaries of their own, and users under one id."""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any

from cmw_agent.proof.storm.channels import CROWD, EQUAL, ID_LENGTH, Channel, Chat
from cmw_agent.proof.storm.errors import AnswerRefusedError, TargetError
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.phrases import GREETING, RECALL, statement
from cmw_agent.proof.storm.visitors import Entrance, Plan, Progress, Visitor, all_at_once

EQUALS = 3  # people under one id
EQUAL_SECONDS = 6.0  # for an answer to one of them
PAUSES = (0.1, 0.5, 2.0)  # seconds, after an answer that was refused
HAPPENINGS = ("talk", "talk", "reload", "cut", "tab", "upload")


async def talk(
    entrance: Entrance, channels: Sequence[Channel], plan: Plan, progress: Progress
) -> None:
    """Let users talk at once, in rounds that they begin together.

    Args:
        entrance: Lets them in.
        channels: How they reach the target; they are dealt to them in turn.
        plan: How many they are, and how much they say.
        progress: Called with a line of text at each step.
    """
    evidence, order = entrance.evidence, random.Random(plan.seed)  # noqa: S311 (repeatable)
    async with contextlib.AsyncExitStack() as stack:
        crowd = [
            await entrance.enter(stack, channels[n % len(channels)], "user", n // len(channels))
            for n in range(plan.users)
        ]
        await all_at_once(crowd, lambda each: each.chat.open(CROWD))
        await all_at_once(crowd, lambda each: _said(each.chat, GREETING))
        for turn in range(1, plan.turns + 1):
            progress(f"{plan.users} users at once, turn {turn} of {plan.turns}")
            happenings = [HAPPENINGS[(n + turn) % len(HAPPENINGS)] for n in range(plan.users)]
            order.shuffle(happenings)
            await _turn(evidence, crowd, turn, happenings)
        progress("all ask the same")
        # The first one alone, so that what keeps answers by their questions has one to give away.
        for some in (crowd[:1], crowd[1:]):
            await all_at_once(some, lambda each: _said(each.chat, RECALL))
        await all_at_once(crowd, lambda each: each.chat.look_back(CROWD))


async def share_an_id(entrance: Entrance, channel: Channel, progress: Progress) -> None:
    """Let different people choose the same session id.

    Args:
        entrance: Lets them in.
        channel: How they reach the target.
        progress: Called with a line of text at each step.
    """
    count = min(EQUALS, channel.callers or EQUALS)
    # As long as Gradio's; a new one, because the same callers may have used another before.
    session = secrets.token_hex(6)[:ID_LENGTH]
    progress(f"{channel.name}: {count} users choose the same id")
    async with contextlib.AsyncExitStack() as stack:
        crowd = [
            await entrance.enter(stack, channel, "user", n, session=session) for n in range(count)
        ]

        async def speak(each: Visitor) -> None:
            canary = entrance.evidence.canary(each.person, answered=False)
            await _soon(entrance, each.chat.say(statement(1, canary), EQUAL))

        await all_at_once(crowd, lambda each: _soon(entrance, each.chat.open(EQUAL)))
        for _ in range(2):
            await all_at_once(crowd, speak)
        await all_at_once(crowd, lambda each: _soon(entrance, each.chat.say(RECALL, EQUAL)))


async def _soon(entrance: Entrance, act: Coroutine[Any, Any, None]) -> None:
    """Wait no longer than the patience of strangers: who has one id takes the other's answers."""
    try:
        async with asyncio.timeout(entrance.soon(EQUAL_SECONDS)):
            await act
    except TimeoutError:
        raise TargetError("no answer came under an id that others use too") from None


async def _turn(
    evidence: Evidence, crowd: Sequence[Visitor], turn: int, happenings: Sequence[str]
) -> None:
    by_visitor = dict(zip(crowd, happenings, strict=True))
    await all_at_once(crowd, lambda each: _act(evidence, each, turn, by_visitor[each]))


async def _act(evidence: Evidence, each: Visitor, turn: int, happening: str) -> None:
    person = each.person
    match happening:
        case "reload":
            await each.reload(CROWD)
        case "cut":
            canary = evidence.canary(person, answered=False)
            await each.chat.cut(statement(turn, canary), CROWD)
        case "upload":
            name, content = (evidence.canary(person, answered=False) for _ in range(2))
            await each.chat.upload(f"{name}.txt", f"{content}\n".encode(), CROWD)
        case "tab":
            await asyncio.gather(
                _say(evidence, each, each.chat, turn), _in_a_second_tab(evidence, each, turn)
            )
            return
    await _say(evidence, each, each.chat, turn)


async def _say(evidence: Evidence, each: Visitor, chat: Chat, turn: int) -> None:
    canary = evidence.canary(each.person)
    await _said(chat, statement(turn, canary))


async def _said(chat: Chat, text: str) -> None:
    """Send a message, and again where the target was busy, as after an answer that was stopped."""
    for pause in PAUSES:
        with contextlib.suppress(AnswerRefusedError):
            await chat.say(text, CROWD)
            return
        await asyncio.sleep(pause)
    await chat.say(text, CROWD)


async def _in_a_second_tab(evidence: Evidence, each: Visitor, turn: int) -> None:
    tab = each.channel.chat(each.wire)
    try:
        await tab.open(CROWD)
        await _say(evidence, each, tab, turn)
    finally:
        await tab.close()

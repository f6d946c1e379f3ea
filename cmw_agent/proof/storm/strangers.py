"""Strangers, who know a user's session hash or ids and try what can be had with them."""

import asyncio
import contextlib

from cmw_agent.proof.storm.channels import CROWD, Attack, Channel
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.phrases import statement
from cmw_agent.proof.storm.visitors import Entrance, Progress, Visitor, record_trouble

ATTACK_SECONDS = 6.0  # for one thing that a stranger tries
TRIES = 5  # to end an answer, as each is a race against an app that may have answered already


async def try_all(entrance: Entrance, channel: Channel, progress: Progress) -> None:
    """Let strangers with cookies and without try each attack on a victim of their own.

    Args:
        entrance: Lets people in.
        channel: How they reach the target.
        progress: Called with a line of text at each step.
    """
    for attack in channel.attacks:
        for cookies in (True, False) if channel.keeps_cookies else (True,):
            without = "" if cookies else ", without cookies"
            progress(f"{channel.name}: a stranger {attack.name}{without}")
            async with contextlib.AsyncExitStack() as stack:
                victim = await entrance.enter(stack, channel, "user", 0)
                stranger = await entrance.enter(stack, channel, "stranger", 1, cookies=cookies)
                with record_trouble(victim.person):
                    await _settle(entrance, victim)
                    await _attack(entrance, attack, victim, stranger)


async def _settle(entrance: Entrance, victim: Visitor) -> None:
    evidence, person = entrance.evidence, victim.person
    await victim.chat.open(CROWD)
    await victim.chat.say(statement(1, evidence.canary(person)), CROWD)
    content = evidence.canary(person, answered=False)
    await victim.chat.upload("note.txt", f"{content}\n".encode(), CROWD)
    await victim.chat.look_back(CROWD)


async def _attack(entrance: Entrance, attack: Attack, victim: Visitor, stranger: Visitor) -> None:
    with contextlib.suppress(TargetError):
        await stranger.chat.open(attack.name)
    if not attack.during:
        await _tried(entrance, attack, victim, stranger)
        return
    for _ in range(TRIES if attack.ends else 1):
        if await _answer_ended(entrance, attack, victim, stranger):
            return


async def _answer_ended(
    entrance: Entrance, attack: Attack, victim: Visitor, stranger: Visitor
) -> bool:
    """Try an attack while the victim's answer is on its way.

    Returns whether another try is needless: the answer ended before its words had come.
    """
    evidence = entrance.evidence
    canary = evidence.canary(victim.person, answered=False)
    await victim.chat.begin(statement(2, canary), CROWD)
    await _tried(entrance, attack, victim, stranger)
    # The stranger may have taken the answer, or ended it.
    with contextlib.suppress(TargetError, TimeoutError):
        async with asyncio.timeout(entrance.soon(ATTACK_SECONDS)):
            await victim.chat.finish(CROWD)
    if not attack.ends or canary in victim.person.heard:
        return False
    # It was the stranger's doing only where the same works without a stranger.
    second = evidence.canary(victim.person)
    await victim.chat.say(statement(2, second), CROWD)
    if second in victim.person.heard:
        evidence.disturbed(stranger.person, victim.person, attack.name)
    return True


async def _tried(entrance: Entrance, attack: Attack, victim: Visitor, stranger: Visitor) -> None:
    with contextlib.suppress(TargetError, TimeoutError):
        async with asyncio.timeout(entrance.soon(ATTACK_SECONDS)):
            await stranger.chat.attack(attack, victim.chat)

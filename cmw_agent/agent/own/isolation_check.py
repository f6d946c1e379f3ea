"""Runs an operator's agent for several users at once and looks whether it mixes them.

All users write in a conversation of the same id, so that whoever keys by it alone is found. Each
user has canaries: random texts of their own, in the owner's id and in their messages. The check
reads each event of each run and looks for canaries of others; then it walks through the objects of
the agent and of its modules and names those that hold texts of more than one user.
"""

import asyncio
import secrets
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmw_agent.agent.own.held_texts import Holder, holders
from cmw_agent.agent.tool_loop import AgentRunner, RunContext
from cmw_agent.core.events import AgentEvent, EventSink, ToolAccount
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.tools.approvals import Decision

CONVERSATION = "conversation"
FEWEST, MOST = 2, 20  # users
TURNS = 3
SECONDS = 120.0  # for one answer
FIRST = "Hello, who am I?"  # the same for all users, so that a cache keyed by the text is found
OWN_PACKAGES = ("cmw_agent", "memory")
NOT_HELD = (
    "no object of the agent's modules holds texts of two users any more: look for values that are "
    "set before an await and read after it"
)


@dataclass(slots=True)
class _User:
    """One of the check's users."""

    number: int
    owner: str
    canaries: list[str]
    history: list[HistoryMessage] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    error: str | None = None

    def needed(self, name: str, *, changes: bool) -> bool:
        """Whether a call needs approval: each that changes something (`ApprovalGate`)."""
        return changes

    async def ask(
        self,
        call_id: str,
        name: str,
        arguments: Mapping[str, Any],
        emit: EventSink,
        account: ToolAccount | None = None,
    ) -> Decision:
        """Approve a call, and answer a question with a canary of the user's own (`ApprovalGate`)."""
        given = dict(arguments)
        self.received.append(f"{name} {given}")
        if "answer" in given:
            given["answer"] = self._word()
        return Decision("approved", given)

    def _word(self) -> str:
        canary = f"canary{secrets.token_hex(8)}"
        self.canaries.append(canary)
        return canary

    def message(self, turn: int) -> str:
        """Return the user's next message: the first is everybody's, the others hold a canary."""
        return FIRST if turn == 0 else f"Message {turn} of {self._word()}, please answer."


@dataclass(frozen=True, slots=True)
class Leak:
    """Texts of one user in an answer to another.

    Attributes:
        reader: Number of the user who got it.
        source: Number of the user whose text it was.
    """

    reader: int
    source: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found.

    Attributes:
        users: How many there were.
        answers: How many answers were read.
        characters: How many characters of events were read.
        leaks: Who got whose texts, each pair once.
        holders: The objects that hold texts of more than one user.
        failures: Why runs failed, each reason once.
    """

    users: int
    answers: int
    characters: int
    leaks: tuple[Leak, ...]
    holders: tuple[Holder, ...]
    failures: tuple[str, ...]

    @property
    def code(self) -> int:
        """The exit code: 0 clean, 1 mixed, 2 where no run could be read."""
        if self.leaks:
            return 1
        return 2 if self.failures else 0

    @property
    def text(self) -> str:
        """The verdict for people."""
        read = f"{self.users} users at once, {self.answers} answers, {self.characters:,} characters"
        if not self.leaks:
            failed = [f"a run failed: {reason}" for reason in self.failures]
            return "\n".join([read, *(failed or ["nothing of one user reached another"])])
        pairs = [f"user {leak.reader} got a text of user {leak.source}" for leak in self.leaks[:10]]
        more = [f"… and {len(self.leaks) - 10} more"] if len(self.leaks) > 10 else []
        held = [f"held by {holder}" for holder in self.holders] or [NOT_HELD]
        return "\n".join([read, *pairs, *more, *held])


async def check_isolation(runner: AgentRunner, subject: object, users: int = 5) -> Verdict:
    """Return whether an agent mixes its users.

    Args:
        runner: Runs it.
        subject: The agent itself, whose objects are walked through.
        users: How many write at once, 2 to 20.
    """
    crowd = [
        _User(number, owner, [owner])
        for number in range(1, max(FEWEST, min(users, MOST)) + 1)
        if (owner := f"owner{secrets.token_hex(8)}")
    ]
    for turn in range(TURNS):
        await asyncio.gather(*(_turn(runner, user, turn) for user in crowd))
    leaks = tuple(dict.fromkeys(_leaks(crowd)))
    by_user = [frozenset(user.canaries) for user in crowd]
    held = holders([("the agent", subject), *_modules()], by_user) if leaks else ()
    return Verdict(
        len(crowd),
        sum(not user.error for user in crowd) * TURNS,
        sum(len(text) for user in crowd for text in user.received),
        leaks,
        tuple(held),
        tuple(dict.fromkeys(user.error for user in crowd if user.error)),
    )


async def _turn(runner: AgentRunner, user: _User, turn: int) -> None:
    user.history.append(HistoryMessage("user", user.message(turn)))
    answer: list[str] = []

    def emit(event: AgentEvent) -> None:
        user.received.append(repr(event))
        answer.append(str(getattr(event, "text", "")))

    context = RunContext(
        user.owner,
        _NoModel(),  # type: ignore[arg-type]  # an own agent asks models of its own
        "",
        RunEvents(emit),
        gate=user,
        conversation_id=CONVERSATION,
        request_id=secrets.token_hex(8),
    )
    try:
        async with asyncio.timeout(SECONDS):
            await runner.run(context, tuple(user.history))
    except Exception as error:  # noqa: BLE001 (whatever the operator's code raises)
        cause = error.__cause__ or error
        user.error = f"{type(cause).__name__}: {cause}"
    user.history.append(HistoryMessage("assistant", "".join(answer) or "-"))


class _NoModel:
    """Stands where the built-in loop has its model."""


def _leaks(crowd: Sequence[_User]) -> Iterator[Leak]:
    for reader in crowd:
        received = "\n".join(reader.received)
        for source in crowd:
            if source is not reader and any(canary in received for canary in source.canaries):
                yield Leak(reader.number, source.number)


def _modules() -> list[tuple[str, dict[str, Any]]]:
    """Return the variables of all modules that are neither installed packages nor the app's own."""
    installed = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        is_app = name.partition(".")[0] in OWN_PACKAGES
        if path and not is_app and not str(path).startswith(installed):
            found.append((name, vars(module)))
    return found

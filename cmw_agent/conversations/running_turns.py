"""RunningTurns: the turns that run in this process, by owner and conversation."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from cmw_agent.identity.principals import Principal


class RunningTurn(Protocol):
    """A turn that runs, as far as `RunningTurns` needs it."""

    @property
    def key(self) -> str:
        """The turn's idempotency key."""

    def stop(self) -> None:
        """Stop the turn; its partial answer is stored."""

    async def ended(self) -> None:
        """Wait until the turn is stored."""


class RunningTurns:
    """The turns of one process, at most one in each conversation of an owner.

    A turn belongs to its conversation: it is here as long as it runs, whatever pages show it. The
    budget of turns bounds their number.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], tuple[Principal, RunningTurn]] = {}
        self._keys: dict[RunningTurn, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def find(self, owner: str, conversation: str) -> RunningTurn | None:
        """Return the turn that runs in a conversation of this owner, if any."""
        entry = self._turns.get((owner, conversation))
        return entry[1] if entry is not None else None

    def add(self, principal: Principal, conversation: str, turn: RunningTurn) -> None:
        """Add the turn that a principal has begun in a conversation where none runs."""
        key = self._keys[turn] = principal.id, conversation
        self._turns[key] = principal, turn

    def remove(self, turn: RunningTurn) -> None:
        """Remove a turn that has ended; one that is not here changes nothing."""
        if (key := self._keys.pop(turn, None)) is not None:
            del self._turns[key]

    async def stop(self, owner: str, conversation: str | None = None) -> None:
        """Stop the owner's turns, of one conversation or all; return when they are stored."""
        await _stop(
            turn
            for (owner_id, conversation_id), (_, turn) in self._turns.items()
            if owner_id == owner and conversation in (None, conversation_id)
        )

    async def stop_login(self, principal: Principal) -> None:
        """Stop the turns that a principal began, those of an account's one login; as `stop`."""
        await _stop(
            turn
            for beginner, turn in self._turns.values()
            if beginner == principal and beginner.login == principal.login
        )

    async def ended(self, owner: str) -> None:
        """Wait until the owner's turns have ended by themselves and are stored."""
        while turns := [turn for beginner, turn in self._turns.values() if beginner.id == owner]:
            await asyncio.gather(*(turn.ended() for turn in turns))


async def _stop(running: Iterable[RunningTurn]) -> None:
    turns = list(running)
    for turn in turns:
        turn.stop()
    await asyncio.gather(*(turn.ended() for turn in turns))

"""Has the events of several turns happen in one order: as they were recorded, or by a seed."""

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby

from cmw_agent.proof.replay.cassette import Cassette

SETTLE = 200  # turns of the event loop in which what an event sets going comes to its next event
PATIENCE = 30.0  # seconds for which the next event is waited for


class LeftTheRecordingError(Exception):
    """An event that comes next in the recording does not come."""


class Order:
    """Lets events through one by one. After each, code runs until it waits for the next one.

    Args:
        seqs: Their places in the recording, in the order in which they are to happen.
        patience: Seconds for which an event is waited for; None for as long as it takes.
    """

    def __init__(self, seqs: Sequence[int], patience: float | None = PATIENCE) -> None:
        self._left = deque(seqs)
        self._known = set(seqs)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._came = asyncio.Event()
        self._patience = patience

    async def reach(self, seq: int) -> None:
        """Wait until it is an event's turn; one that is not in the order happens at once."""
        if seq not in self._known:
            return
        waiter = self._waiting[seq] = asyncio.get_running_loop().create_future()
        self._came.set()
        await waiter

    def leave(self, seqs: Iterable[int]) -> None:
        """Take out events that will not come any more."""
        self._known -= set(seqs)
        self._came.set()

    async def run(self) -> None:
        """Let the events through until none is left.

        Raises:
            LeftTheRecordingError: The next one does not come.
        """
        while self._left:
            seq = self._left.popleft()
            if not await self._is_there(seq):
                continue
            self._known.discard(seq)
            waiter = self._waiting.pop(seq)
            if not waiter.done():
                waiter.set_result(None)
            for _ in range(SETTLE):
                await asyncio.sleep(0)

    async def _is_there(self, seq: int) -> bool:
        """Wait for an event; return False where it will not come."""
        try:
            async with asyncio.timeout(self._patience):
                while seq in self._known:
                    if seq in self._waiting:
                        return True
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise LeftTheRecordingError(
                f"event {seq} of the recording did not come within {self._patience} s"
            ) from None
        return False


def events_of(cassette: Cassette) -> list[int]:
    """Return the places of a turn's events that are waited for, in their order."""
    seqs = [cassette.given["seq"]]
    for exchange in cassette.exchanges:
        seqs += [exchange.seq, *(part.seq for part in exchange.parts)]
    for call in cassette.calls:
        seqs += [call.seq, *([call.result["seq"]] if call.result is not None else [])]
    for ask in cassette.asks:
        seqs += [ask.seq, *(piece["seq"] for piece in ask.pieces)]
    return sorted(seqs)


def recorded_order(cassettes: Sequence[Cassette]) -> list[int]:
    """Return all events of turns as they were recorded."""
    return sorted(seq for cassette in cassettes for seq in events_of(cassette))


def shuffled_order(cassettes: Sequence[Cassette], seed: int) -> list[int]:
    """Return all events in an order by a seed; those of one conversation stay in theirs."""

    def conversation(cassette: Cassette) -> tuple[str, str]:
        return cassette.header["owner"], cassette.header["conversation"]

    streams = [
        deque(recorded_order(list(turns)))
        for _, turns in groupby(sorted(cassettes, key=conversation), key=conversation)
    ]
    chooser, order = random.Random(seed), []  # noqa: S311 (no secret)
    # Some races need many changes between users, some a single one at the right place.
    restlessness = chooser.choice((0.0, 0.1, 0.3, 1.0))
    stream: deque[int] = deque()
    while streams := [each for each in streams if each]:
        if not stream or chooser.random() < restlessness:
            [stream] = chooser.choices(streams, weights=[len(each) for each in streams])
        order.append(stream.popleft())
    return order

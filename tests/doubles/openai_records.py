"""Records the requests of the OpenAI double, for oracles to read and tests to wait for."""

import asyncio
from collections import deque
from collections.abc import Callable

from tests.doubles.openai_steps import Request
from tests.doubles.waiting import WAIT


class Records:
    """The requests of one endpoint.

    `request_count` and `aborted_count` count all chat completions since the start.

    Args:
        keep: The largest number of recorded requests of each kind; the oldest are dropped first.
    """

    def __init__(self, keep: int) -> None:
        self.request_count = 0
        self.aborted_count = 0
        self._chats: deque[Request] = deque(maxlen=keep)
        self._others: deque[Request] = deque(maxlen=keep)
        self._open: set[Request] = set()
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def requests(self) -> list[Request]:
        """The chat completion requests, in the order of their arrival."""
        return list(self._chats)

    @property
    def other_requests(self) -> list[Request]:
        """All other requests, such as for the list of models."""
        return list(self._others)

    @property
    def open_streams(self) -> int:
        """The number of chat completions that are being answered."""
        return len(self._open)

    def matching(self, key: str) -> list[Request]:
        """Return the recorded chat completion requests whose last user message contains `key`."""
        return [request for request in self._chats if key in request.last_user]

    def release(self, key: str) -> int:
        """Open one gate of each running request whose last user message contains `key`.

        A request that has arrived but not reached its gate counts too.

        Returns:
            The number of these requests; 0 usually means that the test must await `wait_held` first.
        """
        released = [r for r in self._open if r.gated and key in r.last_user]
        for request in released:
            request.held = False  # at once, so that `wait_held` means the next gate
            request.gate.release()
        return len(released)

    def release_all(self) -> int:
        """Open one gate of each running request that has any; return their number."""
        return self.release("")

    async def wait_until(
        self, condition: Callable[[], bool], within: float = WAIT, what: str = "condition"
    ) -> None:
        """Wait until `condition` holds; it is evaluated after each change of a request.

        Raises:
            TimeoutError: It does not hold within `within` seconds; the text names the state.
        """
        try:
            async with asyncio.timeout(within):
                while not condition():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            raise TimeoutError(
                f"no {what} within {within} s: {self.request_count} requests, "
                f"{self.open_streams} open, {self.aborted_count} aborted"
            ) from None

    async def wait_requests(self, count: int, within: float = WAIT) -> None:
        """Wait until `count` chat completion requests have arrived since the start."""
        await self.wait_until(lambda: self.request_count >= count, within, f"{count} requests")

    async def wait_aborted(self, count: int, within: float = WAIT) -> None:
        """Wait until clients have aborted `count` answers since the start."""
        await self.wait_until(lambda: self.aborted_count >= count, within, f"{count} aborts")

    async def wait_idle(self, within: float = WAIT) -> None:
        """Wait until no answer is being written."""
        await self.wait_until(lambda: not self._open, within, "rest")

    async def wait_held(self, key: str = "", count: int = 1, within: float = WAIT) -> None:
        """Wait until `count` requests with `key` in the last user message wait at a gate."""
        await self.wait_until(
            lambda: sum(r.held and key in r.last_user for r in self._open) >= count,
            within,
            f"{count} requests held for {key!r}",
        )

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _arrived(self, request: Request, *, chat: bool) -> None:
        (self._chats if chat else self._others).append(request)
        if chat:
            self.request_count += 1
            self._open.add(request)
        self._changed()

    def _settled(self, request: Request) -> None:
        request.held = False
        if request in self._open:
            self._open.discard(request)
            self.aborted_count += request.aborted
        self._changed()

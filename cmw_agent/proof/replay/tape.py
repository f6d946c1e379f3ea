"""What answers in a replay in place of models: the cassette, part by part as it was recorded."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import aiohttp
from pydantic import SecretStr
from yarl import URL

from cmw_agent.llm.endpoint import Endpoint
from cmw_agent.llm.errors import (
    CertificateError,
    NotAStreamError,
    StreamCutError,
    StreamSilentError,
    UnreachableError,
    UpstreamError,
    WrongAddressError,
)
from cmw_agent.proof.replay.cassette import Cassette, Part, RecordedExchange
from cmw_agent.proof.replay.differences import Difference, of_requests, of_values
from cmw_agent.proof.replay.order import Order
from cmw_agent.recording.tape import Exchange, Json, Pieces

FAILURES: Mapping[str, type[UpstreamError]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            *(CertificateError, NotAStreamError, StreamCutError, StreamSilentError),
            *(UnreachableError, WrongAddressError),
        )
    }
)


class OffCassetteError(Exception):
    """The run asks a model once more than its recording did."""


class ReplayTape:
    """One turn's cassette, as its replay uses it up.

    Args:
        cassette: The turn.
        order: When each event happens among those of other turns; None for as it comes.
        is_timed: Whether parts come as long after the beginning as they did.

    Attributes:
        differences: Where the run asked otherwise than its recording, in their order.
        over: Set where the recording ends before its answer does: its user had stopped it.
    """

    def __init__(self, cassette: Cassette, order: Order | None, *, is_timed: bool) -> None:
        self.cassette = cassette
        self.differences: list[Difference] = []
        self.over = asyncio.Event()
        self._order = order
        self._is_timed = is_timed
        self._exchanges = deque(cassette.exchanges)
        self._asks = deque(cassette.asks)
        self._begun = 0.0
        self._number = 0

    async def begin(self) -> None:
        """Wait for the turn's first event."""
        await self.reach(self.cassette.given["seq"], 0.0)
        self._begun = asyncio.get_running_loop().time() - self.cassette.given["seconds"]

    async def reach(self, seq: int, seconds: float) -> None:
        """Wait for an event's time and its place in the order."""
        if self._is_timed and seconds:
            await asyncio.sleep(self._begun + seconds - asyncio.get_running_loop().time())
        if self._order is not None:
            await self._order.reach(seq)

    async def end(self) -> None:
        """Wait where the recording has nothing more: the run is ended, or its own time-out ends."""
        if self.cassette.was_stopped or self.cassette.left_out:
            self.over.set()
        await asyncio.Event().wait()

    async def exchange(self, body: bytes) -> RecordedExchange:
        """Return what answers a request; note how that differs from the recorded one.

        Raises:
            OffCassetteError: No further request was recorded.
        """
        self._number += 1
        if not self._exchanges:
            if self.cassette.left_out:
                await self.end()
            self._note(Difference(f"request {self._number} is not on the cassette", ""))
            raise OffCassetteError
        exchange = self._exchanges.popleft()
        self._note(of_requests(self._number, exchange.body, body))
        await self.reach(exchange.seq, exchange.seconds)
        return exchange

    def unasked(self) -> None:
        """Note the recorded requests that the run did not make."""
        if self._exchanges:
            self._note(Difference(f"request {self._number + 1} was not made", ""))
        if self._asks:
            self._note(Difference("the agent's model or tools were called less often", ""))

    def given(
        self, instructions: str, summary: str, messages: Sequence[Any], tools: Sequence[Json]
    ) -> None:
        """Take what the run begins with: it is the recording's."""

    def request(self, model: str, left_out: Sequence[str], body: bytes) -> Exchange | None:
        """Take a request: `CassetteEndpoint` answers it, and nothing records the reply."""
        return None

    def tool_started(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """Take a call that begins: its toolset answers it."""

    def tool_finished(self, call_id: str, text: str, *, ok: bool, link: str | None) -> None:
        """Take the result of a call."""

    async def pieces(self, request: Json, live: Pieces) -> AsyncIterator[Json]:
        """Yield what the agent's own model answered; it is not asked."""
        if not self._asks:
            self._note(Difference(f"{_subject(request)} once more than recorded", ""))
            raise OffCassetteError
        ask = self._asks.popleft()
        self._note(of_values(_subject(request), ask.request, request))
        await self.reach(ask.seq, 0.0)
        for piece in ask.pieces:
            await self.reach(piece["seq"], piece["seconds"])
            yield piece["piece"]
        if ask.ended is None:
            await self.end()

    def _note(self, difference: Difference | None) -> None:
        if difference is not None:
            self.differences.append(difference)


class CassetteEndpoint(Endpoint):
    """Stands in for a model's endpoint: the client above it is the app's own.

    Args:
        tape: The turn's.
    """

    def __init__(self, tape: ReplayTape) -> None:
        self._tape = tape
        self._base = URL("http://cassette.invalid/v1")
        self.headers = {}
        self.secrets = []

    async def post(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        make_body: Callable[[], Any],
        *,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        visitor_key: SecretStr | None = None,
    ) -> aiohttp.ClientResponse:
        """Return the recorded response to a request; see `Endpoint.post`."""
        exchange = await self._tape.exchange(make_body())
        if exchange.status is None:
            if not exchange.parts:
                await self._tape.end()
            [part] = exchange.parts
            await self._tape.reach(part.seq, part.seconds)
            raise FAILURES.get(part.error or "", UpstreamError)
        return cast("aiohttp.ClientResponse", RecordedResponse(exchange, self._tape))


class RecordedResponse:
    """What the app's client uses of aiohttp's response.

    Args:
        exchange: The request and its reply.
        tape: The turn's.
    """

    connection = None

    def __init__(self, exchange: RecordedExchange, tape: ReplayTape) -> None:
        self.status = exchange.status
        self.headers = exchange.headers
        self.content = RecordedContent(exchange.parts, tape, is_whole=exchange.status != 200)

    def close(self) -> None:
        """Close nothing."""

    def release(self) -> None:
        """Release nothing."""


class RecordedContent:
    """What the app's client uses of aiohttp's stream: each read gives what a recorded read gave.

    Args:
        parts: What came.
        tape: The turn's.
        is_whole: Whether nothing follows the parts, as behind an error's body.
    """

    def __init__(self, parts: Sequence[Part], tape: ReplayTape, *, is_whole: bool) -> None:
        self._parts = deque(parts)
        self._tape = tape
        self._is_whole = is_whole

    async def readany(self) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            aiohttp.ClientError: The reply broke here.
        """
        if not self._parts:
            if self._is_whole:
                return b""
            await self._tape.end()
        part = self._parts.popleft()
        await self._tape.reach(part.seq, part.seconds)
        if part.error == StreamSilentError.kind:
            raise aiohttp.SocketTimeoutError
        if part.error is not None:
            raise aiohttp.ClientPayloadError
        return part.data

    def exception(self) -> None:
        """Return no error: errors are raised by `readany`."""

    def set_exception(self, error: BaseException | None) -> None:
        """Take no error."""

    def read_nowait(self) -> bytes:
        """Return nothing: what came before an error was returned."""
        return b""


def _subject(request: Json) -> str:
    """Return what an own model's or tool's call is called in differences."""
    is_tool = "tool" in request
    return f"a call of the tool {request['tool']}" if is_tool else "a request to the agent's model"

"""What one turn leaves on its cassette while it runs: records in memory, written at its end."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

VERSION = 1  # of the cassettes' form
# Header fields of a reply that decide what the client does next; no other is recorded.
HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")

Json = Any
Pieces = Callable[[], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a cassette.

    Attributes:
        seq: Its sequence number among all records of the process.
        seconds: When it was made, after the turn began.
        kind: What it tells.
        fields: The rest; bytes become text when they are written.
    """

    seq: int
    seconds: float
    kind: str
    fields: Mapping[str, Any] = field(repr=False)


class Exchange:
    """One request to a model's server, and what came of it.

    Args:
        tape: The turn's.
        number: Its number in the turn, from 1.
    """

    __slots__ = ("_number", "_tape")

    def __init__(self, tape: "TurnTape", number: int) -> None:
        self._tape = tape
        self._number = number

    def opened(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the status of the reply, and the header fields that matter."""
        recorded = {name: headers[name] for name in HEADERS if name in headers}
        self._tape.note("opened", 100, exchange=self._number, status=status, headers=recorded)

    def received(self, data: bytes) -> None:
        """Record bytes of the reply as they came; none are its end."""
        self._tape.note("bytes", len(data), exchange=self._number, data=data)

    def failed(self, error: str) -> None:
        """Record that the request or its reply failed, by the kind of the failure."""
        self._tape.note("failed", 100, exchange=self._number, error=error)


class RunTape(Protocol):
    """What a run tells of itself, to be recorded or to be compared with a recording."""

    def given(
        self, instructions: str, summary: str, messages: Sequence[Any], tools: Sequence[Json]
    ) -> None:
        """Take what the run begins with.

        Args:
            instructions: The system prompt.
            summary: What was said before the messages.
            messages: The conversation, as `cmw_agent.llm.chat_model.HistoryMessage`.
            tools: The tools that are offered, as they are sent to models.
        """

    def request(self, model: str, left_out: Sequence[str], body: bytes) -> Exchange | None:
        """Take a request to a model's server; return what takes the reply.

        Args:
            model: The model's name at its endpoint.
            left_out: What the endpoint is known to refuse.
            body: The request's bytes.
        """

    def tool_started(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """Take a call that begins."""

    def tool_finished(self, call_id: str, text: str, *, ok: bool, link: str | None) -> None:
        """Take the result of a call."""

    def pieces(self, request: Json, live: Pieces) -> AsyncIterator[Json]:
        """Yield the pieces of an own model's answer.

        Args:
            request: What the model is asked.
            live: Asks the model, where it is asked.
        """


class TurnTape:
    """Records one turn of one owner.

    Args:
        owner: Whose turn it is.
        next_seq: Returns the next sequence number among all records of the process.
        max_bytes: Of records, about; what comes later is left out, and counted.
        clock: Returns a time in seconds.

    Raises:
        ValueError: The owner is empty.
    """

    def __init__(
        self,
        owner: str,
        next_seq: Callable[[], int],
        max_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not owner:
            raise ValueError("a recording needs an owner")
        self.owner = owner
        self.records: list[Record] = []
        self.left_out = 0  # records for which there was no room
        self.has_begun = False  # the run has; there is nothing to replay otherwise
        self._next_seq = next_seq
        self._room = max_bytes
        self._clock = clock
        self._begun = clock()
        self._exchanges = self._asks = 0

    def note(self, kind: str, size: int, **fields: Any) -> None:
        """Add a record of about `size` bytes, while there is room."""
        if self.left_out or size > self._room:
            self.left_out += 1
            return
        self._room -= size
        self.add(kind, **fields)

    def add(self, kind: str, **fields: Any) -> None:
        """Add a record, whatever room there is."""
        seconds = round(self._clock() - self._begun, 6)
        self.records.append(Record(self._next_seq(), seconds, kind, fields))

    def given(
        self, instructions: str, summary: str, messages: Sequence[Any], tools: Sequence[Json]
    ) -> None:
        """Record what the run begins with; see `RunTape`."""
        contents = [
            {"role": each.role, "content": each.content, "fields": dict(each.fields)}
            for each in messages
        ]
        size = len(instructions) + len(summary) + sum(_size(each["content"]) for each in contents)
        # Without it nothing can be replayed: it is recorded whatever room there is.
        self.has_begun = True
        self._room -= size
        self.add(
            "given",
            instructions=instructions,
            summary=summary,
            messages=contents,
            tools=list(tools),
        )

    def request(self, model: str, left_out: Sequence[str], body: bytes) -> Exchange:
        """Record a request; see `RunTape`."""
        self._exchanges += 1
        number = self._exchanges
        self.note(
            "request", len(body), exchange=number, model=model, left_out=list(left_out), body=body
        )
        return Exchange(self, number)

    def tool_started(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """Record a call that begins."""
        size = len(str(arguments))
        self.note("tool", size, call_id=call_id, name=name, arguments=dict(arguments))

    def tool_finished(self, call_id: str, text: str, *, ok: bool, link: str | None) -> None:
        """Record the result of a call."""
        self.note("result", len(text), call_id=call_id, text=text, ok=ok, link=link)

    async def pieces(self, request: Json, live: Pieces) -> AsyncIterator[Json]:
        """Ask an own model and record what it answers; see `RunTape`."""
        self._asks += 1
        number = self._asks
        self.note("ask", len(str(request)), ask=number, request=request)
        async for piece in live():
            self.note("piece", len(str(piece)), ask=number, piece=piece)
            yield piece
        self.note("told", 100, ask=number)


def _size(content: Any) -> int:
    return len(content) if isinstance(content, str) else len(str(content))

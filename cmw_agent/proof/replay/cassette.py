"""Reads cassettes, and says in one sentence what is wrong with one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from cmw_agent.core.errors import StartupError
from cmw_agent.recording.cassette_file import SUFFIX, chained, data_of
from cmw_agent.recording.tape import VERSION

MAX_BYTES = 2_000_000_000
Line = Mapping[str, Any]
# What replays read of the header, of what the run began with, and of the answer.
NEEDED = MappingProxyType(
    {
        "header": frozenset(
            {
                *("owner", "conversation", "process", "agent", "graph", "uses_model"),
                *("language", "models", "settings"),
            }
        ),
        "given": frozenset({"seq", "seconds", "instructions", "summary", "messages", "tools"}),
        "answer": frozenset(
            {
                *("seconds", "outcome", "finish_reason", "text", "thinking"),
                *("input_tokens", "output_tokens"),
            }
        ),
    }
)


class CassetteError(StartupError):
    """A cassette that cannot be replayed; the message names its file and says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that came of a request, at its position among all records of its process.

    Attributes:
        seq: Its sequence number.
        seconds: When it came, after the turn began.
        data: Bytes of the reply; none are its end.
        error: The kind of failure, in place of bytes.
    """

    seq: int
    seconds: float
    data: bytes = b""
    error: str | None = None


@dataclass(slots=True)
class RecordedExchange:
    """A request to a model's server, and its reply.

    Attributes:
        seq: The request's sequence number.
        seconds: When it was sent.
        model: The model's name at its endpoint.
        left_out: What the endpoint was known to refuse.
        body: The request.
        status: HTTP status of the reply; None where none came.
        headers: The header fields that matter.
        parts: What came, in its order.
    """

    seq: int
    seconds: float
    model: str
    left_out: Sequence[str]
    body: bytes
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class RecordedCall:
    """A tool call.

    Attributes:
        seq: Its sequence number.
        result: Its result's record; None where none came.
    """

    seq: int
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    result: Line | None = None


@dataclass(slots=True)
class RecordedAsk:
    """A request to a model that the agent brings along.

    Attributes:
        seq: Its sequence number.
        pieces: The records of the answer's pieces.
        ended: The sequence number of its end; None where it did not come to one.
    """

    seq: int
    request: Any
    pieces: list[Line] = field(default_factory=list)
    ended: int | None = None


@dataclass(slots=True)
class Cassette:
    """One recorded turn.

    Attributes:
        path: Its file.
        header: The first line.
        given: What the run began with; empty where it never began.
        answer: What came of it.
        left_out: How many records had no room.
    """

    path: Path
    header: Line
    given: Line = field(default_factory=dict)
    answer: Line = field(default_factory=dict)
    exchanges: list[RecordedExchange] = field(default_factory=list)
    calls: list[RecordedCall] = field(default_factory=list)
    asks: list[RecordedAsk] = field(default_factory=list)
    left_out: int = 0

    @property
    def name(self) -> str:
        """What reports call it: its question's number in its conversation, and its file."""
        return self.path.stem

    @property
    def was_stopped(self) -> bool:
        """Whether its user, or its time-out, ended the run: no end of the model's is missing."""
        return self.answer["outcome"] != "complete" and self.answer["finish_reason"] is None

    @property
    def question(self) -> str:
        """The text of the last message."""
        content = self.given["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return " ".join(part.get("text", "[file]") for part in content)


def files_of(path: Path) -> list[Path]:
    """Return the cassettes at a path: a file, or a folder with all below it, by their names.

    Raises:
        StartupError: There is none.
    """
    if path.is_file():
        return [path]
    found = sorted(path.rglob(f"*{SUFFIX}"), key=lambda each: (each.name, str(each)))
    if not found:
        raise StartupError(f"{path}: there is no cassette (*{SUFFIX})")
    return found


def read_cassette(path: Path) -> Cassette:
    """Return the cassette of a file.

    Raises:
        CassetteError: It cannot be read, is of another version, cut, or was changed.
    """
    lines = _verified(path)
    cassette = Cassette(path, next(lines))
    for number, line in enumerate(lines, start=2):
        try:
            _take(cassette, line)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CassetteError(
                f"{path}, line {number}: not what a cassette has ({type(error).__name__})"
            ) from error
    parts = {"header": cassette.header, "given": cassette.given, "answer": cassette.answer}
    for name, part in parts.items():
        if missing := NEEDED[name] - set(part):
            raise CassetteError(f"{path}: its {name} has no {min(missing)}")
    return cassette


def _verified(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a file's lines but the last, once its hash was found to hold."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CassetteError(f"{path} has more than {MAX_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise CassetteError(f"{path} cannot be read ({error.strerror})") from error
    *raw, last = content.split(b"\n")
    first = _object(raw[0] if raw else last)
    if first.get("kind") != "cassette":
        raise CassetteError(f"{path} is no cassette")
    if first.get("version") != VERSION:
        version = str(first.get("version"))[:20]
        raise CassetteError(
            f"{path} is a cassette of version {version}; this app replays version {VERSION}"
        )
    end = _object(raw[-1]) if raw else {}
    if last or end.get("kind") != "end":
        raise CassetteError(f"{path} is cut: it lacks the last line, which holds its hash")
    digest = ""
    for line in raw[:-1]:
        digest = chained(digest, line)
    if digest != end.get("sha256"):
        raise CassetteError(f"{path} was changed: its hash is {digest[:12]}…, not what it says")
    return map(_object, raw[:-1])


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _take(cassette: Cassette, line: dict[str, Any]) -> None:
    match line["kind"]:
        case "given":
            cassette.given = line
        case "answer":
            cassette.answer = line
        case "cut":
            cassette.left_out = line["left_out"]
        case "request" | "opened" | "bytes" | "failed":
            _take_exchange(cassette, line)
        case "tool":
            call = RecordedCall(line["seq"], line["call_id"], line["name"], line["arguments"])
            cassette.calls.append(call)
        case "result":
            found = [each for each in cassette.calls if each.call_id == line["call_id"]]
            found[-1].result = line
        case "ask":
            cassette.asks.append(RecordedAsk(line["seq"], line["request"]))
        case "piece":
            cassette.asks[line["ask"] - 1].pieces.append(line)
        case "told":
            cassette.asks[line["ask"] - 1].ended = line["seq"]
        case other:
            raise ValueError(other)


def _take_exchange(cassette: Cassette, line: dict[str, Any]) -> None:
    if line["kind"] == "request":
        body, model, left_out = data_of(line), line["model"], line["left_out"]
        exchange = RecordedExchange(line["seq"], line["seconds"], model, left_out, body)
        cassette.exchanges.append(exchange)
        return
    exchange = cassette.exchanges[line["exchange"] - 1]
    if line["kind"] == "opened":
        exchange.status, exchange.headers = line["status"], line["headers"]
        return
    data = data_of(line) if line["kind"] == "bytes" else b""
    exchange.parts.append(Part(line["seq"], line["seconds"], data, line.get("error")))

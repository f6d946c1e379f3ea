"""The file of a cassette: JSON Lines, of which the last one holds the hash of all others.

The hash is a chain: that of a line is the SHA-256 of the hash before it and the line's bytes.
"""

import base64
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from cmw_agent.recording.redaction import Redaction
from cmw_agent.recording.tape import VERSION, Record

SUFFIX = ".jsonl"
# Fields of records that hold what people, models and tools wrote.
TEXTS: Mapping[str, tuple[str, ...]] = {
    "given": ("instructions", "summary", "messages"),
    "tool": ("arguments",),
    "result": ("text", "link"),
    "ask": ("request",),
    "answer": ("text", "thinking"),
}


def chained(digest: str, line: bytes) -> str:
    """Return the chain's hash after a line, in hex.

    Args:
        digest: The hash before it; empty before the first line.
        line: The line without its end.
    """
    return hashlib.sha256(digest.encode() + line).hexdigest()


def encode(
    header: Mapping[str, Any],
    records: Sequence[Record],
    redaction: Redaction | None = None,
) -> bytes:
    """Return a cassette's bytes.

    Args:
        header: What stands in the first line beside the form's version.
        records: What follows.
        redaction: Replaces texts; None leaves all as it is.
    """
    if redaction is not None:
        records = _redacted(records, redaction)
    lines = [orjson.dumps({"kind": "cassette", "version": VERSION, **header})]
    for record in records:
        common = {"kind": record.kind, "seq": record.seq, "seconds": record.seconds}
        fields = {name: _text_of(value) for name, value in record.fields.items()}
        lines.append(
            orjson.dumps({**common, **fields}, option=orjson.OPT_NON_STR_KEYS, default=str)
        )
    digest = ""
    for line in lines:
        digest = chained(digest, line)
    lines.append(orjson.dumps({"kind": "end", "sha256": digest}))
    return b"\n".join(lines) + b"\n"


def write(path: Path, content: bytes) -> None:
    """Write a new file that its owner's account alone may read, in folders of the same kind.

    Raises:
        OSError: It cannot be written, or is there.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are not there, for the app's account alone.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def data_of(record: Mapping[str, Any]) -> bytes:
    """Return the bytes that a record of the kind ``bytes`` or ``request`` holds.

    Raises:
        KeyError, TypeError, ValueError: It holds none.
    """
    value = record["body" if record["kind"] == "request" else "data"]
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(value["base64"], validate=True)


def _text_of(value: Any) -> Any:
    """Return bytes as text, or as base64 where they are none; other values as they are."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _redacted(records: Iterable[Record], redaction: Redaction) -> list[Record]:
    redacted: list[Record] = []
    streams: dict[tuple[str, int], list[int]] = defaultdict(list)  # positions of a stream's pieces
    for position, record in enumerate(records):
        fields = dict(record.fields)
        for name in TEXTS.get(record.kind, ()):
            fields[name] = redaction.value(fields[name])
        if record.kind == "request":
            fields["body"] = redaction.json(fields["body"])
        elif record.kind == "bytes":
            streams["data", fields["exchange"]].append(position)
        elif record.kind == "piece":
            streams["piece", fields["ask"]].append(position)
        redacted.append(Record(record.seq, record.seconds, record.kind, fields))
    for (name, _), positions in streams.items():
        values = [redacted[position].fields[name] for position in positions]
        new = redaction.stream(values) if name == "data" else redaction.values(values)
        for position, value in zip(positions, new, strict=True):
            old = redacted[position]
            fields = {**old.fields, name: value}
            redacted[position] = Record(old.seq, old.seconds, old.kind, fields)
    return redacted

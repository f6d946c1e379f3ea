"""Worker process that reads an export file: ``python -m cmw_agent.conversations.importing.worker``.

The file is its standard input, its limits are its argument. It writes one JSON object a line: what
`events` yields. It has no settings and no secrets and enters the sandbox before it reads. The file
may be hostile, so the caller trusts nothing that this process does.
"""

import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import orjson

from cmw_agent.conversations.importing import fingerprint, readers
from cmw_agent.conversations.importing.archive import ExportArchive, MissingFileError
from cmw_agent.conversations.importing.json_splitter import JsonSplitter
from cmw_agent.conversations.importing.records import (
    ImportedConversation,
    ImportedMessage,
    ImportLimits,
    Source,
    UnreadableError,
)
from cmw_agent.files import extraction_worker, sandbox

PART_CHARS = 250_000  # of the messages of one line, beside a longer message's own
PART_MESSAGES = 100
FILE_BYTES = 131_072  # of a file in one line
MAX_REFUSED = 100  # refused conversations that have a line of their own, for each reason
REFUSED_AT_ONCE = 1_000  # further ones that one line counts
HEAD = (
    "title",
    "created_at",
    "updated_at",
    "source_id",
    "agent",
    "is_pinned",
    "is_archived",
    "folder",
    "notes",
)
Event = dict[str, Any]


def main() -> None:
    """Read the file in the sandbox, and write an event a line."""
    job = json.loads(sys.argv[1])
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    extraction_worker.limit_resources(job)
    sys.addaudithook(extraction_worker.forbid)
    try:
        sandbox.enter(extraction_worker.readable_paths())
        source = os.fdopen(0, "rb")
        for event in events(source, ImportLimits(**job["limits"])):
            output.write(orjson.dumps(event) + b"\n")
    except MemoryError:
        output.write(b'{"event":"failed","reason":"memory"}\n')
    except sandbox.SandboxError:
        output.write(b'{"event":"failed","reason":"unavailable"}\n')
    output.flush()
    os._exit(0)


def events(source: BinaryIO, limits: ImportLimits) -> Iterator[Event]:
    """Yield what an export file holds.

    ``source`` names the source, before the first conversation. For each conversation come
    ``conversation``, parts of its ``messages``, each after the files that they refer to (``file``,
    and where the archive has it ``bytes`` and ``file_end``), and ``end``; or ``refused`` with a
    reason, of which later ones have a ``count`` instead of a title. The last one is ``done``, or
    ``failed`` with a reason where the rest of the file could not be read.
    """
    return _with_counted_refusals(_events(source, limits))


def _events(source: BinaryIO, limits: ImportLimits) -> Iterator[Event]:
    try:
        archive = ExportArchive(source, limits.total_bytes)
        yield from _conversations(archive, limits)
        yield {"event": "done"}
    except UnreadableError as error:
        yield {"event": "failed", "reason": str(error)}


def _with_counted_refusals(found: Iterator[Event]) -> Iterator[Event]:
    """Yield events, with refusals counted together once there are many.

    A few bytes are a refused conversation, and each line costs the app time.
    """
    named: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for event in found:
        is_refused = event["event"] == "refused"
        if is_refused and named[event["reason"]] == MAX_REFUSED:
            counted[event["reason"]] += 1
            if counted.total() < REFUSED_AT_ONCE:
                continue
        elif is_refused:
            named[event["reason"]] += 1
            yield event
            continue
        for reason, count in counted.items():
            yield {"event": "refused", "title": "", "reason": reason, "count": count}
        counted.clear()
        if not is_refused:
            yield event


def _conversations(archive: ExportArchive, limits: ImportLimits) -> Iterator[Event]:
    source: Source | None = None
    refused: list[Event] = []  # before the source is known
    unnamed: Counter[str] = Counter()  # the reasons of further ones
    for element in _elements(archive, limits):
        title = ""
        try:
            value = readers.parse(element)
            title = readers.title_of(value)
            found = readers.source_of(value)
            if source is None:
                source = found
                yield {"event": "source", "source": source}
                yield from refused
                yield from (_refused("", reason) for reason in unnamed.elements())
            conversation = readers.read(found, value, limits)
        except UnreadableError as error:
            if source is not None:
                yield _refused(title, str(error))
            elif len(refused) < PART_MESSAGES:
                refused.append(_refused(title, str(error)))
            else:
                unnamed[str(error)] += 1
        else:
            del element, value
            yield from _conversation_events(found, conversation, archive)
    if source is None:
        raise UnreadableError(refused[0]["reason"] if len(refused) == 1 else "shape")


def _refused(title: str, reason: str) -> Event:
    return {"event": "refused", "title": title, "reason": reason}


def _elements(archive: ExportArchive, limits: ImportLimits) -> Iterator[bytes | None]:
    for document in archive.documents():
        splitter = JsonSplitter(limits.conversation_bytes)
        for piece in document:
            yield from splitter.feed(piece)
        if not splitter.is_complete:
            raise UnreadableError("cut")


def _conversation_events(
    source: Source, conversation: ImportedConversation, archive: ExportArchive
) -> Iterator[Event]:
    head = {name: getattr(conversation, name) for name in HEAD}
    yield {
        "event": "conversation",
        **head,
        "is_whole_tree": not all(message.is_shown for message in conversation.messages),
        "name": fingerprint.name_of(source, conversation),
        "fingerprint": fingerprint.fingerprint_of(conversation),
        "share_read": archive.share_read,
    }
    for part in _parts(conversation.messages):
        for message in part:
            for reference in message.files:
                yield from _file_events(reference.path, reference.name, archive)
        yield {"event": "messages", "messages": part}
    yield {"event": "end"}


def _parts(messages: Sequence[ImportedMessage]) -> Iterator[list[ImportedMessage]]:
    part: list[ImportedMessage] = []
    chars = 0
    for message in messages:
        size = _chars(message)
        if part and (chars + size > PART_CHARS or len(part) == PART_MESSAGES):
            yield part
            part, chars = [], 0
        part.append(message)
        chars += size
    if part:
        yield part


def _chars(message: ImportedMessage) -> int:
    tools = message.extras.tool_calls if message.extras is not None else ()
    sources = message.extras.sources if message.extras is not None else ()
    further = sum(len(orjson.dumps(item)) for item in (*tools, *sources))
    return len(message.text) + len(message.thinking or "") + further


def _file_events(path: str | None, name: str, archive: ExportArchive) -> Iterator[Event]:
    if path is None or not archive.has_file(path):
        yield {"event": "file", "name": name, "is_there": False}
        return
    yield {"event": "file", "name": name, "is_there": True}
    is_whole = True
    try:
        for piece in archive.file(path):
            for start in range(0, len(piece), FILE_BYTES):
                data = base64.b64encode(piece[start : start + FILE_BYTES]).decode()
                yield {"event": "bytes", "data": data}
    except MissingFileError:
        is_whole = False
    yield {"event": "file_end", "is_whole": is_whole}


if __name__ == "__main__":
    main()

"""Runs the worker process that reads an export file, and checks what it writes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import IO, Any

import orjson

from cmw_agent.conversations.importing.records import ImportLimits, UnreadableError
from cmw_agent.core.logs import get_logger
from cmw_agent.core.long_texts import off_loop
from cmw_agent.files.workers import end_worker, start_worker

log = get_logger(__name__)

WORKER = "cmw_agent.conversations.importing.worker"
MEGABYTES = 1_024  # of the worker's memory
CPU_SECONDS = 600
MAX_EVENTS = 1_000_000  # of one file: each takes the app some time, however short it is
EVENT_SECONDS = 120.0  # until the worker's next line
LINE_BYTES = 8_000_000  # beside the longest message's
CHAR_BYTES = 6  # of a character in JSON, at most


async def read_events(
    source: IO[bytes], limits: ImportLimits, *, module: str = WORKER, max_events: int = MAX_EVENTS
) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events of the worker, as `worker.events` describes them, without the last one.

    Each has ``line_bytes``, the size of what the worker has written.

    Args:
        source: The export file, at its beginning; it has a descriptor.
        limits: Of what is read.
        module: The worker's module; tests name another.
        max_events: Events after which no more is read.

    Raises:
        UnreadableError: The rest of the file cannot be read.
    """
    job = {
        "megabytes": MEGABYTES,
        "seconds": CPU_SECONDS,
        "output": 0,
        "limits": {name: getattr(limits, name) for name in ImportLimits.__slots__},
    }
    longest = 2 * CHAR_BYTES * max(limits.answer_chars, limits.message_chars)
    try:
        worker = await start_worker(
            module, orjson.dumps(job).decode(), stdin=source, line_bytes=LINE_BYTES + longest
        )
    except (NotImplementedError, OSError) as error:  # the system starts no processes
        log.error("no worker could be started", cause=type(error).__name__)  # noqa: TRY400
        raise UnreadableError("unavailable") from None
    try:
        for _ in range(max_events):
            event = await _next_event(worker)
            if event.get("event") == "done":
                return
            if event.get("event") == "failed":
                raise UnreadableError(str(event.get("reason"))[:20])
            yield event
        raise UnreadableError("events")
    finally:
        await asyncio.shield(end_worker(worker))


async def _next_event(worker: asyncio.subprocess.Process) -> dict[str, Any]:
    line = b""
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            if worker.stdout is not None:
                line = await worker.stdout.readline()
    except TimeoutError:
        raise UnreadableError("time") from None
    except ValueError:  # a longer line than it may write
        raise UnreadableError("worker") from None
    event: Any = None
    with contextlib.suppress(orjson.JSONDecodeError):  # it was killed by a limit of the system
        event = await off_loop(len(line), orjson.loads, line)
    if not isinstance(event, dict):
        log.warning("the worker of an import ended early")
        raise UnreadableError("memory" if not line else "worker")
    return event | {"line_bytes": len(line)}

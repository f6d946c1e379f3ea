"""Log lines that carry no message text, no secret and no forged line.

Exceptions of client libraries quote requests, SQL and paths, so a log line names the
exception's type and the places it came through, never its text.

A line's fields are those that the call names at the end of its template (``"turn %s kind=%s"``):
names come from the program's own text and values from the arguments, so that no value can pass
for a field. Text and JSON say the same.
"""

import contextlib
import json
import logging
import math
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from cmw_agent.core.errors import frames

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
FIELDS = re.compile(r"(?: [a-z_]+=%(?:\.\d)?[a-z])+$")
FIELD = re.compile(r" ([a-z_]+)=(%\S+)")
PLACES = re.compile(r"%%|%[^a-zA-Z%]*[a-zA-Z]")
MAX_CHARS = 8_192  # of one message or value
OWN = ("cmw_agent", "memory")
# Below WARNING these name URLs with session hashes, or quote requests.
QUIET = (
    "httpx",
    "httpx2",
    "httpcore",
    "openai",
    "uvicorn.access",
    "asyncio",
    "aiosqlite",
    "apscheduler",
)


class OneLineFormatter(logging.Formatter):
    """Writes each record as one line; a traceback is reduced to `frames`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        error = record.exc_info[1] if record.exc_info else None
        bare = {"exc_info": None, "exc_text": None, "stack_info": None, "args": ()}
        plain = logging.makeLogRecord({**record.__dict__, **bare, "msg": _message(record)})
        line = super().format(plain)
        if error is not None:
            line = f"{line} cause={frames(error)}"
        return LINE_BREAKS.sub(" ", line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return when it was, in UTC."""
        return _time(record)


class JsonFormatter(ProcessorFormatter):
    """Writes each record as one JSON object in ASCII; otherwise as `OneLineFormatter`."""

    def __init__(self) -> None:
        super().__init__(
            processors=[_entry, _rendered], use_get_message=False, pass_foreign_args=True
        )


class _Stderr(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say that a line is missing; logging's own way prints its arguments."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f"a log line of {record.name} could not be written\n")


def configure(level: str, form: Literal["auto", "text", "json"] = "auto") -> None:
    """Send all logs of the process, one line each, to stderr.

    Other packages' words are written from WARNING on, whatever the level: nobody here has
    judged what they hold.

    Args:
        level: A level's name, such as ``"INFO"``, for the app's own loggers.
        form: ``"auto"`` is text on a terminal and JSON elsewhere.
    """
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = _Stderr(sys.stderr)
    handler.setFormatter(OneLineFormatter(FORMAT) if is_text else JsonFormatter())
    others = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    logging.basicConfig(level=others, handlers=[handler], force=True)
    for name in OWN:
        logging.getLogger(name).setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(others)


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 (logging would print the arguments instead)
        message = str(record.msg)
    return _cut(record, message)


def _cut(record: logging.LogRecord, message: str) -> str:
    if record.name == "asyncio":
        # What follows is the repr of a task or callback: arguments, an exception's text.
        message = message.partition("\n")[0].partition("(")[0].rstrip()
    return message[:MAX_CHARS]


def _parts(template: str) -> tuple[str, int, tuple[str, ...]]:
    """Return what a template says before its fields, how many arguments that takes, the names."""
    tail = FIELDS.search(template)
    if tail is None:
        return template, 0, ()
    head = template[: tail.start()]
    taken = sum(found != "%%" for found in PLACES.findall(head))
    return head, taken, tuple(name for name, _ in FIELD.findall(tail[0]))


def _entry(_logger: WrappedLogger, _name: str, given: EventDict) -> EventDict:
    """Return a line's fields, in their order."""
    record: logging.LogRecord = given["_record"]
    arguments = given.get("positional_args")
    event, fields = str(given["event"]), {}
    head, taken, names = _parts(event)
    if names and isinstance(arguments, tuple) and len(arguments) == taken + len(names):
        event, values = head, arguments[taken:]
        fields = {name: _value(value) for name, value in zip(names, values, strict=True)}
        arguments = arguments[:taken]
    said = logging.makeLogRecord({**record.__dict__, "msg": event, "args": arguments or ()})
    error = given["exc_info"][1] if given.get("exc_info") else None
    if error is not None:
        fields["cause"] = _value(frames(error))
    entry: EventDict = {
        "time": _time(record),
        "level": record.levelname,
        "logger": record.name,
        "event": LINE_BREAKS.sub(" ", _message(said)),
    }
    return {**entry, **{name: value for name, value in fields.items() if name not in entry}}


def _value(value: Any) -> int | float | bool | str | None:
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    return LINE_BREAKS.sub(" ", str(value)[:MAX_CHARS])


def _rendered(_logger: WrappedLogger, _name: str, entry: EventDict) -> str:
    # ASCII, since some readers take U+2028 or U+0085 for the end of a line.
    return json.dumps(entry, ensure_ascii=True)

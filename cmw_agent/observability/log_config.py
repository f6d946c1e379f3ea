"""Logging: one line for each record, without message texts, secrets or forged lines.

Exceptions of client libraries quote requests, SQL and paths, so a log line names the
exception's type and the frames it passed, never its text.

The fields of a line are those of its `LogEntry`: names come from the program and values from its
arguments, so that no value can pass for a field. Text and JSON say the same.
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

from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import LogEntry

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
MAX_CHARS = 8_192  # of one message or value
OWN = ("cmw_agent", "memory")
# Below WARNING these name URLs with session hashes, or quote requests.
QUIET = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "uvicorn.access",
    "asyncio",
    "aiosqlite",
    "apscheduler",
    "mcp",
)


class OneLineFormatter(logging.Formatter):
    """Writes each record as one line; a traceback is reduced to `describe_exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        error = record.exc_info[1] if record.exc_info else None
        cleared = {"exc_info": None, "exc_text": None, "stack_info": None, "args": ()}
        cleaned = logging.makeLogRecord({**record.__dict__, **cleared, "msg": _message(record)})
        line = super().format(cleaned)
        if error is not None:
            line = f"{line} cause={describe_exception(error)}"
        return LINE_BREAKS.sub(" ", line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the record's time in UTC."""
        return _time(record)


class JsonFormatter(ProcessorFormatter):
    """Writes each record as one JSON object in ASCII; otherwise as `OneLineFormatter`."""

    def __init__(self) -> None:
        super().__init__(
            processors=[_entry, _rendered], use_get_message=False, pass_foreign_args=True
        )


class _Stderr(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report that a line is missing; logging's own report would print its arguments."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f"a log line of {record.name} could not be written\n")


def configure(level: str, form: Literal["auto", "text", "json"] = "auto") -> None:
    """Write all logs of the process to stderr, one line for each record.

    Records of other packages are written from WARNING on, whatever the level: their texts have
    not been reviewed.

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
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def _entry(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    """Return the keys and values of a line, in their order."""
    record: logging.LogRecord = event_dict["_record"]
    message, fields = record.msg, dict[str, Any]()
    if isinstance(message, LogEntry):
        fields = {name: _value(value) for name, value in message.fields.items()}
        message = message.event
    plain = {"msg": message, "args": event_dict.get("positional_args") or ()}
    record = logging.makeLogRecord({**record.__dict__, **plain})
    error = event_dict["exc_info"][1] if event_dict.get("exc_info") else None
    if error is not None:
        fields["cause"] = _value(describe_exception(error))
    line: EventDict = {
        "time": _time(record),
        "level": record.levelname,
        "logger": record.name,
        "event": LINE_BREAKS.sub(" ", _message(record)),
    }
    return {**line, **{name: value for name, value in fields.items() if name not in line}}


def _value(value: Any) -> int | float | bool | str | None:
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    return LINE_BREAKS.sub(" ", str(value)[:MAX_CHARS])


def _rendered(_logger: WrappedLogger, _name: str, entry: EventDict) -> str:
    # ASCII, since some readers take U+2028 or U+0085 for the end of a line.
    return json.dumps(entry, ensure_ascii=True)

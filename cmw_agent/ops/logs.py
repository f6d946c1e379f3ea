"""Log lines that carry no message text, no secret and no forged line.

Exceptions of client libraries quote requests, SQL and paths, so a log line names the
exception's type and the places it came through, never its text.
"""

import logging
import re
import sys

from cmw_agent.errors import frames

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
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
        plain = logging.makeLogRecord(
            {**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None}
        )
        line = super().format(plain)
        if error is not None:
            line = f"{line} cause={frames(error)}"
        return LINE_BREAKS.sub(" ", line)


def configure(level: str) -> None:
    """Send all logs of the process, one line each, to stderr.

    Args:
        level: A level's name, such as ``"INFO"``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)

"""Captures the app's log at DEBUG, formatted as the app formats it."""

import contextlib
import logging
import re
from collections.abc import Iterator

from cmw_agent.observability.log_config import FORMAT, OWN, QUIET, OneLineFormatter

ERROR_ID = re.compile(r"error `?([0-9a-f]{8})`?")


class Logbook(logging.Handler):
    """A log handler that stores all records and their formatted lines."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(OneLineFormatter(FORMAT))
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))

    @property
    def text(self) -> str:
        """All lines, as one text."""
        return "\n".join(self.lines)

    def naming(self, error_id: str) -> list[str]:
        """Return the lines with this error id."""
        return [line for line in self.lines if f"error_id={error_id}" in line]

    @property
    def unhandled(self) -> list[str]:
        """The lines of exceptions that reached the server or the event loop uncaught."""
        return [
            self.format(record)
            for record in self.records
            if record.levelno >= logging.ERROR and record.name.startswith(("uvicorn", "asyncio"))
        ]


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore the root logger's handlers and all log levels after the block."""
    root = logging.getLogger()
    before, levels = root.handlers[:], levels_now()
    try:
        yield
    finally:
        root.handlers[:] = before
        for name, level in levels.items():
            logging.getLogger(name or None).setLevel(level)


def levels_now() -> dict[str, int]:
    """Return the levels of the loggers that the app's set-up changes, by name; the root's is ""."""
    return {name: logging.getLogger(name or None).level for name in ("", *QUIET, *OWN)}


@contextlib.contextmanager
def logbook() -> Iterator[Logbook]:
    """Capture what is logged in the block."""
    book = Logbook()
    with restored():
        logging.getLogger().addHandler(book)
        logging.getLogger().setLevel(logging.DEBUG)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield book


def error_id(text: str) -> str:
    """Return the error id in a sentence for the user."""
    match = ERROR_ID.search(text)
    assert match is not None, text
    return match.group(1)

"""What the app wrote to its log at DEBUG, as its own set-up and formatter write it."""

import contextlib
import logging
import re
from collections.abc import Iterator

from cmw_agent.ops.logs import FORMAT, QUIET, OneLineFormatter

ERROR_ID = re.compile(r"error `?([0-9a-f]{8})`?")


class Logbook(logging.Handler):
    """Keeps each line, down to DEBUG."""

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
        """All lines."""
        return "\n".join(self.lines)

    def naming(self, error_id: str) -> list[str]:
        """The lines that hold this error id."""
        return [line for line in self.lines if f"error_id={error_id}" in line]

    @property
    def unhandled(self) -> list[str]:
        """Lines of errors that reached the server or the event loop: nobody caught them."""
        return [
            self.format(record)
            for record in self.records
            if record.levelno >= logging.ERROR and record.name.startswith(("uvicorn", "asyncio"))
        ]


@contextlib.contextmanager
def logbook() -> Iterator[Logbook]:
    """Keep what is logged in the block."""
    book = Logbook()
    root = logging.getLogger()
    changed = {logging.getLogger(name): logging.WARNING for name in QUIET} | {root: logging.DEBUG}
    before = {logger: logger.level for logger in changed}
    root.addHandler(book)
    for logger, level in changed.items():
        logger.setLevel(level)
    try:
        yield book
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
        root.removeHandler(book)


def error_id(text: str) -> str:
    """The id that a sentence to the user ends with."""
    found = ERROR_ID.search(text)
    assert found is not None, text
    return found.group(1)

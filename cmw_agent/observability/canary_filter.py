"""Keeps canaries out of the log."""

import contextlib
import logging
from collections.abc import Callable, Iterator

from cmw_agent.core.errors import new_error_id
from cmw_agent.core.logs import LogEntry
from cmw_agent.identity.canaries import Canaries

LEFT_OUT = "a log line held a user's canary and was left out"


class CanaryFilter(logging.Filter):
    """Replaces log records that hold a canary: no text of a user belongs in the log.

    What is left of such a record is its logger and line in the program, which it names; it becomes
    CRITICAL.

    Args:
        canaries: Recognises canaries.
        report: Is called once for each record that holds one; must not log.
    """

    def __init__(self, canaries: Canaries, report: Callable[[], None]) -> None:
        super().__init__()
        self._canaries = canaries
        self._report = report

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True; the record has no canary afterwards."""
        if self._canaries.found(_text(record)):
            self._report()
            place = f"{record.module}:{record.lineno}"
            record.msg = LogEntry(LEFT_OUT, {"error_id": new_error_id(), "place": place})
            record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None
            record.levelno, record.levelname = logging.CRITICAL, "CRITICAL"
        return True


@contextlib.contextmanager
def canaries_kept_out(canaries: Canaries, report: Callable[[], None]) -> Iterator[None]:
    """Filter what the handlers of the root logger write during the block."""
    found, handlers = CanaryFilter(canaries, report), list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(found)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(found)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 (whoever formats the record says so)
        return f"{record.msg} {record.args}"

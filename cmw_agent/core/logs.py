"""Loggers whose lines carry named fields: ``log.info("turn ended", seconds=0.3, tokens=12)``."""

import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

LOGGING_ARGUMENTS = frozenset({"exc_info", "extra", "stack_info", "stacklevel"})


@dataclass(frozen=True, slots=True)
class LogEntry:
    """The message of a log record with fields; formatters read them apart.

    Args:
        event: What happened; a fixed text, which may have placeholders for logging's arguments.
        fields: Values by their names.
    """

    event: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the event and its fields as text."""
        text = "".join(f" {name}={_text(value)}" for name, value in self.fields.items())
        # Where the event has placeholders, logging fills those of the whole text.
        return self.event + (text.replace("%", "%%") if "%" in self.event else text)


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods take the fields of a line as keyword arguments.

    An adapter of the standard library rather than structlog's loggers: those are set up for the
    whole process, which is not a library's to do, and print to stdout where nobody has done so.
    """

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Move the fields from `kwargs` into the record's message."""
        fields = {name: kwargs.pop(name) for name in [*kwargs] if name not in LOGGING_ARGUMENTS}
        return (LogEntry(msg, fields) if fields else msg), kwargs


def get_logger(name: str) -> FieldLogger:
    """Return the logger of the module `name`."""
    return FieldLogger(logging.getLogger(name), None)


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

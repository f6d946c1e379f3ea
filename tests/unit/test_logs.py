"""Log lines: one each, whatever is in them, and never an exception's own words."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.errors import frames
from cmw_agent.ops.logs import FORMAT, QUIET, OneLineFormatter, configure
from tests.harness import canary


class Refused(Exception):
    status_code = 503


def line_of(message: str, *arguments: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("name", logging.INFO, __file__, 1, message, arguments, info)
    return OneLineFormatter(FORMAT).format(record)


def caught(error: Exception, cause: Exception | None = None) -> Exception:
    """Return `error` as it is once it was raised from `cause`."""
    with pytest.raises(type(error)) as found:
        raise error from cause
    return found.value


@given(st.text(), st.text())
def test_a_record_is_one_line_whatever_it_holds(message: str, argument: str) -> None:
    line = line_of("%s " + message.replace("%", ""), argument)
    assert line.splitlines() == [line]
    assert line.isascii() or "\x1b" not in line


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_no_sign_that_ends_a_line_gets_through(end: str) -> None:
    line = line_of("user wrote %s", f"a{end}2026-01-01 00:00:00,000 ERROR root: forged")
    assert line.splitlines() == [line]
    assert " INFO name: user wrote a " in line


def test_an_exception_is_named_with_its_places_and_never_quoted() -> None:
    secret = canary()
    inner = caught(ValueError(f"{secret} /data/chat.db"))
    error = caught(Refused(secret), inner)
    error.add_note(secret)
    line = line_of("it failed", error=error)
    assert secret not in line
    assert "chat.db" not in line
    assert "cause=Refused[503](test_logs.py:" in line
    assert " <- ValueError(test_logs.py:" in line
    assert ":caught)" in line
    assert "/" not in line.partition("cause=")[2]  # file names, no paths


def test_a_long_or_circular_chain_of_causes_ends() -> None:
    error: Exception | None = None
    for number in range(50):
        error = caught(KeyError(number), error)
    assert error is not None
    assert frames(error).count("KeyError") == 5
    first, second = ValueError(), TypeError()
    first.__cause__, second.__cause__ = second, first
    assert frames(first) == "ValueError() <- TypeError()"


def test_a_deep_trace_is_cut() -> None:
    def deeper(levels: int) -> None:
        if not levels:
            raise Refused
        deeper(levels - 1)

    with pytest.raises(Refused) as found:
        deeper(200)
    assert frames(found.value).count(":deeper") == 12
    assert len(frames(found.value)) < 1000


def test_a_stack_that_was_asked_for_is_left_out() -> None:
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "hello", (), None)
    record.stack_info = "Stack (most recent call last):\n  a secret line"
    record.exc_text = "Traceback: a secret line"
    assert OneLineFormatter(FORMAT).format(record).endswith("INFO name: hello")


def test_what_quotes_requests_stays_quiet_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    quiet = {logging.getLogger(name): logging.getLogger(name).level for name in QUIET}
    try:
        configure("DEBUG")
        for name in (*QUIET, "httpx2._client", "openai._base_client"):
            logging.getLogger(name).info("GET /secret")
        logging.getLogger("cmw_agent").debug("shown %s", "a\nb")
        sys.stderr.flush()
        written = capsys.readouterr().err
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        for handler in before:
            root.addHandler(handler)
        root.setLevel(level)
        for logger, old in quiet.items():
            logger.setLevel(old)
    assert "secret" not in written
    assert written.endswith(" DEBUG cmw_agent: shown a b\n")
    assert written.count("\n") == 1

"""Log lines: one line per record, and never an exception's text."""

import ast
import asyncio
import gc
import logging
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import LogEntry, get_logger
from cmw_agent.observability.log_config import (
    FORMAT,
    LINE_BREAKS,
    MAX_CHARS,
    QUIET,
    JsonFormatter,
    OneLineFormatter,
    configure,
)
from tests.harness import canary, served, settings_for
from tests.isolation.source import sources
from tests.logbook import restored
from tests.rest import KEYS, Client, Reply, client


class RefusedError(Exception):
    status_code = 503


def record_of(
    message: object, *arguments: object, error: BaseException | None = None, **fields: object
) -> logging.LogRecord:
    """Return what a logger of the app makes of a call with these arguments and fields."""
    entry, _ = get_logger("name").process(message, fields)
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("name", logging.INFO, __file__, 1, entry, arguments, info)


def line_of(
    message: object, *arguments: object, error: BaseException | None = None, **fields: object
) -> str:
    record = record_of(message, *arguments, error=error, **fields)
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
    error = caught(RefusedError(secret), inner)
    error.add_note(secret)
    line = line_of("it failed", error=error)
    assert secret not in line
    assert "chat.db" not in line
    assert "cause=RefusedError[503](test_logs.py:" in line
    assert " <- ValueError(test_logs.py:" in line
    assert ":caught)" in line
    assert "/" not in line.partition("cause=")[2]  # file names, no paths


def test_a_long_or_circular_chain_of_causes_ends() -> None:
    error: Exception | None = None
    for number in range(50):
        error = caught(KeyError(number), error)
    assert error is not None
    assert describe_exception(error).count("KeyError") == 5
    first, second = ValueError(), TypeError()
    first.__cause__, second.__cause__ = second, first
    assert describe_exception(first) == "ValueError() <- TypeError()"


def test_a_deep_trace_is_cut() -> None:
    def deeper(levels: int) -> None:
        if not levels:
            raise RefusedError
        deeper(levels - 1)

    with pytest.raises(RefusedError) as found:
        deeper(200)
    assert describe_exception(found.value).count(":deeper") == 12
    assert len(describe_exception(found.value)) < 1000


def test_a_stack_that_was_asked_for_is_left_out() -> None:
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "hello", (), None)
    record.stack_info = "Stack (most recent call last):\n  a secret line"
    record.exc_text = "Traceback: a secret line"
    assert OneLineFormatter(FORMAT).format(record).endswith("INFO name: hello")


@pytest.mark.parametrize("form", ["text", "json", "auto"])
def test_what_quotes_requests_stays_quiet_at_debug(
    form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with restored():
        configure("DEBUG", form)
        for name in (*QUIET, "httpx2._client", "openai._base_client", "not.judged.by.anybody"):
            logging.getLogger(name).info("GET /secret")
        logging.getLogger("cmw_agent").debug("shown %s", "a\nb")
        written = capsys.readouterr().err
    assert "secret" not in written
    assert written.count("\n") == 1
    if form == "text":
        assert written.endswith(" DEBUG cmw_agent: shown a b\n")
    else:  # no terminal is here
        assert orjson.loads(written)["event"] == "shown a b"


# -- JSON -------------------------------------------------------------------------


def entry_of(
    message: object, *arguments: object, error: BaseException | None = None, **fields: object
) -> Any:
    record = record_of(message, *arguments, error=error, **fields)
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.splitlines() == [line]
    return orjson.loads(line)


def test_the_fields_that_a_call_names_are_fields() -> None:
    entry = entry_of("turn %s", "failed", error_id="ab", tokens=3, seconds=0.25)
    when = entry.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)
    assert entry == {
        "level": "INFO",
        "logger": "name",
        "event": "turn failed",
        "error_id": "ab",
        "tokens": 3,
        "seconds": 0.25,
    }


@given(st.text(), st.text())
def test_no_value_makes_a_line_a_field_or_a_level(first: str, second: str) -> None:
    entry = entry_of("user wrote %s", first, kind=second)
    assert list(entry) == ["time", "level", "logger", "event", "kind"]
    assert entry["level"] == "INFO"
    assert entry["logger"] == "name"
    assert not LINE_BREAKS.search(entry["event"] + entry["kind"])


FORGED = 'a\r\n{"level": "ERROR"}\u2028"}, {"level": "ERROR", "error_id": "deadbeef'


@pytest.mark.parametrize("value", [FORGED, f"x error_id=deadbeef level=ERROR {FORGED}"])
def test_a_value_that_looks_like_a_field_stays_a_value(value: str) -> None:
    entry = entry_of("said %s", value, kind=value)
    assert set(entry) == {"time", "level", "logger", "event", "kind"}
    assert "deadbeef" in entry["kind"]
    plain = entry_of(f"said error_id={value}".replace("%", ""))
    assert set(plain) == {"time", "level", "logger", "event"}


def test_a_field_does_not_take_the_place_of_what_every_line_has() -> None:
    forged = {"level": "ERROR", "time": "never", "event": "no", "logger": "root"}
    entry = entry_of(LogEntry("said", forged))
    assert entry["level"] == "INFO"
    assert entry["event"] == "said"
    assert entry["logger"] == "name"


def test_text_and_json_say_the_same() -> None:
    error = caught(RefusedError(canary()), caught(ValueError(canary())))
    fields = {"kind": "rate\nlimited at 100 %s", "count": 7}
    line = line_of("turn %s", "failed", error=error, **fields)
    entry = entry_of("turn %s", "failed", error=error, **fields)
    assert entry["cause"] == describe_exception(error)
    assert line.endswith(
        f" INFO name: {entry['event']} kind={entry['kind']} count=7 cause={entry['cause']}"
    )
    assert "canary" not in line


def test_no_call_writes_its_fields_into_its_text() -> None:
    """A field is an argument of its call: formatters do not look for fields in texts."""
    texts = [
        (source.name, node.lineno, node.value)
        for package in ("cmw_agent", "memory")
        for source in sources(package)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [each for each in texts if re.search(r" [a-z_]+=%[.\d]*[a-z]", each[2])] == []


def test_a_call_whose_arguments_do_not_fit_tells_none_of_them() -> None:
    secret = canary()
    for said in ("%d bytes", "%s and %s", "nothing"):
        assert secret not in line_of(said, secret)
        assert entry_of(said, secret)["event"] == said


def test_a_long_value_is_cut() -> None:
    assert len(entry_of("said %s", "x" * 10**6, kind="y" * 10**6)["event"]) == MAX_CHARS
    assert len(line_of("said %s", "x" * 10**6)) < MAX_CHARS + 100


class Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("canary-unwritable")


def test_a_value_that_cannot_be_written_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with restored():
        configure("INFO", "json")
        get_logger("cmw_agent").info("said", kind=Unwritable())
        written = capsys.readouterr().err
    assert written == "a log line of cmw_agent could not be written\n"


async def test_an_exception_that_nobody_fetched_is_named_and_not_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = canary()

    async def fails() -> None:
        raise ValueError(secret)

    def breaks(said: str) -> None:
        raise ValueError(said)

    gc.collect()  # what earlier tests have left would be told as well
    with restored():
        configure("DEBUG", "json")
        task = asyncio.create_task(fails())
        await asyncio.wait([task])
        del task
        gc.collect()
        asyncio.get_running_loop().call_soon(breaks, secret)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        written = capsys.readouterr().err
    assert "Task exception was never retrieved" in written
    assert "cause" in written
    assert written.count("\n") == 2
    assert secret not in written


# -- the request behind a line ----------------------------------------------------

SITE = "https://shop.example"
AGENTS = f"""
[[agents]]
id = "shop"
allowed_origins = ["{SITE}"]
"""
EVENTS = "text/event-stream"


async def by_rest(program: Client) -> list[Reply]:
    """Ask for turns by the REST interface; return the answers."""
    return [await program.say("hello", "one"), await program.say("hello", "two", Accept=EVENTS)]


async def by_openai(program: Client) -> list[Reply]:
    """Ask for turns as OpenAI's clients do; return the answers."""
    asked = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}
    return [
        await program.ask("POST", "/v1/chat/completions", {**asked, "stream": stream}, **named)
        for stream in (True, False)
        for named in ({"X_Session_Id": f"{stream}"}, {})
    ]


async def by_widget(visitor: Client) -> list[Reply]:
    """Ask for turns as a website's widget does; return the answers."""
    visit = await visitor.ask("POST", "/embed/shop/visit", {}, Origin=SITE)
    known = {"Origin": SITE, "Authorization": f"Bearer {visit.json['token']}"}
    return [
        await visitor.ask("POST", "/embed/shop/message", said, **known)
        for said in ({"message": "hello", "key": "1"}, {"again": True, "key": "2"})
    ]


async def test_a_turn_s_line_carries_the_request_id_of_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    with restored():
        configure("INFO", "json")
        async with (
            served(settings_for(tmp_path, api_keys=KEYS)) as app,
            client(app.url) as program,
            client(app.url, key=None) as visitor,
        ):
            answers = {
                "rest": [*await by_rest(program), *await by_openai(program)],
                "embed": await by_widget(visitor),
            }
        written = capsys.readouterr().err
    entries = [orjson.loads(line) for line in written.splitlines()]
    for channel, replies in answers.items():
        assert {reply.status for reply in replies} == {200}
        ids = {reply.headers["X-Request-ID"] for reply in replies}
        assert len(ids) == len(replies)
        turns = [each for each in entries if each["event"] == "turn ended"]
        assert {turn["request"] for turn in turns if turn["channel"] == channel} == ids

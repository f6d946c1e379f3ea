"""Reads the tables of `agents.toml`; every problem is one line that names the file and the table."""

import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard, TypeVar

from cmw_agent.core.errors import StartupError

MAX_BYTES = 1_000_000
SHOWN = 60  # characters of a wrong value
KINDS = ("agents", "models", "mcp", "openapi")
ACCESS = "access"  # a table of tables, by the names of users and groups

Table = dict[str, Any]
Context = TypeVar("Context")


class TableValueError(Exception):
    """A value is not allowed; the message completes "KEY must be …".

    Args:
        allowed: What is allowed.
        is_hidden: The value may be a secret and is not shown.
    """

    def __init__(self, allowed: str, *, is_hidden: bool = False) -> None:
        super().__init__(allowed)
        self.is_hidden = is_hidden


def read_tables(path: Path, kind: str, max_tables: int) -> list[Table]:
    """Return the tables ``[[kind]]`` of the file; none where there is no file.

    Raises:
        StartupError: The file cannot be read, or is not as it should be.
    """
    document = _known_document(path)
    found = document.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise problem(
            path, "", f"must hold each {kind.removesuffix('s')} as a table under [[{kind}]]"
        )
    if len(found) > max_tables:
        raise problem(path, "", f"must hold at most {max_tables} {kind}")
    return found


def read_named_tables(path: Path, kind: str, max_tables: int) -> Mapping[str, Table]:
    """Return the tables ``[kind.NAME]`` of the file by name; none where there is no file.

    Raises:
        StartupError: The file cannot be read, or is not as it should be.
    """
    found = _known_document(path).get(kind, {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise problem(path, "", f'must hold each entry of {kind} as a table [{kind}."NAME"]')
    if len(found) > max_tables:
        raise problem(path, "", f"must hold at most {max_tables} tables of {kind}")
    return found


def read_values(
    path: Path,
    subject: str,
    table: Table,
    readers: Mapping[str, Callable[[Any, Context], Any]],
    context: Context,
) -> dict[str, Any]:
    """Return the table's values as their readers return them.

    Args:
        path: The file.
        subject: Names the table in errors.
        table: The table.
        readers: Every allowed key, with the function that checks and converts its value.
        context: What the readers get beside the value.

    Raises:
        StartupError: A key is not known, or a value not allowed.
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in readers:
            similar = difflib.get_close_matches(key, readers, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"known are {', '.join(readers)}"
            raise problem(path, subject, f"has an unknown key {quoted(key)}; {hint}")
        try:
            found[key] = readers[key](value, context)
        except TableValueError as error:
            shown = "" if error.is_hidden else f", not {quoted(value)}"
            raise problem(path, subject, f"{key} must be {error}{shown}") from None
    return found


def subject_of(kind: str, table: Table, number: int) -> str:
    """Return the words that name a table in errors."""
    return f"{kind} {quoted(table['id'])}" if table.get("id") else f"{kind} number {number}"


class ForAgents(Protocol):
    """What a table of the operator's describes, with a name, for some agents or for all."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def agents(self) -> frozenset[str] | None:
        """Ids of the agents that may use it; None for all."""


Described = TypeVar("Described", bound=ForAgents)


def read_for_agents(
    path: Path,
    kind: str,
    max_tables: int,
    read: Callable[[Table, str], Described],
    agents: Collection[str],
) -> tuple[Described, ...]:
    """Return what the tables ``[[kind]]`` of the file describe, each with a name of its own.

    Args:
        path: The file.
        kind: Of the tables.
        max_tables: How many there may be.
        read: Returns what a table describes; its second argument names the table in errors.
        agents: Ids of the agents that there are.

    Raises:
        StartupError: The file is not as it should be.
    """
    found: dict[str, Described] = {}
    for number, table in enumerate(read_tables(path, kind, max_tables), 1):
        name = table.get("name")
        subject = f"{kind} {quoted(name)}" if name else f"{kind} number {number}"
        described = read(table, subject)
        if described.name in found:
            raise problem(path, subject, "has a name that is taken")
        unknown = sorted((described.agents or frozenset()) - set(agents))
        if unknown:
            text = f"names the agent {quoted(unknown[0])}, which is not there"
            raise problem(path, subject, text)
        found[described.name] = described
    return tuple(found.values())


def agent_ids(value: object, _context: object) -> frozenset[str]:
    """Return the ids of agents that a table lists.

    Raises:
        TableValueError: It lists none.
    """
    if not is_texts(value) or not value:
        raise TableValueError("a list of ids of agents")
    return frozenset(value)


def patterns(value: object, pattern: re.Pattern[str], allowed: str) -> tuple[str, ...]:
    """Return the texts that a table lists, each once.

    Raises:
        TableValueError: It lists none that `pattern` fits.
    """
    if not is_texts(value) or not all(map(pattern.fullmatch, value)):
        raise TableValueError(allowed)
    return tuple(dict.fromkeys(value))


def problem(path: Path, subject: str, text: str) -> StartupError:
    """Return the error that says `text` of a table, or of the file."""
    start = f"CMW_AGENTS_FILE: {path}" + (f", {subject}:" if subject else "")
    return StartupError(" ".join(f"{start} {text}".split()))


def quoted(value: object) -> str:
    """Return a wrong value for an error: in quotes, in ASCII, not too long."""
    text = str(value)
    return ascii(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Whether `value` is a list of texts."""
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def text(value: object, check: Callable[[str], str], allowed: str, max_chars: int) -> str:
    """Return `value` as `check` returns it.

    Raises:
        TableValueError: It is no text, too long, or not allowed.
    """
    try:
        checked = check(value) if isinstance(value, str) else ""
    except ValueError:
        checked = ""
    if not 0 < len(checked) <= max_chars:
        raise TableValueError(allowed)
    return checked


def _known_document(path: Path) -> dict[str, Any]:
    document = _document(path)
    unknown = next((key for key in document if key not in (*KINDS, ACCESS)), None)
    if unknown is not None:
        allowed = ", ".join(f"[[{name}]]" for name in KINDS)
        raise problem(
            path, "", f"holds {quoted(unknown)}; only {allowed} and [{ACCESS}] tables are allowed"
        )
    return document


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise problem(path, "", f"must have at most {MAX_BYTES} bytes")
        return tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        if not path.is_symlink():
            return {}
        raise problem(path, "", "cannot be read: its link leads nowhere") from None
    except OSError as error:
        raise problem(path, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise problem(path, "", "cannot be read: it must be UTF-8 text") from None
    # Deep nesting exhausts the parser's recursion.
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        details = f" ({error})" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise problem(path, "", f"must be valid TOML{details}") from None

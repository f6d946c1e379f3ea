"""Types and validators of settings.

A validator takes the text of a setting and returns the value in its canonical form. It raises
`ValueError` without a message if the setting's own "must be …" explains the problem, and
`SettingValueError` if it does not.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

from cmw_agent.core.access_names import canonical
from cmw_agent.language import languages

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
NUMBER = re.compile(r"[0-9]{5,20}")
SCOPES = ("agents", "v1", "whatsapp", "read")  # of API keys
AGENT_ID = re.compile(r"[a-z0-9_-]{1,40}")
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VALUE = re.compile(r"[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a model, in dollars per million tokens."""

    model: str
    input: Decimal
    output: Decimal

    def __str__(self) -> str:
        return f"{self.model}={self.input}/{self.output}"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of all requests to `/v1` with the keys of one name; 0 sets none.

    Attributes:
        name: Name of the keys; `*` for those that are not named.
        turns_per_minute: Messages in a minute.
        turns_at_once: Answers that are written at once.
        tokens_per_day: Tokens in a day.
    """

    name: str = "*"
    turns_per_minute: int = 600
    turns_at_once: int = 50
    tokens_per_day: int = 0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the REST interface.

    Attributes:
        name: Name of the key's holder; two keys may have the same name.
        key: The secret.
        origins: Web pages that may use the key from a browser; a key with origins can only be
            used from there.
        scopes: Kinds of requests that the key allows.
        agents: Ids of the agents that the key reaches; None if the settings name none.
        limits: Limits of its requests to `/v1`, whoever their users are.
    """

    name: str
    key: SecretStr
    origins: frozenset[str]
    scopes: frozenset[str] = frozenset(SCOPES)
    agents: frozenset[str] | None = None
    limits: KeyLimits = KeyLimits()


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """Scopes and agents of all keys with one name; see `ApiKey`."""

    name: str
    scopes: frozenset[str]
    agents: frozenset[str] | None


def line(text: str) -> str:
    """Return `text` stripped: one line of printable characters, not empty."""
    trimmed = text.strip()
    if not trimmed or not trimmed.isprintable():
        raise ValueError
    return trimmed


def prose(text: str) -> str:
    """Return `text` stripped: any text without NUL, not empty."""
    trimmed = text.strip()
    if not trimmed or "\0" in trimmed:
        raise ValueError
    return trimmed


def token(text: str) -> str:
    """Return `text` stripped: a credential that is valid in an HTTP header."""
    trimmed = line(text)
    if not trimmed.isascii() or " " in trimmed:
        raise ValueError
    return trimmed


def folder(text: str | Path) -> Path:
    """Return the path of a folder, which need not exist; ``~`` means the user's home."""
    # SQLAlchemy takes what follows a question mark for options of SQLite.
    if "?" in str(text):
        raise ValueError
    return Path(line(str(text))).expanduser()


def expression(text: str) -> str:
    """Return a regular expression that does not match the empty text."""
    try:
        matches_nothing = re.compile(text).search("") is not None
    except re.error:
        raise ValueError from None
    if matches_nothing:
        raise ValueError
    return text


def sqlite_url(data_dir: Path) -> str:
    """Return the URL of the SQLite database in `data_dir`."""
    return f"sqlite+aiosqlite:///{(data_dir / 'chat.db').as_posix()}"


def scopes(text: str) -> str:
    """Return OAuth scopes separated by single spaces; openid must be one of them."""
    items = line(text).split()
    if "openid" not in items or any(not item.isascii() for item in items):
        raise ValueError
    return " ".join(items)


def log_level(text: str) -> str:
    """Return the name of a log level in upper case."""
    level = text.strip().upper()
    if level not in LOG_LEVELS:
        raise ValueError
    return level


def names(text: str) -> frozenset[str]:
    """Return the names of a comma-separated list, each on one line."""
    return frozenset(line(part) for part in text.split(",") if part.strip())


def users(text: str) -> frozenset[str]:
    """Return the users and groups of a comma-separated list; see `core.access_names`."""
    return frozenset(canonical(name) for name in names(text))


def lines(text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list in order, without duplicates."""
    return tuple(dict.fromkeys(line(part) for part in text.split(",") if part.strip()))


def digits(text: str) -> tuple[str, ...]:
    """Return the numbers of a comma-separated list, each without its plus sign."""
    items = tuple(part.removeprefix("+") for part in lines(text))
    if not all(NUMBER.fullmatch(item) for item in items):
        raise ValueError
    return tuple(dict.fromkeys(items))


def pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a comma-separated list of ``slug=value``, each slug once."""
    found = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(SLUG.fullmatch(name) and VALUE.fullmatch(value) for name, _, value in found):
        raise ValueError
    if len({name for name, _, _ in found}) != len(found):
        raise ValueError
    return tuple((name, value) for name, _, value in found)


def slugs(text: str) -> tuple[str, ...]:
    """Return the slugs of a comma-separated list in order, without duplicates."""
    items = tuple(part.lower() for part in lines(text))
    if not all(SLUG.fullmatch(item) for item in items):
        raise ValueError
    return tuple(dict.fromkeys(items))


def prices(text: str) -> tuple[Price, ...]:
    """Return the prices of a comma-separated list of ``model=input/output``."""
    return tuple(_price(part) for part in lines(text))


def _price(text: str) -> Price:
    model, equals, amounts_text = text.rpartition("=")
    input_text, slash, output_text = amounts_text.partition("/")
    try:
        amounts = Decimal(input_text.strip()), Decimal(output_text.strip())
    except InvalidOperation:
        raise ValueError from None
    if not (equals and slash and model.strip()):
        raise ValueError
    if not all(amount.is_finite() and 0 <= amount < 1_000_000 for amount in amounts):
        raise ValueError
    return Price(model.strip(), *amounts)


def time_zone(text: str) -> str:
    """Return the name of a time zone that this machine knows."""
    try:
        return ZoneInfo(line(text)).key
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError from None


def language(text: str) -> str:
    """Return the tag of one of the app's languages."""
    tag = line(text).lower()
    if languages().of(tag).tag != tag:
        raise ValueError
    return tag


def lower(text: str) -> str:
    """Return `text` stripped and in lower case."""
    return text.strip().lower()


def switch(text: str) -> str:
    """Return `text` in lower case, with other spellings of yes and no as ``on`` and ``off``."""
    choice = lower(text)
    return {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}.get(
        choice, choice
    )

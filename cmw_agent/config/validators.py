"""How a setting is declared, and what its text must look like.

Each check takes the text as it was written and returns the one form in which the app
keeps it. It raises `ValueError`, whose message nobody sees, where the setting's own
"must be …" says enough, and `SettingValueError` where it does not.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr

HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
FRAME_SOURCE = re.compile(
    r"https?://(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:(\d{1,5}|\*))?"
)
DEFAULT_PORTS = {"http": 80, "https": 443}
SQLITE = ("sqlite", "sqlite+aiosqlite")
POSTGRES = ("postgres", "postgresql", "postgresql+asyncpg")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SHORTEST_KEY = 16
SCOPES = ("agents", "v1", "whatsapp", "read")  # what keys of the REST interface may be for
AGENT_ID = re.compile(r"[a-z0-9_-]{1,40}")
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_PROXIES = 9
# Where the proxies of a Space stand; visitors come from public addresses.
INTERNAL_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10"


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in dollars for a million tokens."""

    model: str
    input: Decimal
    output: Decimal

    def __str__(self) -> str:
        return f"{self.model}={self.input}/{self.output}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the REST interface; `name` is whose it is, and two keys may bear one name.

    Pages of `origins` may use it from a browser, and nobody else may use a key with origins.
    `scopes` are the kinds of requests that it is for, `agents` the only agents that it reaches;
    None where the settings name none.
    """

    name: str
    key: SecretStr
    origins: frozenset[str]
    scopes: frozenset[str] = frozenset(SCOPES)
    agents: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What the keys of one name reach; see `ApiKey` for the fields."""

    name: str
    scopes: frozenset[str]
    agents: frozenset[str] | None


class SettingValueError(ValueError):
    """The text is well formed and yet of no use; the message completes "NAME …"."""


def checked(check: Callable[[str], object]) -> BeforeValidator:
    """Let `check` see a setting's text as it was written, and keep what it returns."""

    def validate(value: object) -> object:
        if isinstance(value, SecretStr):
            return SecretStr(str(check(value.get_secret_value())))
        return check(str(value)) if isinstance(value, str | Path) else value

    return BeforeValidator(validate)


def setting(
    default: object, text: str, allowed: str, *, shown: str | None = None, **options: Any
) -> Any:
    """Declare a setting.

    Args:
        default: Its default, or a function of the settings declared above it.
        text: What it means, for the README's table and `.env.example`.
        allowed: What it may be; completes "NAME must be …".
        shown: The default in words, where `default` does not say it.
        options: Bounds and other arguments of pydantic's `Field`.
    """
    options["default_factory" if callable(default) else "default"] = default
    options["json_schema_extra"] = {"allowed": allowed, "shown": shown}
    return Field(description=text, **options)


def seconds(default: int, text: str, most: int) -> Any:
    """Declare a setting in seconds, above 0 and at most `most`."""
    allowed = f"a number of seconds above 0 and at most {most}"
    return setting(default, text, allowed, gt=0, le=most, allow_inf_nan=False)


def count(default: int, text: str, least: int, most: int) -> Any:
    """Declare a setting that is a whole number from `least` to `most`."""
    allowed = f"a whole number from {least} to {most}"
    return setting(default, text, allowed, ge=least, le=most)


def line(text: str) -> str:
    """Return `text` trimmed: one line of printable characters, not empty."""
    trimmed = text.strip()
    if not trimmed or not trimmed.isprintable():
        raise ValueError
    return trimmed


def prose(text: str) -> str:
    """Return `text` trimmed: any text that is not empty and holds no NUL."""
    trimmed = text.strip()
    if not trimmed or "\0" in trimmed:
        raise ValueError
    return trimmed


def token(text: str) -> str:
    """Return `text` trimmed: what may stand in an HTTP header as a credential."""
    trimmed = line(text)
    if not trimmed.isascii() or " " in trimmed:
        raise ValueError
    return trimmed


def folder(text: str | Path) -> Path:
    """Return the path of a folder, which need not exist; ``~`` is the user's home."""
    # SQLAlchemy ends a SQLite file's name at the first question mark.
    if "?" in str(text):
        raise ValueError
    return Path(line(str(text))).expanduser()


def sqlite_url(data_dir: Path) -> str:
    """Return the URL of the database that `data_dir` holds."""
    return f"sqlite+aiosqlite:///{(data_dir / 'chat.db').as_posix()}"


def database_url(text: str) -> str:
    """Return the SQLAlchemy URL with its asynchronous driver, for SQLite or PostgreSQL."""
    scheme, found, rest = line(text).partition("://")
    if not found:
        raise ValueError
    if scheme in SQLITE:
        name = rest.partition("?")[0]
        # Each connection to an in-memory database would see one of its own.
        if not name.startswith("/") or name in ("/", "/:memory:") or name.startswith("/file:"):
            raise ValueError
        return f"sqlite+aiosqlite://{rest}"
    if scheme not in POSTGRES:
        raise ValueError
    _split(f"postgresql://{rest}")
    if find_spec("asyncpg") is None:
        raise SettingValueError("needs the package asyncpg for PostgreSQL (pip install asyncpg)")
    return f"postgresql+asyncpg://{rest}"


def base_url(text: str) -> str:
    """Return the address of an OpenAI-compatible endpoint without a slash at its end."""
    address = _web_address(text)
    if address.query or address.fragment:
        raise ValueError
    return address.geturl().rstrip("/")


def provider_url(text: str) -> str:
    """Return the address of an OpenID provider without a slash at its end.

    Whoever is between could sign in as anyone, so plain http stays on this machine.
    """
    address = base_url(text)
    if address.startswith("http://") and urlsplit(address).hostname not in LOOPBACK:
        raise ValueError
    return address


def scopes(text: str) -> str:
    """Return OAuth scopes, separated by single spaces; openid must be among them."""
    words = line(text).split()
    if "openid" not in words or any(not word.isascii() for word in words):
        raise ValueError
    return " ".join(words)


def secret_keys(text: str) -> str:
    """Return the keys joined by commas; each must be long enough to resist guessing."""
    keys = [part.strip() for part in line(text).split(",")]
    if any(len(key) < SHORTEST_KEY for key in keys):
        raise ValueError
    return ",".join(keys)


def host(text: str) -> str:
    """Return an IP address or a host name, without a port."""
    trimmed = line(text)
    try:
        return str(ipaddress.ip_address(trimmed))
    except ValueError:
        if not HOST_NAME.fullmatch(trimmed):
            raise ValueError from None
        return trimmed


def log_level(text: str) -> str:
    """Return the name of a log level in capitals."""
    level = text.strip().upper()
    if level not in LOG_LEVELS:
        raise ValueError
    return level


def origins(text: str) -> frozenset[str]:
    """Return the origins of a comma-separated list, each as a browser writes it."""
    return frozenset(_origin(part) for part in text.split(",") if part.strip())


def names(text: str) -> frozenset[str]:
    """Return the names of a comma-separated list, each on one line."""
    return frozenset(line(part) for part in text.split(",") if part.strip())


def lines(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list in their order, each of them once."""
    return tuple(dict.fromkeys(line(part) for part in text.split(",") if part.strip()))


def slugs(text: str) -> tuple[str, ...]:
    """Return the slugs of a comma-separated list in their order, each of them once."""
    found = tuple(part.lower() for part in lines(text))
    if not all(SLUG.fullmatch(part) for part in found):
        raise ValueError
    return tuple(dict.fromkeys(found))


def prices(text: str) -> tuple[Price, ...]:
    """Return the prices of a comma-separated list of ``model=input/output``."""
    return tuple(_price(part) for part in lines(text))


def _price(text: str) -> Price:
    model, found, both = text.rpartition("=")
    asked, divided, answered = both.partition("/")
    try:
        amounts = Decimal(asked.strip()), Decimal(answered.strip())
    except InvalidOperation:
        raise ValueError from None
    if not (found and divided and model.strip()):
        raise ValueError
    if not all(amount.is_finite() and 0 <= amount < 1_000_000 for amount in amounts):
        raise ValueError
    return Price(model.strip(), *amounts)


def api_keys(text: str) -> tuple[ApiKey, ...]:
    """Return the keys of a comma-separated list of ``name:key[:origin…]``.

    Origins hold colons of their own, and several stand behind one another.
    """
    found = tuple(_api_key(part) for part in text.split(",") if part.strip())
    secrets = [item.key.get_secret_value() for item in found]
    if len(set(secrets)) != len(secrets):
        raise ValueError
    return found


def _api_key(text: str) -> ApiKey:
    name, _, rest = line(text).partition(":")
    key, _, behind = rest.partition(":")
    if not SLUG.fullmatch(name) or len(key) < SHORTEST_KEY or not token(key):
        raise ValueError
    parts = re.split(r":(?=https?://)", behind) if behind else []
    return ApiKey(name, SecretStr(key), frozenset(_origin(part) for part in parts))


def key_scopes(text: str) -> tuple[KeyScope, ...]:
    """Return the scopes of a comma-separated list of ``name=scope+scope@agent+agent``.

    Either half may be missing, not both; without scopes a key is for everything.
    """
    found = tuple(_key_scope(part) for part in text.split(",") if part.strip())
    if len({item.name for item in found}) != len(found):
        raise ValueError
    return found


def _key_scope(text: str) -> KeyScope:
    name, _, reach = line(text).partition("=")
    written, at, behind = reach.partition("@")
    scopes = frozenset(written.split("+")) if written else frozenset(SCOPES)
    agents = frozenset(behind.split("+")) if at else None
    known = scopes <= frozenset(SCOPES) and all(map(AGENT_ID.fullmatch, agents or ()))
    if not SLUG.fullmatch(name) or not reach or not known:
        raise ValueError
    return KeyScope(name, scopes, agents)


def time_zone(text: str) -> str:
    """Return the name of a time zone that this machine knows."""
    try:
        return ZoneInfo(line(text)).key
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError from None


def lower(text: str) -> str:
    """Return `text` trimmed and in small letters."""
    return text.strip().lower()


def switch(text: str) -> str:
    """Return a word in small letters; what means yes or no elsewhere is ``on`` or ``off`` here."""
    word = lower(text)
    return {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}.get(
        word, word
    )


def redis_url(text: str) -> str:
    """Return the URL of a Redis server."""
    address = _split(token(text))
    if address.scheme not in ("redis", "rediss", "unix"):
        raise ValueError
    if find_spec("redis") is None:
        raise SettingValueError("needs the package redis (pip install redis)")
    return address.geturl()


def frame_ancestors(text: str) -> str:
    """Return the sources of a Content-Security-Policy's `frame-ancestors`, space-separated."""
    # An .env file takes the quotes of 'self' away; without them it would be a host name.
    quoted = {"self": "'self'", "none": "'none'"}
    sources = [quoted.get(part.strip("'"), part) for part in re.split(r"[\s,]+", line(text))]
    if any(not _is_frame_source(source) for source in sources):
        raise ValueError
    if "'none'" in sources and len(sources) > 1:
        raise ValueError
    return " ".join(dict.fromkeys(sources))


def proxies(text: str) -> str:
    """Return a number of proxies, or the addresses and networks of a comma-separated list."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if "*" in parts:
        raise SettingValueError(
            "takes no * any more: it believed whatever address a client sent; write how many "
            "proxies stand in front of the app, such as 1, or their addresses"
        )
    if len(parts) == 1 and parts[0].isascii() and parts[0].isdigit():
        if int(parts[0]) > MAX_PROXIES:
            raise ValueError
        return parts[0] if int(parts[0]) else ""
    return ",".join(_network(part) for part in parts)


def hosts(text: str) -> frozenset[str]:
    """Return the host names of a comma-separated list, in lower case."""
    return frozenset(_host_name(part.strip()) for part in text.split(",") if part.strip())


def _host_name(text: str) -> str:
    if text == "*":
        return text
    below = "*." if text.startswith("*.") else ""
    return below + host(text.removeprefix(below).strip("[]")).lower()


def _network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address if network.num_addresses == 1 else network)


def _is_frame_source(source: str) -> bool:
    return source in ("'self'", "'none'", "*") or bool(FRAME_SOURCE.fullmatch(source))


def _origin(text: str) -> str:
    address = _web_address(text)
    if address.path.strip("/") or address.query or address.fragment:
        raise ValueError
    name = address.hostname or ""
    name = f"[{name}]" if ":" in name else name
    port = address.port
    shown = "" if port in (None, DEFAULT_PORTS[address.scheme]) else f":{port}"
    return f"{address.scheme}://{name}{shown}"


def _web_address(text: str) -> SplitResult:
    address = _split(token(text))
    if address.scheme not in DEFAULT_PORTS or not address.hostname or "@" in address.netloc:
        raise ValueError
    return address


def _split(text: str) -> SplitResult:
    try:
        address = urlsplit(text)
        _ = address.port
    except ValueError:
        raise ValueError from None
    return address

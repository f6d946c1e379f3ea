"""Readers of the values of a `[[models]]` table: each checks and converts one value."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.model_profiles import NO_FIELDS, Api, Effort
from cmw_agent.config.toml_tables import TableValueError, is_texts, text

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh")
APIS: tuple[Api, ...] = ("chat", "responses")
MAX_TOKENS = 100_000_000
MAX_SECONDS = 86_400
MAX_PRICE = 1_000_000
MAX_FIELDS = 64
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
# Without an underscore so long a name is more likely a key.
SECRET_LIKE = re.compile(r"[A-Z0-9]{16,}")
VARIABLE_ALLOWED = (
    "the name of an environment variable such as OPENROUTER_API_KEY, which holds the key; "
    "never the key itself"
)
ENDPOINT_ALLOWED = "an http:// or https:// address without user name, # and a key"
# What the app itself sends: a table that changes it would break the answer or the isolation.
OWN_FIELDS = frozenset(
    {
        "model",
        "messages",
        "input",
        "stream",
        "stream_options",
        "tools",
        "store",
        # Of the Responses API: all users' messages would be of one conversation.
        "conversation",
        "previous_response_id",
    }
)
OWN_HEADERS = frozenset(
    {
        "accept",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,2000}[\x21-\x7e])?")
HEADERS_ALLOWED = (
    "a table of header names and their texts, or $NAME for an environment variable's value, "
    "without headers that the app sends itself, such as Authorization"
)


def model_id(value: object, _context: object) -> str:
    """Return a model's id or name."""
    return text(value, values.line, "a name of at most 200 characters on one line", 200)


def endpoint(value: object, _context: object) -> str:
    """Return the address of an endpoint."""
    try:
        return text(value, network.endpoint_url, ENDPOINT_ALLOWED, 2000)
    except TableValueError:
        raise TableValueError(ENDPOINT_ALLOWED, is_hidden=True) from None  # it may hold a password


def variable_name(value: object, _context: object) -> str:
    """Return the name of an environment variable; what looks like a key is refused unseen."""
    is_name = isinstance(value, str) and VARIABLE.fullmatch(value)
    if not isinstance(value, str) or not is_name or SECRET_LIKE.fullmatch(value):
        raise TableValueError(VARIABLE_ALLOWED, is_hidden=True)
    return value


def api(value: object, _context: object) -> Api:
    """Return the API of a model's endpoint: chat completions or responses."""
    for known in APIS:
        if value == known:
            return known
    raise TableValueError('"chat" or "responses"')


def effort(value: object, _context: object) -> Effort:
    """Return how much a model thinks."""
    for known in EFFORTS:
        if value == known:
            return known
    raise TableValueError(f"one of {', '.join(EFFORTS)}")


def temperature(value: object, _context: object) -> float:
    """Return a sampling temperature."""
    return _number(value, 0, 2, "a number from 0 to 2")


def top_p(value: object, _context: object) -> float:
    """Return a probability mass."""
    return _number(value, 0, 1, "a number from 0 to 1")


def silence(value: object, _context: object) -> float:
    """Return seconds of silence."""
    allowed = f"a number of seconds above 0 and at most {MAX_SECONDS}"
    seconds = _number(value, 0, MAX_SECONDS, allowed)
    if not seconds:
        raise TableValueError(allowed)
    return seconds


def seed(value: object, _context: object) -> int:
    """Return the seed of sampling."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TableValueError("a whole number of 64 bits")
    return value


def output_tokens(value: object, _context: object) -> int:
    """Return a number of tokens of an answer."""
    return _tokens(value, 1)


def context_tokens(value: object, _context: object) -> int:
    """Return a number of tokens that a model reads."""
    return _tokens(value, 500)


def flag(value: object, _context: object) -> bool:
    """Return a yes or no."""
    if not isinstance(value, bool):
        raise TableValueError("true or false")
    return value


def extra_body(value: object, _context: object) -> Mapping[str, Any]:
    """Return further fields of each request."""
    if not isinstance(value, dict) or len(value) > MAX_FIELDS or OWN_FIELDS & value.keys():
        own = ", ".join(sorted(OWN_FIELDS))
        raise TableValueError(f"a table of fields other than {own}", is_hidden=True)
    if not _is_json(value):
        raise TableValueError("a table without dates, inf and nan", is_hidden=True)
    return MappingProxyType(value) if value else NO_FIELDS


def extra_headers(value: object, _context: object) -> Mapping[str, str]:
    """Return further headers of each request; a text ``$NAME`` stands for a variable's value."""
    if not isinstance(value, dict) or len(value) > MAX_FIELDS:
        raise TableValueError(HEADERS_ALLOWED, is_hidden=True)
    names = [name.lower() for name in value]
    if OWN_HEADERS & set(names) or len(set(names)) < len(names):
        raise TableValueError(HEADERS_ALLOWED, is_hidden=True)
    for name, header in value.items():
        if not network.HEADER_NAME.fullmatch(name) or not isinstance(header, str):
            raise TableValueError(HEADERS_ALLOWED, is_hidden=True)
        if not HEADER_VALUE.fullmatch(header):
            raise TableValueError(HEADERS_ALLOWED, is_hidden=True)
    return MappingProxyType(dict(zip(names, value.values(), strict=True)))


def price(value: object, _context: object) -> tuple[Decimal, Decimal]:
    """Return what a million tokens of input and of output cost, in dollars."""
    allowed = "a table such as {input = 0.15, output = 0.60}, in dollars for a million tokens"
    if not isinstance(value, dict) or value.keys() != {"input", "output"}:
        raise TableValueError(allowed)
    amounts = [_number(value[name], 0, MAX_PRICE, allowed) for name in ("input", "output")]
    return Decimal(str(amounts[0])), Decimal(str(amounts[1]))


def texts(value: object, allowed: str) -> tuple[str, ...]:
    """Return a list of texts without duplicates.

    Raises:
        TableValueError: It is none; the error says `allowed`.
    """
    if not is_texts(value) or len(set(value)) < len(value):
        raise TableValueError(allowed)
    return tuple(value)


def fallback(value: object, _context: object) -> tuple[str, ...]:
    """Return ids of models; whether they are there is checked once all are known."""
    return texts(value, "a list of ids of other models, each once")


def _number(value: object, minimum: float, maximum: float, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TableValueError(allowed)
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise TableValueError(allowed)
    return value


def _tokens(value: object, minimum: int) -> int:
    if type(value) is not int or not minimum <= value <= MAX_TOKENS:
        raise TableValueError(f"a whole number from {minimum} to {MAX_TOKENS}")
    return value


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    # TOML's integers may be larger than JSON's encoder takes.
    return isinstance(value, str | bool) or (type(value) is int and -(2**63) <= value < 2**64)

"""Validators of settings that contain secret keys and API keys."""

import re

from pydantic import SecretStr

from cmw_agent.config.network_validators import origin
from cmw_agent.config.validators import (
    AGENT_ID,
    SCOPES,
    SLUG,
    ApiKey,
    KeyGrant,
    KeyLimits,
    line,
    token,
)

SHORTEST_KEY = 16  # characters
LIMITS = re.compile(r"([0-9]{1,12})/([0-9]{1,12})/([0-9]{1,12})")


def secret_keys(text: str) -> str:
    """Return comma-separated secret keys, each of at least `SHORTEST_KEY` characters."""
    keys = [part.strip() for part in line(text).split(",")]
    if any(len(key) < SHORTEST_KEY for key in keys):
        raise ValueError
    return ",".join(keys)


def api_keys(text: str) -> tuple[ApiKey, ...]:
    """Return the keys of a comma-separated list of ``name:key[:origin…]``.

    A key may have several origins, which contain colons themselves.
    """
    api_keys = tuple(_api_key(part) for part in text.split(",") if part.strip())
    secrets = [item.key.get_secret_value() for item in api_keys]
    if len(set(secrets)) != len(secrets):
        raise ValueError
    return api_keys


def _api_key(text: str) -> ApiKey:
    name, _, rest = line(text).partition(":")
    key, _, origins = rest.partition(":")
    if not SLUG.fullmatch(name) or len(key) < SHORTEST_KEY or not token(key):
        raise ValueError
    parts = re.split(r":(?=https?://)", origins) if origins else []
    return ApiKey(name, SecretStr(key), frozenset(origin(part) for part in parts))


def key_scopes(text: str) -> tuple[KeyGrant, ...]:
    """Return the scopes of a comma-separated list of ``name=scope+scope@agent+agent``.

    Scopes or agents may be missing, but not both; without scopes all scopes apply.
    """
    scopes = tuple(_key_scope(part) for part in text.split(",") if part.strip())
    if len({item.name for item in scopes}) != len(scopes):
        raise ValueError
    return scopes


def key_limits(text: str) -> tuple[KeyLimits, ...]:
    """Return the limits of a comma-separated list of ``name=messages/answers/tokens``."""
    limits = tuple(_key_limits(part) for part in text.split(",") if part.strip())
    if len({item.name for item in limits}) != len(limits):
        raise ValueError
    return limits


def _key_limits(text: str) -> KeyLimits:
    name, _, value = line(text).partition("=")
    match = LIMITS.fullmatch(value)
    if match is None or not (name == KeyLimits().name or SLUG.fullmatch(name)):
        raise ValueError
    return KeyLimits(name, *map(int, match.groups()))


def _key_scope(text: str) -> KeyGrant:
    name, _, value = line(text).partition("=")
    scopes_text, at, agents_text = value.partition("@")
    scopes = frozenset(scopes_text.split("+")) if scopes_text else frozenset(SCOPES)
    agents = frozenset(agents_text.split("+")) if at else None
    is_valid = scopes <= frozenset(SCOPES) and all(map(AGENT_ID.fullmatch, agents or ()))
    if not SLUG.fullmatch(name) or not value or not is_valid:
        raise ValueError
    return KeyGrant(name, scopes, agents)

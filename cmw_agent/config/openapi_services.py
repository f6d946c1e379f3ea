"""Loads the services that describe themselves by OpenAPI: the `[[openapi]]` tables of `agents.toml`.

[[openapi]]
name = "shop"
url = "https://shop.example.com/openapi.json"
auth = {bearer = "$SHOP_TOKEN"}
"""

import base64
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cmw_agent.config import model_values as reader
from cmw_agent.config import network_validators as network
from cmw_agent.config.model_profiles import NO_FIELDS
from cmw_agent.config.named_secrets import text_or_secret
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import (
    Table,
    TableValueError,
    agent_ids,
    patterns,
    problem,
    read_for_agents,
    read_values,
)

MAX_SERVICES = 50
NAME = re.compile(r"[a-z][a-z0-9_-]{0,23}")
NAME_ALLOWED = "1 to 24 small letters, digits, - and _, a letter first"
PATTERN = re.compile(r"[^\s,][^,\r\n]{0,199}")
AUTH_ALLOWED = (
    'one of {bearer = "$NAME"}, {basic = "$NAME"} and {header = "x-api-key", value = "$NAME"}, '
    "where NAME is the variable that holds the token, user:password or key"
)


@dataclass(frozen=True, slots=True)
class OpenApiService:
    """A service that the operator has configured.

    Attributes:
        subject: Names its table in errors.
        name: Its name; the names of its tools begin with it.
        url: Address of its description; None where that is a file.
        file: Path of its description.
        base_url: Address of the service; None where the description says it.
        headers: Headers of each request, with what proves who asks.
        agents: Ids of the agents that may use it; None for all.
        operations: Ids of its operations that may be used, with ``*`` for any characters; None
            for all.
    """

    subject: str
    name: str
    url: str | None = None
    file: Path | None = None
    base_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS, repr=False)
    agents: frozenset[str] | None = None
    operations: tuple[str, ...] | None = None

    def serves(self, agent_id: str) -> bool:
        """Whether an agent may use it."""
        return self.agents is None or agent_id in self.agents

    def offers(self, operation: str) -> bool:
        """Whether one of its operations may be used, by its id."""
        patterns = self.operations
        return patterns is None or any(fnmatchcase(operation, pattern) for pattern in patterns)


def load_openapi_services(
    settings: Settings, agents: Collection[str]
) -> tuple[OpenApiService, ...]:
    """Return the services of the file that the settings name.

    Args:
        settings: They name the file.
        agents: Ids of the agents that there are.

    Raises:
        StartupError: The file is not valid; the message is one line that names the file, the
            service and what is allowed.
    """
    return read_for_agents(
        settings.agents_file,
        "openapi",
        MAX_SERVICES,
        lambda table, subject: _service(table, subject, settings),
        agents,
    )


def _service(table: Table, subject: str, settings: Settings) -> OpenApiService:
    path = settings.agents_file
    found = read_values(path, subject, table, READERS, settings)
    if "name" not in found:
        raise problem(path, subject, f"must have a name: {NAME_ALLOWED}")
    if ("url" in found) == ("file" in found):
        raise problem(path, subject, "must have the url of its description or a file, and not both")
    headers = {
        name: text_or_secret(value, "headers", subject, settings)
        for name, value in found.pop("headers", NO_FIELDS).items()
    }
    headers |= _proof(found.pop("auth", NO_FIELDS), subject, settings)
    return OpenApiService(
        subject=f"CMW_AGENTS_FILE: {path}, {subject}", headers=MappingProxyType(headers), **found
    )


def _proof(auth: Mapping[str, str], subject: str, settings: Settings) -> dict[str, str]:
    """Return the header with which the app proves who it is."""
    secrets = {
        kind: text_or_secret(auth[kind], "auth", subject, settings)
        for kind in ("bearer", "basic", "value")
        if kind in auth
    }
    if "bearer" in secrets:
        return {"authorization": f"Bearer {secrets['bearer']}"}
    if "basic" in secrets:
        return {"authorization": f"Basic {base64.b64encode(secrets['basic'].encode()).decode()}"}
    return {auth["header"].lower(): secrets["value"]} if "value" in secrets else {}


def _name(value: object, _settings: Settings) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise TableValueError(NAME_ALLOWED)
    return value


def _file(value: object, settings: Settings) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise TableValueError("the path of a file")
    return settings.agents_file.parent / value


def _base_url(value: object, _settings: Settings) -> str:
    try:
        return network.base_url(value if isinstance(value, str) else "")
    except ValueError:
        raise TableValueError("an http:// or https:// address without ? and #") from None


def _auth(value: object, _settings: Settings) -> Mapping[str, str]:
    error = TableValueError(AUTH_ALLOWED, is_hidden=True)
    if not isinstance(value, dict) or value.keys() not in KINDS_OF_AUTH:
        raise error
    for key, content in value.items():
        is_name = key == "header" and isinstance(content, str)
        if is_name and not network.HEADER_NAME.fullmatch(content):
            raise error
        if is_name and content.lower() in network.FRAMING_HEADERS:
            raise error
        if not is_name and not (isinstance(content, str) and content.startswith("$")):
            raise error
    return MappingProxyType(value)


def _operations(value: object, _settings: Settings) -> tuple[str, ...]:
    return patterns(value, PATTERN, 'a list of operations such as ["getOrder", "list*"]')


KINDS_OF_AUTH: Final = (
    frozenset({"bearer"}),
    frozenset({"basic"}),
    frozenset({"header", "value"}),
)
# Every key of a service, with the function that validates its value.
READERS: Final[Mapping[str, Callable[[Any, Settings], Any]]] = MappingProxyType(
    {
        "name": _name,
        "url": reader.endpoint,
        "file": _file,
        "base_url": _base_url,
        "auth": _auth,
        "headers": reader.extra_headers,
        "agents": agent_ids,
        "operations": _operations,
    }
)

"""Loads the servers of the Model Context Protocol: the `[[mcp]]` tables of `agents.toml`.

    [[mcp]]
    name = "wiki"
    url = "https://wiki.example.com/mcp"
    key = "WIKI_TOKEN"

A server is reached by its URL, or is a program that the app starts.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cmw_agent.config import model_values as reader
from cmw_agent.config.model_profiles import NO_FIELDS
from cmw_agent.config.named_secrets import named_secret, text_or_secret
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import (
    Table,
    TableValueError,
    agent_ids,
    is_texts,
    patterns,
    problem,
    read_for_agents,
    read_values,
)

MAX_SERVERS = 50
MAX_ARGUMENTS = 100  # of a program
MAX_CHARACTERS = 4_000  # of a program's path, argument or variable
NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
PATTERN = re.compile(r"[A-Za-z0-9_.*/-]{1,200}")
McpTransport = Literal["http", "sse"]
TRANSPORTS: tuple[McpTransport, ...] = ("http", "sse")
OF_URL = frozenset({"transport", "key", "headers", "auth"})
OF_COMMAND = frozenset({"args", "env"})


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server that the operator has configured.

    Attributes:
        name: Its name; the names of its tools begin with it.
        url: Its address; None for a program.
        transport: How it is reached at its address: streamable HTTP, or the older SSE.
        headers: Headers of each request.
        command: The program and its arguments.
        env: Further environment variables of the program.
        is_shared: Whether all users share one session; each has one of their own otherwise.
        has_oauth: Whether each user signs in at the server.
        agents: Ids of the agents that may use it; None for all.
        tools: Names of its tools that may be used, with ``*`` for any characters; None for all.
        is_own: Whether it is a user's own, and not the operator's: at a public address alone.
    """

    name: str
    url: str | None = None
    transport: McpTransport = "http"
    headers: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS, repr=False)
    command: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS, repr=False)
    is_shared: bool = False
    has_oauth: bool = False
    agents: frozenset[str] | None = None
    tools: tuple[str, ...] | None = None
    is_own: bool = False

    @property
    def trusted_host(self) -> str | None:
        """The host of its address, where that may be private since the operator has named it."""
        return urlsplit(self.url).hostname if self.url is not None and not self.is_own else None

    def serves(self, agent_id: str) -> bool:
        """Whether an agent may use it."""
        return self.agents is None or agent_id in self.agents

    def offers(self, tool: str) -> bool:
        """Whether one of its tools may be used, by the server's own name for it."""
        return self.tools is None or any(fnmatchcase(tool, pattern) for pattern in self.tools)


def load_mcp_servers(settings: Settings, agents: Collection[str]) -> tuple[McpServer, ...]:
    """Return the servers of the file that the settings name.

    Args:
        settings: They name the file.
        agents: Ids of the agents that there are.

    Raises:
        StartupError: The file is not valid; the message is one line that names the file, the server
            and what is allowed.
    """
    return read_for_agents(
        settings.agents_file,
        "mcp",
        MAX_SERVERS,
        lambda table, subject: _server(table, subject, settings),
        agents,
    )


def _server(table: Table, subject: str, settings: Settings) -> McpServer:
    path = settings.agents_file
    found = read_values(path, subject, table, READERS, settings)
    if "name" not in found:
        raise problem(path, subject, f"must have a name: {NAME_ALLOWED}")
    if ("url" in found) == ("command" in found):
        raise problem(path, subject, "must have a url or a command, and not both")
    foreign = sorted(found.keys() & (OF_COMMAND if "url" in found else OF_URL))
    if foreign:
        raise problem(path, subject, f"must not have {foreign[0]} beside its address or command")
    has_oauth = found.pop("auth", None) is not None
    if has_oauth and (found.get("shared") or "key" in found):
        raise problem(path, subject, 'must have neither shared nor key where auth is "oauth"')
    headers = {
        name: text_or_secret(value, "headers", subject, settings)
        for name, value in found.pop("headers", NO_FIELDS).items()
    }
    if (variable := found.pop("key", None)) is not None:
        key = named_secret(variable, "key", subject, settings).get_secret_value()
        headers["authorization"] = f"Bearer {key}"
    env = {
        name: text_or_secret(value, "env", subject, settings)
        for name, value in found.pop("env", NO_FIELDS).items()
    }
    return McpServer(
        name=found["name"],
        url=found.get("url"),
        transport=found.get("transport", "http"),
        headers=MappingProxyType(headers),
        command=(found["command"], *found.get("args", ())) if "command" in found else (),
        env=MappingProxyType(env),
        is_shared=found.get("shared", False),
        has_oauth=has_oauth,
        agents=found.get("agents"),
        tools=found.get("tools"),
    )


def _name(value: object, _settings: Settings) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise TableValueError(NAME_ALLOWED)
    return value


def _transport(value: object, _settings: Settings) -> McpTransport:
    for known in TRANSPORTS:
        if value == known:
            return known
    raise TableValueError('"http" or "sse"')


def _auth(value: object, _settings: Settings) -> str:
    if value != "oauth":
        raise TableValueError('"oauth"')
    return "oauth"


def _command(value: object, _settings: Settings) -> str:
    if not isinstance(value, str) or not _is_argument(value) or not value.strip():
        raise TableValueError("the path or name of a program, without arguments")
    return value


def _args(value: object, _settings: Settings) -> tuple[str, ...]:
    if not is_texts(value) or len(value) > MAX_ARGUMENTS or not all(map(_is_argument, value)):
        raise TableValueError("a list of a program's arguments", is_hidden=True)
    return tuple(value)


def _env(value: object, _settings: Settings) -> Mapping[str, str]:
    allowed = "a table of variables and their texts, or $NAME for a variable of the app's own"
    if not isinstance(value, dict) or len(value) > MAX_ARGUMENTS:
        raise TableValueError(allowed, is_hidden=True)
    for name, content in value.items():
        is_text = isinstance(content, str) and _is_argument(content)
        if not VARIABLE.fullmatch(name) or not is_text:
            raise TableValueError(allowed, is_hidden=True)
    return MappingProxyType(value)


def _is_argument(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and "\0" not in text


def _tools(value: object, _settings: Settings) -> tuple[str, ...]:
    return patterns(value, PATTERN, 'a list of the server\'s tools such as ["search", "get_*"]')


NAME_ALLOWED = "1 to 24 small letters, digits and -, a letter first"
# Every key of a server, with the function that validates its value.
READERS: Final[Mapping[str, Callable[[Any, Settings], Any]]] = MappingProxyType(
    {
        "name": _name,
        "url": reader.endpoint,
        "transport": _transport,
        "key": reader.variable_name,
        "headers": reader.extra_headers,
        "auth": _auth,
        "command": _command,
        "args": _args,
        "env": _env,
        "shared": reader.flag,
        "agents": agent_ids,
        "tools": _tools,
    }
)

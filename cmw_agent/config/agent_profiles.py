"""Agent profiles: loads and validates `agents.toml` at the start.

    [[agents]]
    id = "assistant"
    prompt = "You answer questions about our shop."

The file may change the built-in agent, by its id, and add others. What a profile leaves out has
the value of the settings, except origins: an agent without them has none.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeGuard

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import StartupError

BUILT_IN = "assistant"
MAX_BYTES = 1_000_000
MAX_AGENTS = 1000
SHOWN = 60  # characters of a wrong value
AccessLevel = Literal["everyone", "signed-in", "site"]
Access = AccessLevel | frozenset[str]
EVERYONE: AccessLevel = "everyone"
SIGNED_IN: AccessLevel = "signed-in"
SITE: AccessLevel = "site"
ACCESS_LEVELS: Mapping[object, AccessLevel] = MappingProxyType(
    {level: level for level in (EVERYONE, SIGNED_IN, SITE)}
)
GROUP = "group:"  # prefix of a group's name in a list of users and groups


@dataclass(frozen=True, slots=True)
class AgentProfile:
    """Configuration of one agent.

    Attributes:
        id: Its name in URLs and in the database.
        name: Its name for users.
        prompt: System prompt.
        model: Name of the model at the endpoint.
        toolkits: Slugs of the Composio toolkits that it may use.
        allowed_origins: Websites that may embed it.
        access: Who may use it: a level, or names of users and, with the prefix ``group:``, of
            groups; see `cmw_agent.agent.access`.
    """

    id: str
    name: str
    prompt: str
    model: str
    toolkits: tuple[str, ...]
    allowed_origins: frozenset[str]
    access: Access = EVERYONE


class _ProfileError(Exception):
    """A value is not allowed; the message completes "KEY must be …"."""


def load_profiles(settings: Settings) -> Mapping[str, AgentProfile]:
    """Return an immutable mapping of agents by id, with the built-in agent first.

    Raises:
        StartupError: The file that the settings name cannot be read or is not valid; the message
            is one line that names the file, the agent and what is allowed.
    """
    built_in = AgentProfile(
        id=BUILT_IN,
        name="Assistant",
        prompt=settings.system_prompt,
        model=settings.model,
        toolkits=settings.toolkits,
        allowed_origins=frozenset(),
    )
    profiles = {BUILT_IN: built_in}
    ids: set[str] = set()
    for number, table in enumerate(_agents(settings.agents_file), 1):
        profile = _profile(table, number, built_in, settings)
        if profile.id in ids:
            raise _problem(settings.agents_file, _agent(table, number), "has an id that is taken")
        ids.add(profile.id)
        profiles[profile.id] = profile
    return MappingProxyType(profiles)


def _agents(path: Path) -> list[Any]:
    document = _document(path)
    unknown = next((key for key in document if key != "agents"), None)
    if unknown is not None:
        raise _problem(path, "", f"holds {_quoted(unknown)}; only [[agents]] tables are allowed")
    agents = document.get("agents", [])
    if not isinstance(agents, list) or not all(isinstance(agent, dict) for agent in agents):
        raise _problem(path, "", "must hold each agent as a table under [[agents]]")
    if len(agents) > MAX_AGENTS:
        raise _problem(path, "", f"must hold at most {MAX_AGENTS} agents")
    return agents


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _problem(path, "", f"must have at most {MAX_BYTES} bytes")
        return tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        if not path.is_symlink():
            return {}
        raise _problem(path, "", "cannot be read: its link leads nowhere") from None
    except OSError as error:
        raise _problem(path, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _problem(path, "", "cannot be read: it must be UTF-8 text") from None
    # Deep nesting exhausts the parser's recursion.
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        details = f" ({error})" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise _problem(path, "", f"must be valid TOML{details}") from None


def _profile(
    table: dict[str, Any], number: int, built_in: AgentProfile, settings: Settings
) -> AgentProfile:
    path, agent = settings.agents_file, _agent(table, number)
    for key in table:
        if key not in READERS:
            similar = difflib.get_close_matches(key, READERS, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"known are {', '.join(READERS)}"
            raise _problem(path, agent, f"has an unknown key {_quoted(key)}; {hint}")
    if "id" not in table:
        raise _problem(path, agent, f"must have an id: {ID_ALLOWED}")
    changes: dict[str, Any] = {}
    for key, value in table.items():
        try:
            changes[key] = READERS[key](value, settings)
        except _ProfileError as error:
            raise _problem(path, agent, f"{key} must be {error}, not {_quoted(value)}") from None
    if changes["id"] != BUILT_IN:
        changes.setdefault("name", changes["id"])
    profile = replace(built_in, **changes)
    if profile.access == SITE and not profile.allowed_origins:
        raise _problem(path, agent, 'must have allowed_origins where access is "site"')
    return profile


def _id(value: object, _settings: Settings) -> str:
    if not isinstance(value, str) or not values.AGENT_ID.fullmatch(value):
        raise _ProfileError(ID_ALLOWED)
    return value


def _name(value: object, _settings: Settings) -> str:
    return _text(value, values.line, "a name of at most 100 characters on one line", 100)


def _prompt(value: object, _settings: Settings) -> str:
    return _text(value, values.prose, "text of at most 20000 characters", 20_000)


def _model(value: object, settings: Settings) -> str:
    models = tuple(dict.fromkeys((settings.model, *settings.models)))
    if value not in models:
        raise _ProfileError(f"a model of CMW_MODEL or CMW_MODELS ({', '.join(models)})")
    return str(value)


def _toolkits(value: object, settings: Settings) -> tuple[str, ...]:
    configured = settings.toolkits
    if not _is_texts(value) or not set(value) <= set(configured):
        raise _ProfileError(
            f"a list of toolkits of CMW_TOOLKITS ({', '.join(configured) or 'none is set'})"
        )
    return tuple(dict.fromkeys(value))


def _origins(value: object, _settings: Settings) -> frozenset[str]:
    error = _ProfileError("a list of origins such as https://example.com:8443")
    if not _is_texts(value) or any("," in part or not part.strip() for part in value):
        raise error
    try:
        return network.origins(",".join(value))
    except ValueError:
        raise error from None


def _access(value: object, _settings: Settings) -> Access:
    if isinstance(value, str) and value in ACCESS_LEVELS:
        return ACCESS_LEVELS[value]
    # In a list, the name of a level would mean a user of that name.
    if not _is_texts(value) or not value or ACCESS_LEVELS.keys() & set(value):
        raise _ProfileError(ACCESS_ALLOWED)
    try:
        names = frozenset(values.line(name) for name in value)
    except ValueError:
        raise _ProfileError(ACCESS_ALLOWED) from None
    if GROUP in names:
        raise _ProfileError(ACCESS_ALLOWED)
    return names


def _text(value: object, check: Callable[[str], str], allowed: str, max_chars: int) -> str:
    try:
        text = check(value) if isinstance(value, str) else ""
    except ValueError:
        text = ""
    if not 0 < len(text) <= max_chars:
        raise _ProfileError(allowed)
    return text


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _agent(table: dict[str, Any], number: int) -> str:
    return f"agent {_quoted(table['id'])}" if table.get("id") else f"agent number {number}"


def _quoted(value: object) -> str:
    text = str(value)
    return ascii(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def _problem(path: Path, agent: str, problem: str) -> StartupError:
    subject = f"CMW_AGENTS_FILE: {path}" + (f", {agent}:" if agent else "")
    return StartupError(" ".join(f"{subject} {problem}".split()))


ACCESS_ALLOWED = (
    '"everyone", "signed-in", "site" or a list of user names and groups such as '
    '["alice", "group:staff"]'
)
ID_ALLOWED = "1 to 40 small letters, digits, - and _"
# Every key of an agent, with the function that validates its value.
READERS: Final[Mapping[str, Callable[[Any, Settings], Any]]] = MappingProxyType(
    {
        "id": _id,
        "name": _name,
        "prompt": _prompt,
        "model": _model,
        "toolkits": _toolkits,
        "allowed_origins": _origins,
        "access": _access,
    }
)

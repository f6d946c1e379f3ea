"""Agent profiles: loads and validates `agents.toml` at the start.

    [[agents]]
    id = "assistant"
    prompt = "You answer questions about our shop."

The file may change the built-in agent, by its id, and add others. What a profile leaves out has
the value of the settings, except origins: an agent without them has none.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.access_table import load_access
from cmw_agent.config.agent_look import LOOK_READERS
from cmw_agent.config.look import DEFAULT_LOOK, Look
from cmw_agent.config.model_loader import load_models
from cmw_agent.config.model_profiles import Effort, Models
from cmw_agent.config.model_values import (
    effort,
    output_tokens,
    seed,
    temperature,
    texts,
    top_p,
)
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import (
    Table,
    TableValueError,
    is_texts,
    problem,
    quoted,
    read_tables,
    read_values,
    subject_of,
    text,
)
from cmw_agent.core.access_names import canonical

BUILT_IN = "assistant"
MAX_AGENTS = 1000
AccessLevel = Literal["everyone", "signed-in", "site"]
Access = AccessLevel | frozenset[str]
EVERYONE: AccessLevel = "everyone"
SIGNED_IN: AccessLevel = "signed-in"
SITE: AccessLevel = "site"
ACCESS_LEVELS: Mapping[object, AccessLevel] = MappingProxyType(
    {level: level for level in (EVERYONE, SIGNED_IN, SITE)}
)


@dataclass(frozen=True, slots=True)
class AgentProfile:
    """Configuration of one agent.

    Attributes:
        id: Its name in URLs and in the database.
        name: Its name for users.
        prompt: System prompt.
        model: Id of its model.
        toolkits: Slugs of the Composio toolkits that it may use.
        allowed_origins: Websites that may embed it.
        access: Who may use it: a level, or names of users and groups; see
            `cmw_agent.core.access_names` and `cmw_agent.agent.access`.
        temperature, top_p, seed, effort, output_tokens: As of a model, for this agent; None for
            what the model's own profile says.
        fallback: Ids of the models that answer where its model fails; None for those of the
            model's own profile.
        look: How the page looks where this agent answers.
        allowed_tools: Names of the connected tools that it may use, with ``*`` for any characters;
            None for all of its toolkits.
        graph: Reference to what answers in place of the built-in loop, such as ``pkg.module:graph``.
        tools: References to its own tools.
        uses_model: Whether the built-in loop answers, with a model; False for an agent that has a
            graph, a runnable or a function of its own.
        closed_models: Models that whoever asks may not choose; see `cmw_agent.config.access_table`.
    """

    id: str
    name: str
    prompt: str
    model: str
    toolkits: tuple[str, ...]
    allowed_origins: frozenset[str]
    access: Access = EVERYONE
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    effort: Effort | None = None
    output_tokens: int | None = None
    fallback: tuple[str, ...] | None = None
    look: Look = DEFAULT_LOOK
    allowed_tools: tuple[str, ...] | None = None
    graph: str | None = None
    tools: tuple[str, ...] = ()
    closed_models: frozenset[str] = frozenset()
    uses_model: bool = True

    def allows_tool(self, slug: str) -> bool:
        """Whether the agent may use a connected tool."""
        patterns = self.allowed_tools
        return patterns is None or any(fnmatchcase(slug, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class _Known:
    """What an agent may name."""

    toolkits: tuple[str, ...]
    models: Models
    folder: Path


def load_profiles(
    settings: Settings, models: Models | None = None, in_code: Sequence[Table] = ()
) -> Mapping[str, AgentProfile]:
    """Return an immutable mapping of agents by id.

    The first is the built-in agent, or the first one that is defined in Python, where there is any.

    Args:
        settings: They name the file.
        models: The models that agents may name; None loads them from the same file.
        in_code: The agents that are defined in Python, as tables of the file.

    Raises:
        StartupError: The file that the settings name cannot be read or is not valid; the message
            is one line that names the file, the agent and what is allowed.
    """
    models = load_models(settings) if models is None else models
    built_in = AgentProfile(
        id=BUILT_IN,
        name="Assistant",
        prompt=settings.system_prompt,
        model=models.default,
        toolkits=settings.toolkits,
        allowed_origins=frozenset(),
        look=settings.look,
    )
    profiles = {} if in_code else {BUILT_IN: built_in}
    ids: set[str] = set()
    path = settings.agents_file
    known = _Known(settings.toolkits, models, path.parent)
    named = load_access(path, models).names_by_agent
    tables = [*in_code, *read_tables(path, "agents", MAX_AGENTS)]
    for number, table in enumerate(tables, 1):
        subject = subject_of("agent", table, number)
        profile = _profile(table, subject, built_in, settings, known)
        if profile.id in named and "access" in table and isinstance(profile.access, str):
            text = "is named in [access], and so must have no access but a list of names"
            raise problem(path, subject, text)
        if profile.id in ids:
            raise problem(path, subject, "has an id that is taken")
        ids.add(profile.id)
        profiles[profile.id] = profile
    for agent_id, names in named.items():
        if agent_id not in profiles:
            raise problem(
                path, "", f"[access] names the agent {quoted(agent_id)}, which is not there"
            )
        profile = profiles[agent_id]
        own = frozenset[str]() if isinstance(profile.access, str) else profile.access
        profiles[agent_id] = replace(profile, access=own | names)
    return MappingProxyType(profiles)


def _profile(
    table: Table, subject: str, built_in: AgentProfile, settings: Settings, known: _Known
) -> AgentProfile:
    path = settings.agents_file
    changes = read_values(path, subject, table, READERS, known)
    if "id" not in changes:
        raise problem(path, subject, f"must have an id: {ID_ALLOWED}")
    if changes["id"] != BUILT_IN:
        changes.setdefault("name", changes["id"])
    look = {name: changes.pop(name) for name in LOOK_READERS if name in changes}
    profile = replace(built_in, **changes, look=replace(built_in.look, **look))
    if profile.access == SITE and not profile.allowed_origins:
        raise problem(path, subject, 'must have allowed_origins where access is "site"')
    if profile.model in (profile.fallback or ()):
        raise problem(path, subject, "must not have its own model as fallback")
    return profile


def _id(value: object, _known: _Known) -> str:
    if not isinstance(value, str) or not values.AGENT_ID.fullmatch(value):
        raise TableValueError(ID_ALLOWED)
    return value


def _name(value: object, _known: _Known) -> str:
    return text(value, values.line, "a name of at most 100 characters on one line", 100)


def _prompt(value: object, _known: _Known) -> str:
    return text(value, values.prose, "text of at most 20000 characters", 20_000)


def _model(value: object, known: _Known) -> str:
    if not isinstance(value, str) or value not in known.models.by_id:
        raise TableValueError(f"a model of {_models(known)}")
    return value


def _fallback(value: object, known: _Known) -> tuple[str, ...]:
    ids = texts(value, f"a list of models of {_models(known)}")
    if not set(ids) <= set(known.models.by_id):
        raise TableValueError(f"a list of models of {_models(known)}")
    return ids


def _models(known: _Known) -> str:
    return f"CMW_MODEL, CMW_MODELS or [[models]] ({', '.join(known.models.by_id)})"


def _toolkits(value: object, known: _Known) -> tuple[str, ...]:
    if not is_texts(value) or not set(value) <= set(known.toolkits):
        raise TableValueError(
            f"a list of toolkits of CMW_TOOLKITS ({', '.join(known.toolkits) or 'none is set'})"
        )
    return tuple(dict.fromkeys(value))


def _graph(value: object, _known: _Known) -> str:
    if not isinstance(value, str) or not REFERENCE.fullmatch(value):
        raise TableValueError(REFERENCE_ALLOWED)
    return value


def _tools(value: object, _known: _Known) -> tuple[str, ...]:
    if not is_texts(value) or not all(map(REFERENCE.fullmatch, value)):
        raise TableValueError(f"a list of tools, each {REFERENCE_ALLOWED}")
    return tuple(dict.fromkeys(value))


def _allowed_tools(value: object, _known: _Known) -> tuple[str, ...]:
    if not is_texts(value) or not all(map(TOOL_PATTERN.fullmatch, value)):
        raise TableValueError('a list of tools such as ["GITHUB_GET_ISSUE", "GMAIL_*"]')
    return tuple(dict.fromkeys(value))


def _origins(value: object, _known: _Known) -> frozenset[str]:
    error = TableValueError("a list of origins such as https://example.com:8443")
    if not is_texts(value) or any("," in part or not part.strip() for part in value):
        raise error
    try:
        return network.origins(",".join(value))
    except ValueError:
        raise error from None


def _access(value: object, _known: _Known) -> Access:
    if isinstance(value, str) and value in ACCESS_LEVELS:
        return ACCESS_LEVELS[value]
    # In a list, the name of a level would mean a user of that name.
    if not is_texts(value) or not value or ACCESS_LEVELS.keys() & set(value):
        raise TableValueError(ACCESS_ALLOWED)
    try:
        return frozenset(canonical(values.line(name)) for name in value)
    except ValueError:
        raise TableValueError(ACCESS_ALLOWED) from None


ACCESS_ALLOWED = (
    '"everyone", "signed-in", "site" or a list of user names and groups such as '
    '["alice", "group:staff"]'
)
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*|[A-Za-z0-9_][\w.-]*")
TOOL_PATTERN = re.compile(r"[A-Za-z0-9_*-]{1,200}")
REFERENCE_ALLOWED = "package.module:name, or the name of an entry point of an installed package"
ID_ALLOWED = "1 to 40 small letters, digits, - and _"
# Every key of an agent, with the function that validates its value.
READERS: Final[Mapping[str, Callable[[Any, _Known], Any]]] = MappingProxyType(
    {
        "id": _id,
        "name": _name,
        "prompt": _prompt,
        "model": _model,
        "toolkits": _toolkits,
        "allowed_origins": _origins,
        "access": _access,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "effort": effort,
        "output_tokens": output_tokens,
        "fallback": _fallback,
        "allowed_tools": _allowed_tools,
        "graph": _graph,
        "tools": _tools,
        **LOOK_READERS,
    }
)

"""The table `[access]` of `agents.toml`: what users and groups may use beyond what everybody may.

```toml
[access."group:staff"]
agents = ["helper"]
models = ["large"]
turns_per_minute = 60

[access."key:crm"]
models = ["large"]
```
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cmw_agent.config.model_profiles import Models
from cmw_agent.config.toml_tables import (
    TableValueError,
    is_texts,
    problem,
    quoted,
    read_named_tables,
    read_values,
)
from cmw_agent.config.validators import line
from cmw_agent.core.access_names import KEY, canonical

MAX_GRANTS = 1000
MAX_LIMIT = 1_000_000_000
LIMITS: Final = ("turns_per_minute", "turns_at_once", "tokens_per_day")
KEY_ALLOWED = "a user name, sub:SUBJECT, email:ADDRESS, group:NAME or key:NAME"
OF_KEYS = "must have no limits: those of a key of CMW_API_KEYS are in CMW_KEY_LIMITS"


@dataclass(frozen=True, slots=True)
class UserLimits:
    """Limits of one user in place of those of the settings.

    Attributes:
        turns_per_minute, turns_at_once, tokens_per_day: As the settings; 0 sets no limit, and None
            leaves the setting's.
    """

    turns_per_minute: int | None = None
    turns_at_once: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What those who have one name may use."""

    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limits: UserLimits = UserLimits()


@dataclass(frozen=True, slots=True)
class AccessTable:
    """The grants by the names of users and groups; see `cmw_agent.core.access_names`."""

    grants: Mapping[str, Grant] = field(default_factory=dict)

    @property
    def has_limits(self) -> bool:
        """Whether the limits of some users differ from the settings'."""
        return any(grant.limits != UserLimits() for grant in self.grants.values())

    @property
    def has_models(self) -> bool:
        """Whether some models are for some users alone."""
        return any(grant.models for grant in self.grants.values())

    @property
    def names_by_agent(self) -> Mapping[str, frozenset[str]]:
        """The names for which each agent is that the table names."""
        found: dict[str, frozenset[str]] = {}
        for name, grant in self.grants.items():
            for agent_id in grant.agents:
                found[agent_id] = found.get(agent_id, frozenset()) | {name}
        return found

    def closed_models(self, names: frozenset[str] | None) -> frozenset[str]:
        """Return the models that an account or key with these names may not choose."""
        named = {model for grant in self.grants.values() for model in grant.models}
        own = {
            model
            for name in names or ()
            if name in self.grants
            for model in self.grants[name].models
        }
        return frozenset(named - own)

    def limits(self, names: frozenset[str] | None) -> UserLimits:
        """Return the limits of an account with these names: of several grants the widest."""
        found = [self.grants[name].limits for name in sorted(names or ()) if name in self.grants]
        return UserLimits(
            **{name: _widest([getattr(one, name) for one in found]) for name in LIMITS}
        )


def load_access(path: Path, models: Models) -> AccessTable:
    """Return the table of the file; an empty one where there is none.

    Raises:
        StartupError: It is not as it should be; agents are checked by `load_profiles`.
    """
    grants: dict[str, Grant] = {}
    for key, table in read_named_tables(path, "access", MAX_GRANTS).items():
        subject = f"[access.{quoted(key)}]"
        try:
            name = canonical(line(key))
        except ValueError:
            raise problem(path, subject, f"must be named {KEY_ALLOWED}") from None
        found = read_values(path, subject, table, READERS, models)
        limits = UserLimits(**{name: found.pop(name) for name in LIMITS if name in found})
        if name.startswith(KEY) and limits != UserLimits():
            raise problem(path, subject, OF_KEYS)
        grants[name] = Grant(**found, limits=limits)
    return AccessTable(MappingProxyType(grants))


def _widest(values: list[int | None]) -> int | None:
    given = [value for value in values if value is not None]
    return (0 if 0 in given else max(given)) if given else None


def _agents(value: object, _models: Models) -> tuple[str, ...]:
    if not is_texts(value):
        raise TableValueError("a list of ids of agents")
    return tuple(dict.fromkeys(value))


def _models(value: object, models: Models) -> tuple[str, ...]:
    if not is_texts(value) or not set(value) <= set(models.by_id):
        raise TableValueError(f"a list of models ({', '.join(models.by_id)})")
    return tuple(dict.fromkeys(value))


def _limit(value: object, _models: Models) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LIMIT:
        raise TableValueError(f"a whole number from 0 to {MAX_LIMIT}")
    return value


READERS: Final[Mapping[str, Callable[[Any, Models], Any]]] = MappingProxyType(
    {"agents": _agents, "models": _models, **dict.fromkeys(LIMITS, _limit)}
)

"""Who may use an agent: one check, for every channel.

`may_use` decides. `Agents` is the only way from an agent's id to its profile, so that those who may
not use an agent learn nothing of it. See ``docs/adr/0029-agents-are-boundaries.md``.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cmw_agent.config.access_table import AccessTable, UserLimits
from cmw_agent.config.agent_profiles import EVERYONE, SIGNED_IN, SITE, AgentProfile
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.access_names import KEY
from cmw_agent.core.errors import StartupError
from cmw_agent.identity.channel_principals import tenant
from cmw_agent.identity.principals import ACCOUNT_ID, Principal, PrincipalKind

NamesOf = Callable[[str], Awaitable[frozenset[str] | None]]
CHATTING = frozenset({"agents", "v1"})  # scopes with which a key begins turns


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to use an agent, as the server has verified it.

    Args:
        kind: The kind of principal.
        names: What lists may call an account by its newest sign-in; None where none of its logins is
            live.
        keys: The API keys through which a client may have come.
    """

    kind: PrincipalKind
    names: frozenset[str] | None = None
    keys: tuple[ApiKey, ...] = ()


VISITOR, WIDGET = Asker("visitor"), Asker("widget")
PHONE, PARTY = Asker("phone"), Asker("party")


def by_key(key: ApiKey) -> Asker:
    """Return who asks with a key of the REST interface."""
    return Asker("client", keys=(key,))


def may_use(profile: AgentProfile, asker: Asker) -> bool:
    """Whether `asker` may use an agent."""
    if asker.kind == "client":
        return any(_reaches(key, profile) for key in asker.keys)
    if profile.access == EVERYONE:
        return True
    if profile.access == SITE:
        return asker.kind == "widget"
    if asker.kind != "account" or asker.names is None:
        return False
    return profile.access == SIGNED_IN or not asker.names.isdisjoint(profile.access)


def _reaches(key: ApiKey, profile: AgentProfile) -> bool:
    is_named = key.agents is not None and profile.id in key.agents
    is_granted = not isinstance(profile.access, str) and not profile.access.isdisjoint(
        _names_of_keys((key,))
    )
    if key.agents is not None and not is_named:
        return False
    if key.origins:  # it stands in a website's pages, and so proves nobody
        is_of_site = not key.origins.isdisjoint(profile.allowed_origins)
        return profile.access == EVERYONE and is_of_site
    return profile.access == EVERYONE or is_granted or (is_named and profile.access != SITE)


def _names_of_keys(keys: Sequence[ApiKey]) -> frozenset[str]:
    """Return what lists and tables call these keys: none that stands in a website's pages."""
    return frozenset(f"{KEY}{key.name}" for key in keys if not key.origins)


class Agents:
    """The agents of the app; it returns an agent's profile only to those who may use it.

    Args:
        profiles: All agents' profiles by id.
        keys: The keys of the REST interface.
        names_of: Returns the names of an account's newest sign-in by the account's id; None where
            no login of it is live.
        access: What users and groups may use beyond what everybody may.

    Raises:
        StartupError: A key is for an agent that is not there, or a list or table names a key that
            is not.
    """

    def __init__(
        self,
        profiles: Mapping[str, AgentProfile],
        keys: Sequence[ApiKey],
        names_of: NamesOf,
        access: AccessTable | None = None,
    ) -> None:
        self._access = access or AccessTable()
        self._has_models, self._has_limits = self._access.has_models, self._access.has_limits
        self._profiles = profiles
        self._names_of = names_of
        self._keys: dict[str, tuple[ApiKey, ...]] = {}
        for key in keys:
            _check(key, profiles)
            if key.scopes & CHATTING:
                through = tenant(key.name)
                self._keys[through] = (*self._keys.get(through, ()), key)
        unknown = {name for name in self.named if name.startswith(KEY)} - _names_of_keys(keys)
        if unknown:
            raise StartupError(
                f"agents.toml must name keys of CMW_API_KEYS without an origin, not {min(unknown)!r}"
            )

    @property
    def are_alike(self) -> bool:
        """Whether the page shows everybody the same agents."""
        return all(profile.access in (EVERYONE, SITE) for profile in self._profiles.values())

    @property
    def use_models(self) -> bool:
        """Whether any of them is answered by a model, through the built-in loop."""
        return any(profile.uses_model for profile in self._profiles.values())

    def find(self, agent_id: str, asker: Asker) -> AgentProfile | None:
        """Return an agent's profile; None where there is none, or none for `asker`."""
        profile = self._profiles.get(agent_id)
        is_usable = profile is not None and may_use(profile, asker)
        return self._opened(profile, asker) if profile is not None and is_usable else None

    def usable(self, asker: Asker) -> list[AgentProfile]:
        """Return the agents that `asker` may use, the built-in one first."""
        usable = (profile for profile in self._profiles.values() if may_use(profile, asker))
        return [self._opened(profile, asker) for profile in usable]

    def _opened(self, profile: AgentProfile, asker: Asker) -> AgentProfile:
        """Return a profile with the models that are closed to whoever asks."""
        if not self._has_models:
            return profile
        names = _names_of_keys(asker.keys) if asker.kind == "client" else asker.names
        return replace(profile, closed_models=self._access.closed_models(names))

    @property
    def named(self) -> frozenset[str]:
        """The names of users and groups that some list or table of the settings has."""
        lists = (p.access for p in self._profiles.values() if not isinstance(p.access, str))
        return frozenset(self._access.grants).union(*lists)

    async def limits_of(self, owner: str) -> UserLimits:
        """Return the limits of a user that differ from those of the settings.

        Raises:
            UserError: The memory fails.
        """
        if not self._has_limits or not ACCOUNT_ID.fullmatch(owner):
            return UserLimits()
        return self._access.limits(await self._names_of(owner))

    async def find_for(
        self, agent_id: str, principal: Principal, tenant_id: str | None
    ) -> AgentProfile | None:
        """Return an agent's profile, or None, as `find`; read an account's names where they count.

        Args:
            agent_id: The agent.
            principal: Who asks.
            tenant_id: The tenant of the API key through which a client came.

        Raises:
            UserError: The memory fails.
        """
        profile = self._profiles.get(agent_id)
        if profile is None:
            return None
        asker = Asker(principal.kind, keys=self._keys.get(tenant_id or "", ()))
        needs_names = self._has_models or not may_use(profile, asker)
        if needs_names and principal.kind == "account":
            asker = replace(asker, names=await self._names_of(principal.id))
        return self._opened(profile, asker) if may_use(profile, asker) else None

    async def usable_for(self, principal: Principal) -> list[AgentProfile]:
        """Return the agents that somebody at the page may use, the built-in one first.

        Raises:
            UserError: The memory fails.
        """
        counts = self._has_models or not self.are_alike
        is_account = principal.kind == "account" and counts
        names = await self._names_of(principal.id) if is_account else None
        return self.usable(Asker(principal.kind, names))


def _check(key: ApiKey, profiles: Iterable[str]) -> None:
    unknown = sorted((key.agents or frozenset()) - set(profiles))
    if unknown:
        raise StartupError(f"CMW_KEY_SCOPES must name agents that there are, not {unknown[0]!r}")

"""Who may use an agent: one check, for every channel.

`may_use` decides. `Agents` is the only way from an agent's id to its profile, so that those who may
not use an agent learn nothing of it. See ``docs/adr/0029-agents-are-boundaries.md``.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cmw_agent.config.agent_profiles import EVERYONE, GROUP, SIGNED_IN, SITE, AgentProfile
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import StartupError
from cmw_agent.identity.channel_principals import tenant
from cmw_agent.identity.principals import Principal, PrincipalKind

NamesOf = Callable[[str], Awaitable[frozenset[str] | None]]
CHATTING = frozenset({"agents", "v1"})  # scopes with which a key begins turns


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to use an agent, as the server has verified it.

    Args:
        kind: The kind of principal.
        names: Name and groups of an account's newest sign-in; None where none of its logins is
            live.
        keys: The API keys through which a client may have come.
    """

    kind: PrincipalKind
    names: frozenset[str] | None = None
    keys: tuple[ApiKey, ...] = ()


VISITOR, WIDGET, PHONE = Asker("visitor"), Asker("widget"), Asker("phone")


def by_key(key: ApiKey) -> Asker:
    """Return who asks with a key of the REST interface."""
    return Asker("client", keys=(key,))


def names_of(account: Principal) -> frozenset[str]:
    """Return an account's name and groups as they stand in an agent's `access`."""
    # A user who has a group's written form as a name is not in that group.
    name = account.name
    names = {name} if name is not None and not name.startswith(GROUP) else set()
    return frozenset(names | {GROUP + group for group in account.groups})


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
    if key.agents is not None and not is_named:
        return False
    if key.origins:  # it stands in a website's pages, and so proves nobody
        is_of_site = not key.origins.isdisjoint(profile.allowed_origins)
        return profile.access == EVERYONE and is_of_site
    return profile.access == EVERYONE or (is_named and profile.access != SITE)


class Agents:
    """The agents of the app; it returns an agent's profile only to those who may use it.

    Args:
        profiles: All agents' profiles by id.
        keys: The keys of the REST interface.
        names_of: Returns the names of an account's newest sign-in by the account's id; None where
            no login of it is live.

    Raises:
        StartupError: A key is for an agent that is not there.
    """

    def __init__(
        self, profiles: Mapping[str, AgentProfile], keys: Sequence[ApiKey], names_of: NamesOf
    ) -> None:
        self._profiles = profiles
        self._names_of = names_of
        self._keys: dict[str, tuple[ApiKey, ...]] = {}
        for key in keys:
            _check(key, profiles)
            if key.scopes & CHATTING:
                through = tenant(key.name)
                self._keys[through] = (*self._keys.get(through, ()), key)

    @property
    def are_alike(self) -> bool:
        """Whether the page shows everybody the same agents."""
        return all(profile.access in (EVERYONE, SITE) for profile in self._profiles.values())

    def find(self, agent_id: str, asker: Asker) -> AgentProfile | None:
        """Return an agent's profile; None where there is none, or none for `asker`."""
        profile = self._profiles.get(agent_id)
        return profile if profile is not None and may_use(profile, asker) else None

    def usable(self, asker: Asker) -> list[AgentProfile]:
        """Return the agents that `asker` may use, the built-in one first."""
        return [profile for profile in self._profiles.values() if may_use(profile, asker)]

    def named_groups(self, groups: frozenset[str]) -> frozenset[str]:
        """Return those of `groups` that the access of an agent names."""
        lists = (p.access for p in self._profiles.values() if not isinstance(p.access, str))
        named = frozenset().union(*lists)
        return frozenset(group for group in groups if GROUP + group in named)

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
        if not may_use(profile, asker) and principal.kind == "account":
            asker = replace(asker, names=await self._names_of(principal.id))
        return profile if may_use(profile, asker) else None

    async def usable_for(self, principal: Principal) -> list[AgentProfile]:
        """Return the agents that somebody at the page may use, the built-in one first.

        Raises:
            UserError: The memory fails.
        """
        is_account = principal.kind == "account" and not self.are_alike
        names = await self._names_of(principal.id) if is_account else None
        return self.usable(Asker(principal.kind, names))


def _check(key: ApiKey, profiles: Iterable[str]) -> None:
    unknown = sorted((key.agents or frozenset()) - set(profiles))
    if unknown:
        raise StartupError(f"CMW_KEY_SCOPES must name agents that there are, not {unknown[0]!r}")

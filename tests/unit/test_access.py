"""Access to agents by verified user names, groups and keys."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from cmw_agent.agent.access import Agents, Asker, by_key, may_use
from cmw_agent.config.agent_profiles import AgentProfile, load_profiles
from cmw_agent.config.settings import Settings, SettingsError, load_settings
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import StartupError
from cmw_agent.identity.channel_principals import tenant
from cmw_agent.identity.principals import MAX_GROUPS, Principal, PrincipalKind, new_login
from tests.harness import settings_for

PACKAGE = Path(__file__).parents[2] / "cmw_agent"
SITE, OTHER = "https://shop.example", "https://other.example"
AGENTS = f"""
[[agents]]
id = "open"
allowed_origins = ["{SITE}"]
[[agents]]
id = "members"
access = "signed-in"
[[agents]]
id = "staff"
access = ["alice", "group:staff"]
allowed_origins = ["{SITE}"]
[[agents]]
id = "desk"
access = "site"
allowed_origins = ["{SITE}"]
"""


@pytest.fixture
def profiles(tmp_path: Path) -> Mapping[str, AgentProfile]:
    (tmp_path / "agents.toml").write_text(AGENTS, encoding="utf-8")
    return load_profiles(settings_for(tmp_path))


def account(*names: str) -> Asker:
    return Asker("account", names=frozenset(names))


def key(
    *agents: str, origins: tuple[str, ...] = (), scopes: tuple[str, ...] = ("agents",)
) -> ApiKey:
    named = frozenset(agents) or None
    return ApiKey("shop", SecretStr("k" * 32), frozenset(origins), frozenset(scopes), named)


ASKERS = (
    (Asker("visitor"), "open"),
    (Asker("ephemeral"), "open"),
    (Asker("phone"), "open"),
    (Asker("widget"), "open desk"),
    (Asker("client"), ""),  # came through no key that is known here
    (Asker("account"), "open"),  # no login of it is live
    (account(), "open members"),
    (account("bob", "group:cleaners"), "open members"),
    (account("alice"), "open members staff"),
    (account("group:staff"), "open members staff"),
    (by_key(key()), "open"),
    (by_key(key("open")), "open"),
    (by_key(key("staff", "members")), "members staff"),
    (by_key(key("desk")), ""),  # for its site's widget alone
    (by_key(key(origins=(SITE,))), "open"),
    (by_key(key(origins=(OTHER,))), ""),
    (by_key(key("staff", origins=(SITE,))), ""),  # a website's visitors prove nobody
)


@pytest.mark.parametrize(("asker", "usable"), ASKERS)
def test_an_agent_is_used_by_those_alone_whom_its_access_names(
    asker: Asker, usable: str, profiles: Mapping[str, AgentProfile]
) -> None:
    found = {name for name, profile in profiles.items() if may_use(profile, asker)}
    assert found - {"assistant"} == set(usable.split())


@pytest.mark.parametrize("kind", ["visitor", "ephemeral", "widget", "phone", "party", "client"])
def test_names_open_nothing_to_who_is_no_account(
    kind: PrincipalKind, profiles: Mapping[str, AgentProfile]
) -> None:
    named = Asker(kind, names=frozenset({"alice", "group:staff"}))
    assert not may_use(profiles["staff"], named)
    assert not may_use(profiles["members"], named)


@pytest.mark.parametrize(
    "name",
    ["Alice", "alice ", " alice", "alice\u200b", "al\u0131ce", "a", "alice,bob", "staff",
     "group:staff", "group:alice", "Staff"],
)  # fmt: skip
def test_a_user_whose_name_is_like_another_s_is_another(
    name: str, profiles: Mapping[str, AgentProfile]
) -> None:
    names = new_login("https://id.example", "7", name, ["alice", "STAFF", "staff "]).names
    assert not may_use(profiles["staff"], Asker("account", names=names))


def test_names_come_from_the_sign_in_and_odd_ones_are_left_out() -> None:
    odd = ["", "x" * 201, "two\nlines", "staff"]
    assert new_login("i", "s", "alice", odd).names == {"sub:s", "alice", "group:staff"}
    many = [f"g{n}" for n in range(MAX_GROUPS + 1)]
    assert len(new_login("i", "s", None, many).names) == MAX_GROUPS + 1


@pytest.mark.parametrize("name", ["sub:7", "email:ann@a.example", "group:staff", "key:shop"])
def test_a_name_in_the_form_of_a_subject_an_address_or_a_group_says_nothing(name: str) -> None:
    assert new_login("i", "8", name).names == {"sub:8"}
    assert new_login("i", "8", name).name == name  # it is shown to its user


def test_a_verified_address_is_a_name_of_its_own() -> None:
    login = new_login("i", "8", None, email="ann@a.example")
    assert login.names == {"sub:8", "email:ann@a.example"}
    assert login.name == "ann@a.example"
    assert new_login("i", "8", "ann", trusts_name=False).names == {"sub:8"}


async def test_one_is_asked_for_names_only_where_they_count(
    profiles: Mapping[str, AgentProfile],
) -> None:
    asked: list[str] = []

    async def names(owner: str) -> frozenset[str] | None:
        asked.append(owner)
        return frozenset({"alice"})

    agents, alice = Agents(profiles, (), names), Principal("a1", "account")
    for agent_id in ("open", "nobody"):
        await agents.find_for(agent_id, alice, None)
    for agent_id in ("staff", "members", "open"):
        assert await agents.find_for(agent_id, Principal("v1", "visitor"), None) is (
            profiles["open"] if agent_id == "open" else None
        )
    assert asked == []
    assert await agents.find_for("staff", alice, None) is profiles["staff"]
    assert [profile.id for profile in await agents.usable_for(alice)] == [
        "assistant", "open", "members", "staff",
    ]  # fmt: skip
    assert asked == ["a1", "a1"]


async def test_a_client_s_turns_rest_on_keys_that_may_still_chat(
    profiles: Mapping[str, AgentProfile],
) -> None:
    async def nobody(owner: str) -> None:
        raise AssertionError(owner)

    client = Principal("r1", "client")
    for scopes, found in ((("agents",), True), (("v1",), True), (("read", "whatsapp"), False)):
        agents = Agents(profiles, [key("staff", scopes=scopes)], nobody)
        assert (await agents.find_for("staff", client, tenant("shop")) is not None) is found
        assert await agents.find_for("staff", client, tenant("bank")) is None
        assert await agents.find_for("staff", client, None) is None


def test_a_key_for_an_agent_that_is_not_there_stops_the_start(
    profiles: Mapping[str, AgentProfile],
) -> None:
    async def nobody(owner: str) -> None:
        raise AssertionError(owner)

    with pytest.raises(StartupError, match=r"^CMW_KEY_SCOPES must .*, not 'sales'$"):
        Agents(profiles, [key("staff", "sales")], nobody)


def test_scopes_belong_to_the_keys_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = "a" * 16, "b" * 16
    settings = settings_for(
        tmp_path,
        api_keys=f"crm:{first},crm:{second}:{SITE},chat:{'c' * 16},all:{'d' * 16}",
        key_scopes="crm=agents+read@support+sales, chat=v1",
    )
    crm, page, chat, everything = settings.keys
    for each in (crm, page):
        assert each.scopes == frozenset({"agents", "read"})
        assert each.agents == frozenset({"support", "sales"})
    assert crm.origins == frozenset()
    assert page.origins == frozenset({SITE})
    assert chat.scopes == frozenset({"v1"})
    assert everything.scopes == frozenset({"agents", "v1", "whatsapp", "read"})
    assert chat.agents is None
    assert everything.agents is None
    monkeypatch.setenv("CMW_API_KEYS", f"crm:{first}")
    monkeypatch.setenv("CMW_KEY_SCOPES", "crn=v1")
    with pytest.raises(SettingsError) as told:
        load_settings(None)
    (line,) = told.value.lines
    assert line.startswith("CMW_KEY_SCOPES must name keys of CMW_API_KEYS")
    monkeypatch.setenv("CMW_KEY_SCOPES", "crm=@open")
    found: Settings = load_settings(None)
    assert found.keys[0].agents == frozenset({"open"})


def test_the_check_is_the_only_way_from_an_id_to_an_agent() -> None:
    """A profile that is taken from elsewhere would be one that nobody has checked."""
    reaching = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("profiles", "_profiles"))
        or (isinstance(node, ast.Name) and node.id == "load_profiles")
    }
    of_operators = {"cli/cleanup_command.py", "proof/replay/changes.py"}  # commands, for no user
    assert reaching == {"agent/access.py", "runtime/runtime.py"} | of_operators

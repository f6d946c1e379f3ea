"""Agent profiles: a file is valid in every part, or refused."""

from pathlib import Path
from typing import Any

import pytest

from cmw_agent.config.agent_profiles import (
    BUILT_IN,
    MAX_AGENTS,
    READERS,
    AgentProfile,
    load_profiles,
)
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import MAX_BYTES
from cmw_agent.core.errors import StartupError
from tests.harness import settings_for

ROOT = Path(__file__).parents[2]


def settings(folder: Path, **changes: Any) -> Settings:
    known: dict[str, Any] = {
        "agents_file": folder / "agents.toml",
        "model": "m1",
        "models": "m2,m3",
        "toolkits": "gmail,asana",
        "system_prompt": "Be kind.",
    }
    return settings_for(folder, **{**known, **changes})


def refusal(folder: Path, text: str | bytes) -> str:
    """Return the line with which a file is refused, after the file's name."""
    path = folder / "agents.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartupError) as caught:
        load_profiles(settings(folder))
    line = str(caught.value)
    start = f"CMW_AGENTS_FILE: {path}"
    assert line.startswith(start)
    assert line.isprintable()
    return line.removeprefix(start).strip()


def test_without_a_file_there_is_one_agent_as_the_settings_say(tmp_path: Path) -> None:
    # Whom the settings let send requests, no agent lets show it.
    found = load_profiles(settings(tmp_path, allowed_origins="https://a.example"))
    toolkits = ("gmail", "asana")
    assert dict(found) == {
        BUILT_IN: AgentProfile(BUILT_IN, "Assistant", "Be kind.", "m1", toolkits, frozenset())
    }


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "agents = []\n", "\ufeff"])
def test_an_empty_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "agents.toml").write_text(text, encoding="utf-8")
    assert list(load_profiles(settings(tmp_path))) == [BUILT_IN]


def test_a_file_changes_the_built_in_agent_and_adds_others(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(
        """
        [[agents]]
        id = "shop_2-x"
        name = " Der Laden "
        prompt = "Verkaufe\\nnichts."
        model = "m3"
        toolkits = ["asana", "asana"]
        allowed_origins = ["https://Shop.example/", "http://localhost:8080"]
        [[agents]]
        id = "bare"
        [[agents]]
        id = "assistant"
        model = "m2"
        toolkits = []
        """
    )
    found = load_profiles(settings(tmp_path))
    assert list(found) == ["assistant", "shop_2-x", "bare"]
    assert found["assistant"] == AgentProfile(
        "assistant", "Assistant", "Be kind.", "m2", (), frozenset()
    )
    assert found["shop_2-x"] == AgentProfile(
        "shop_2-x",
        "Der Laden",
        "Verkaufe\nnichts.",
        "m3",
        ("asana",),
        frozenset({"https://shop.example", "http://localhost:8080"}),
    )
    # No origin and no name of the built-in agent is another's.
    assert found["bare"] == AgentProfile(
        "bare", "bare", "Be kind.", "m1", ("gmail", "asana"), frozenset()
    )


def test_access_is_everyone_s_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(
        """
        [[agents]]
        id = "assistant"
        access = "signed-in"
        [[agents]]
        id = "open"
        [[agents]]
        id = "staff"
        access = ["alice", "group:The staff", "alice"]
        [[agents]]
        id = "desk"
        access = "site"
        allowed_origins = ["https://shop.example"]
        """
    )
    assert {name: found.access for name, found in load_profiles(settings(tmp_path)).items()} == {
        "assistant": "signed-in",
        "open": "everyone",
        "staff": frozenset({"alice", "group:The staff"}),
        "desk": "site",
    }


def test_nobody_changes_the_profiles_afterwards(tmp_path: Path) -> None:
    found = load_profiles(settings(tmp_path))
    with pytest.raises(TypeError):
        found["new"] = found[BUILT_IN]  # type: ignore[index]
    with pytest.raises(AttributeError):
        found[BUILT_IN].prompt = "other"  # type: ignore[misc]


ORIGINS = "allowed_origins must be a list of origins such as https://example.com:8443"
MODELS = "model must be a model of CMW_MODEL, CMW_MODELS or [[models]] (m1, m2, m3)"
TOOLKITS = "toolkits must be a list of toolkits of CMW_TOOLKITS (gmail, asana)"
ACCESS = (
    'access must be "everyone", "signed-in", "site" or a list of user names and groups such as '
    '["alice", "group:staff"]'
)
IDS = "id must be 1 to 40 small letters, digits, - and _"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("promt = 'x'", "has an unknown key 'promt'; did you mean prompt?"),
        ("tool_kits = []", "has an unknown key 'tool_kits'; did you mean toolkits?"),
        (
            "zzz = 1",
            f"has an unknown key 'zzz'; known are {', '.join(READERS)}",
        ),
        ("name = ''", "name must be a name of at most 100 characters on one line, not ''"),
        ("name = 7", "name must be a name of at most 100 characters on one line, not '7'"),
        (
            f"name = '{'x' * 101}'",
            f"name must be a name of at most 100 characters on one line, not '{'x' * 59}\\u2026'",
        ),
        (
            'name = "a\\nb"',
            "name must be a name of at most 100 characters on one line, not 'a\\nb'",
        ),
        ("prompt = ' '", "prompt must be text of at most 20000 characters, not ' '"),
        (
            f"prompt = '{'p' * 20_001}'",
            f"prompt must be text of at most 20000 characters, not '{'p' * 59}\\u2026'",
        ),
        ("model = 'm4'", f"{MODELS}, not 'm4'"),
        ("model = ['m1']", f"{MODELS}, not \"['m1']\""),
        ("toolkits = ['gmail', 'slack']", f"{TOOLKITS}, not \"['gmail', 'slack']\""),
        ("toolkits = 'gmail'", f"{TOOLKITS}, not 'gmail'"),
        ("toolkits = [1]", f"{TOOLKITS}, not '[1]'"),
        ("allowed_origins = ['shop.example']", f"{ORIGINS}, not \"['shop.example']\""),
        (
            "allowed_origins = ['https://a.example/x']",
            f"{ORIGINS}, not \"['https://a.example/x']\"",
        ),
        ("allowed_origins = ['*']", f"{ORIGINS}, not \"['*']\""),
        ("allowed_origins = ['']", f"{ORIGINS}, not \"['']\""),
        (
            "allowed_origins = ['https://a.example,https://b.example']",
            f"{ORIGINS}, not \"['https://a.example,https://b.example']\"",
        ),
        ("allowed_origins = 'https://a.example'", f"{ORIGINS}, not 'https://a.example'"),
        ("access = 'Everyone'", f"{ACCESS}, not 'Everyone'"),
        ("access = ''", f"{ACCESS}, not ''"),
        ("access = []", f"{ACCESS}, not '[]'"),
        ("access = ['']", f"{ACCESS}, not \"['']\""),
        ("access = ['alice', 7]", f"{ACCESS}, not \"['alice', 7]\""),
        ("access = ['signed-in']", f"{ACCESS}, not \"['signed-in']\""),
        ("access = ['group:']", f"{ACCESS}, not \"['group:']\""),
        ("access = true", f"{ACCESS}, not 'True'"),
        ("access = 'site'", 'must have allowed_origins where access is "site"'),
    ],
)
def test_what_is_wrong_with_an_agent_is_said_in_one_line(
    tmp_path: Path, lines: str, said: str
) -> None:
    assert refusal(tmp_path, f"[[agents]]\nid = 'shop'\n{lines}\n") == f", agent 'shop': {said}"


@pytest.mark.parametrize("name", ["Shop", "a b", "ä", "a/b", "x" * 41, "a\n", "../x"])
def test_a_wrong_id_is_named(tmp_path: Path, name: str) -> None:
    written = name.replace("\n", "\\n")
    shown = ascii(name)
    assert refusal(tmp_path, f'[[agents]]\nid = "{written}"\n') == (
        f", agent {shown}: {IDS}, not {shown}"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[[agents]]\nname = 'x'\n",
            ", agent number 1: must have an id: 1 to 40 small letters, digits, - and _",
        ),
        ("[[agents]]\nid = ''\n", f", agent number 1: {IDS}, not ''"),
        ("[[agents]]\nid = 7\n", f", agent '7': {IDS}, not '7'"),
        (
            "[[agents]]\nid = 'a'\n[[agents]]\nid = 'a'\n",
            ", agent 'a': has an id that is taken",
        ),
        ("[agents.a]\nname = 'x'\n", "must hold each agent as a table under [[agents]]"),
        ("agents = ['a']\n", "must hold each agent as a table under [[agents]]"),
        (
            "[[agent]]\nid = 'a'\n",
            "holds 'agent'; only [[agents]], [[models]], [[mcp]], [[openapi]] and [access] tables are allowed",
        ),
        ("agents = [\n", "must be valid TOML (Invalid value (at end of document))"),
        (b"# \xff\n", "cannot be read: it must be UTF-8 text"),
        ("a = " + "[" * 5000, "must be valid TOML"),
        ("#" * (MAX_BYTES + 1), "must have at most 1000000 bytes"),
        ("[[agents]]\n" * (MAX_AGENTS + 1), "must hold at most 1000 agents"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_in_one_line(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    assert refusal(tmp_path, text) == said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.mkdir()
    with pytest.raises(StartupError, match=r"agents\.toml cannot be read: Is a directory$"):
        load_profiles(settings(tmp_path))
    path.rmdir()
    path.symlink_to(tmp_path / "absent.toml")
    with pytest.raises(StartupError, match="its link leads nowhere"):
        load_profiles(settings(tmp_path))


def test_without_toolkits_in_the_settings_none_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text("[[agents]]\nid = 'a'\ntoolkits = ['gmail']\n")
    with pytest.raises(StartupError, match=r"CMW_TOOLKITS \(none is set\), not"):
        load_profiles(settings(tmp_path, toolkits=""))


def test_the_example_is_a_file_that_works(tmp_path: Path) -> None:
    example = ROOT / "agents.example.toml"
    found = load_profiles(settings(tmp_path, agents_file=example))
    assert list(found) == ["assistant", "shop", "support"]
    assert found["support"].access == frozenset({"alice", "group:support"})
    assert found["shop"].allowed_origins == {"https://shop.example.com"}
    assert found["shop"].prompt.startswith("You answer")
    # What is only hinted at in it is right too.
    hints = example.read_text(encoding="utf-8").replace("# model", "model")
    hints = hints.replace("# access", "access")
    (tmp_path / "agents.toml").write_text(hints.replace("# toolkits", "toolkits"))
    all_of_it = load_profiles(settings(tmp_path, models="gpt-4o-mini"))
    assert all_of_it["shop"].access == "site"
    assert (all_of_it["shop"].model, all_of_it["shop"].toolkits) == ("gpt-4o-mini", ("gmail",))

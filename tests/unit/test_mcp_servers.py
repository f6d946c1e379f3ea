"""`[[mcp]]` tables: what is wrong ends the start with one line; what is right is what it says."""

from pathlib import Path

import pytest

from cmw_agent.config.mcp_servers import load_mcp_servers
from cmw_agent.core.errors import StartupError
from cmw_agent.tools.mcp.listing import MAX_NAME, tool_name
from tests.harness import settings_for

URL = 'url = "https://wiki.example.com/mcp"\n'
WRONG = [
    (URL, "mcp number 1: must have a name"),
    ('name = "Wiki"\n' + URL, "name must be 1 to 24 small letters, digits and -, a letter first"),
    ('name = "my_wiki"\n' + URL, "name must be"),
    ('name = "wiki"\n', "must have a url or a command, and not both"),
    ('name = "wiki"\ncommand = "x"\n' + URL, "must have a url or a command, and not both"),
    ('name = "wiki"\nurl = "ftp://x/"\n', "url must be an http:// or https:// address"),
    ('name = "wiki"\nurl = "https://u:secret@x/"\n', "url must be"),
    ('name = "wiki"\ntransport = "ws"\n' + URL, 'transport must be "http" or "sse"'),
    ('name = "wiki"\nargs = ["x"]\n' + URL, "must not have args"),
    ('name = "wiki"\ncommand = "x"\nkey = "WIKI_TOKEN"\n', "must not have key"),
    ('name = "wiki"\ncommand = ""\n', "command must be the path or name of a program"),
    ('name = "wiki"\ncommand = "x"\nargs = "y"\n', "args must be a list"),
    ('name = "wiki"\ncommand = "x"\nenv = {"A B" = "y"}\n', "env must be a table"),
    ('name = "wiki"\nkey = "NOT_SET"\n' + URL, "names the variable NOT_SET, which is not set"),
    ('name = "wiki"\nkey = "sk-secret"\n' + URL, "key must be the name of an environment variable"),
    ('name = "wiki"\nheaders = {Authorization = "secret"}\n' + URL, "headers must be a table"),
    ('name = "wiki"\nauth = "basic"\n' + URL, 'auth must be "oauth"'),
    ('name = "wiki"\nauth = "oauth"\nshared = true\n' + URL, "must have neither shared nor key"),
    ('name = "wiki"\nshared = "yes"\n' + URL, "shared must be true or false"),
    ('name = "wiki"\nagents = ["nobody"]\n' + URL, "names the agent 'nobody', which is not there"),
    ('name = "wiki"\nagents = []\n' + URL, "agents must be a list of ids of agents"),
    ('name = "wiki"\ntools = ["a b"]\n' + URL, "tools must be a list of the server's tools"),
    ('name = "wiki"\nsecret = 1\n' + URL, "has an unknown key 'secret'"),
    ('name = "wiki"\n' + URL + '[[mcp]]\nname = "wiki"\n' + URL, "has a name that is taken"),
]


def load(folder: Path, text: str) -> object:
    (folder / "agents.toml").write_text(f"[[mcp]]\n{text}")
    return load_mcp_servers(settings_for(folder), ["assistant"])


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_wrong_table_ends_the_start_with_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(StartupError) as error:
        load(tmp_path, text)
    line = str(error.value)
    assert expected in line
    assert "\n" not in line
    assert "secret@" not in line
    assert "sk-secret" not in line


def test_no_secret_is_shown_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "hush-hush")
    by_url = f'name = "wiki"\nkey = "WIKI_TOKEN"\nheaders = {{X-Id = "$WIKI_TOKEN"}}\n{URL}'
    by_program = '[[mcp]]\nname = "own"\ncommand = "x"\nargs = ["-v"]\nenv = {A = "$WIKI_TOKEN"}\n'
    found = load(tmp_path, by_url + by_program)
    assert isinstance(found, tuple)
    assert found[0].headers == {"x-id": "hush-hush", "authorization": "Bearer hush-hush"}
    assert (found[1].command, found[1].env) == (("x", "-v"), {"A": "hush-hush"})
    assert "hush-hush" not in repr(found)


def test_no_two_servers_have_a_tool_of_one_name() -> None:
    assert tool_name("a", "b_c") != tool_name("a-b", "c")
    assert tool_name("a", "get it") != tool_name("a", "get_it")
    assert tool_name("a", "x" * 100) != tool_name("a", "x" * 101)
    assert len(tool_name("a", "ü" * 500)) <= MAX_NAME
    assert tool_name("a", "get_it") == "a_get_it"

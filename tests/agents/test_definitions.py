"""Agents in Python and in `agents.toml`: what is loaded, which come first, and what is refused."""

import re
from pathlib import Path

import pytest
from langchain_core.prompts import ChatPromptTemplate

from cmw_agent import Agent, StartupError, build_app
from tests.harness import served, settings_for
from tests.rest import KEYS, client

HERE = "tests.agents.samples"


def write(folder: Path, text: str) -> None:
    (folder / "agents.toml").write_text(text, encoding="utf-8")


async def test_agents_in_python_stand_in_place_of_the_built_in_one(tmp_path: Path) -> None:
    write(tmp_path, '[[agents]]\nid = "later"\n')
    app = build_app(
        settings_for(tmp_path), agents=[Agent(id="support", name="Support", welcome="Hi")]
    )
    profiles = app.runtime.agents._profiles
    assert list(profiles) == ["support", "later"]
    assert (profiles["support"].name, profiles["support"].look.welcome) == ("Support", "Hi")
    plain = build_app(settings_for(tmp_path), agents=()).runtime.agents._profiles
    assert next(iter(plain)) == "assistant"


async def test_graphs_and_tools_are_named_in_the_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        f'[[agents]]\nid = "echo"\ngraph = "{HERE}:echo"\n'
        f'[[agents]]\nid = "desk"\ntools = ["{HERE}:whoami", "{HERE}:book"]\n',
    )
    settings = settings_for(tmp_path, api_keys=KEYS)
    async with served(settings) as app, client(app.url, agent="echo") as shop:
        assert (await shop.say("one")).json["response"] == "You said: one"
        tools = app.application.runtime.own_agents.get("desk").tools
        assert [(item.name, item.changes) for item in tools] == [("whoami", False), ("book", True)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f'graph = "{HERE}:nothing"', "has no nothing"),
        ('graph = "no.such.module:graph"', "no.such.module cannot be imported"),
        ('graph = "nowhere"', "neither package.module:name nor an entry point"),
        (f'graph = "{HERE}:number"', "must be a compiled graph"),
        (f'graph = "{HERE}:not_compiled"', "not compiled"),
        ('graph = "a b"', "graph must be package.module:name"),
        ("graph = 3", "graph must be package.module:name"),
        ('tools = "x:y"', "tools must be a list of tools"),
        (f'tools = ["{HERE}:undocumented"]', "no schema can be made of it"),
    ],
)
async def test_a_wrong_reference_ends_the_start_with_one_line(
    line: str, problem: str, tmp_path: Path
) -> None:
    write(tmp_path, f'[[agents]]\nid = "broken"\n{line}\n')
    with pytest.raises(StartupError, match=re.escape(problem)) as caught:
        build_app(settings_for(tmp_path))
    assert "broken" in str(caught.value) or "undocumented" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_graph_without_messages_and_with_two_texts_is_refused(tmp_path: Path) -> None:
    chain = ChatPromptTemplate.from_template("{input} {other}")
    with pytest.raises(StartupError, match="its input must have messages"):
        build_app(settings_for(tmp_path), agents=[Agent(id="two", graph=chain)])


async def test_a_wrong_value_of_an_agent_in_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="temperature must be"):
        build_app(settings_for(tmp_path), agents=[Agent(id="hot", temperature=99)])
    with pytest.raises(StartupError, match="id that is taken"):
        build_app(settings_for(tmp_path), agents=[Agent(id="a"), Agent(id="a")])

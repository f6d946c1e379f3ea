"""Many connected tools are found by words: nobody's schemas fill the model's window."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolCall

from cmw_agent.config.agent_profiles import load_profiles
from cmw_agent.core.events import ToolAccount
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.composio.accounts import ConnectionUser
from cmw_agent.tools.search import BOUND, FIND, USE, SearchedToolset, ToolIndex, named_call
from cmw_agent.tools.toolset import ProgressSink, ToolResult, parameters_in
from tests.accounts import connected
from tests.harness import Browser, settings_for
from tests.isolation.toolhouse import AppWithTools, app_with_tools, owner_of

GITHUB, GMAIL = 871, 61  # tools of the real toolkits


def schema(name: str, description: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


SCHEMAS = [
    schema("GMAIL_SEND_EMAIL", "Sends an e-mail message."),
    schema("GMAIL_LIST_LABELS", "Lists the labels of the mailbox."),
    schema("GITHUB_CREATE_ISSUE", "Creates an issue in a repository."),
    schema("GITHUB_LIST_ISSUES", "Lists the issues of a repository."),
    schema("КАЛЕНДАРЬ", "Создаёт встречу в календаре."),
]
NAMES = [item["function"]["name"] for item in SCHEMAS]


class Tools:
    """A toolset of the schemas; it quotes what is used."""

    schemas = SCHEMAS
    names = NAMES

    def parameters(self, name: str) -> Any:
        return parameters_in(SCHEMAS, name)

    def changes(self, name: str) -> bool:
        return "LIST" not in name

    async def account(self, name: str) -> ToolAccount | None:
        return None

    async def use(
        self,
        name: str,
        arguments: Any,
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        return ToolResult(f"{name} {json.dumps(arguments)}", ok=True)


def call(tool: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=tool, args=arguments, id="c1", type="tool_call")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("send an email with gmail", "GMAIL_SEND_EMAIL"),
        ("github issues list", "GITHUB_LIST_ISSUES"),
        ("create issue", "GITHUB_CREATE_ISSUE"),
        ("labels", "GMAIL_LIST_LABELS"),
        ("встречу", "КАЛЕНДАРЬ"),
    ],
)
def test_words_find_the_tool_that_has_most_of_them(query: str, first: str) -> None:
    found = ToolIndex(SCHEMAS).find(query, NAMES)
    assert found[0]["name"] == first


def test_only_the_user_s_own_tools_are_found() -> None:
    index = ToolIndex(SCHEMAS)
    assert index.find("send email", [n for n in NAMES if not n.startswith("GMAIL")]) == []
    assert index.find("", NAMES) == []


async def test_a_call_of_use_tool_is_a_call_of_the_tool_that_it_names() -> None:
    toolset = SearchedToolset(Tools(), lambda: [ToolIndex(SCHEMAS)], always=("GMAIL_LIST_LABELS",))
    sent = [item["function"]["name"] for item in toolset.schemas]
    assert sent == [FIND, USE, "GMAIL_LIST_LABELS"]
    meant = named_call(call(USE, name="GMAIL_SEND_EMAIL", arguments={"to": "kim"}), toolset)
    assert (meant["name"], meant["args"], meant["id"]) == ("GMAIL_SEND_EMAIL", {"to": "kim"}, "c1")
    text = call(USE, name="GMAIL_SEND_EMAIL", arguments='{"to": "kim"}')
    assert named_call(text, toolset)["args"] == {"to": "kim"}
    for wrong in (
        call(USE, name="NOTHING", arguments={}),
        call(USE, name=USE, arguments={}),
        call(USE, name="GMAIL_SEND_EMAIL", arguments="{"),
        call(USE, name="GMAIL_SEND_EMAIL", arguments=[1]),
        call(USE),
        call("GMAIL_SEND_EMAIL", to="kim"),
    ):
        assert named_call(wrong, toolset) == wrong
        assert named_call(wrong, None) == wrong
    assert toolset.changes("GMAIL_SEND_EMAIL")
    assert not toolset.changes(FIND)
    assert (toolset.parameters("GMAIL_SEND_EMAIL") or {})["required"] == ["to"]
    assert not (await toolset.use(USE, {"name": "NOTHING", "arguments": {}})).ok
    found = await toolset.use(FIND, {"query": "send"})
    assert '"GMAIL_SEND_EMAIL"' in found.text
    assert "No tool was found" in (await toolset.use(FIND, {"query": "qqqq"})).text


# -- in the app ------------------------------------------------------------------------------------


def sent_tools(house: AppWithTools) -> list[dict[str, Any]]:
    """Return the functions that the model has got with its first request of the last turn."""
    requests = [request for request in house.endpoint.requests if request.body.get("tools")]
    return [item["function"] for item in requests[-1].body["tools"]]


async def test_only_connected_toolkits_are_sent_and_many_tools_as_two(tmp_path: Path) -> None:
    more = {"github": GITHUB, "gmail": GMAIL}
    async with app_with_tools(tmp_path, more) as house, Browser(house.app.url) as browser:
        tab = await browser.open()
        await tab.send("Hello")
        names = {item["name"] for item in sent_tools(house)}
        assert "connect_account" in names
        assert not [name for name in names if "_ACTION_" in name or "ASANA" in name]
        await house.connect(tab)
        await tab.send("Hello")
        names = {item["name"] for item in sent_tools(house)}
        assert "ASANA_CREATE_TASK" in names
        assert FIND not in names
        owner = owner_of(house.app, tab)
        for toolkit in ("github", "gmail"):
            await connected(house.app, house.composio, owner, toolkit)
        await tab.send("Hello")
        tools = sent_tools(house)
        names = {item["name"] for item in tools}
        assert {FIND, USE, "connect_account"} <= names
        assert len(names) < BOUND
        # 933 schemas take some 700,000 characters
        assert len(json.dumps(tools)) < 8_000
        shown = str((await tab.send('do find_tool {"query": "gmail number 7"}')).value)
        assert "GMAIL_ACTION_7" in shown


async def test_an_agent_uses_its_allowed_tools_alone(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(
        '[[agents]]\nid = "assistant"\nallowed_tools = ["ASANA_GET_*"]\n'
    )
    async with app_with_tools(tmp_path) as house, Browser(house.app.url) as browser:
        tab = await browser.open()
        await tab.send("Hello")
        await house.connect(tab)
        await tab.send("Hello")
        names = {item["name"] for item in sent_tools(house)}
        assert "ASANA_GET_TASKS" in names
        assert "ASANA_CREATE_TASK" not in names
        shown = str((await tab.send('do ASANA_CREATE_TASK {"name": "milk"}')).value)
        assert "not a valid tool" in shown
        assert house.composio.tasks == {}


def test_allowed_tools_are_patterns_of_names(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text('[[agents]]\nid = "a"\nallowed_tools = ["A_*", "B"]\n')
    profile = load_profiles(settings_for(tmp_path))["a"]
    assert [profile.allows_tool(name) for name in ("A_X", "B", "BX", "a_x")] == [
        True,
        True,
        False,
        False,
    ]


async def test_accounts_are_found_when_the_provider_names_no_users(tmp_path: Path) -> None:
    async with app_with_tools(tmp_path) as house, Browser(house.app.url) as browser:
        house.composio.names_users = False
        tab = await browser.open()
        await tab.send("Hello")
        await house.connect(tab)
        async with tab.http.get(f"{tab.url}/connections") as answer:
            (asana,) = (await answer.json())["toolkits"]
        assert asana["state"] == "connected"
        async with Browser(house.app.url) as other:
            stranger = await other.open()
            async with stranger.http.get(f"{stranger.url}/connections") as answer:
                (foreign,) = (await answer.json())["toolkits"]
        assert foreign["state"] == "none"


async def test_versions_and_auth_configs_are_those_of_the_operator(tmp_path: Path) -> None:
    async with app_with_tools(
        tmp_path, toolkit_versions="asana=20250909_00", auth_configs="asana=ac_own"
    ) as house:
        house.composio.add_auth_config("ac_own", "asana")
        async with Browser(house.app.url) as browser:
            tab = await browser.open()
            await tab.send("Hello")
            await house.connect(tab)
            await tab.send("do ASANA_GET_TASKS {}")
            connecting = house.app.application.runtime.connecting
            assert connecting is not None
            user = ConnectionUser.of_owner(owner_of(house.app, tab))
            await connecting._connections.link(user, "asana", "https://app.example/")
        calls = house.composio.calls
        listed = [item for item in calls if item.path == "/tools"]
        assert {item.query["toolkit_versions"] for item in listed} == {"20250909_00"}
        run = [item for item in calls if item.path.startswith("/tools/execute/")]
        assert {item.body["version"] for item in run} == {"20250909_00"}
        links = [item for item in calls if item.path.endswith("/link")]
        assert [item.body["auth_config_id"] for item in links] == ["ac_own"]

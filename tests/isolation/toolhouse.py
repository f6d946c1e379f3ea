"""Runs the app with tools: an endpoint double that calls the tools named, and Composio's double."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import connected
from tests.doubles.composio_server import Composio, composio_server
from tests.doubles.openai_models import call_tools, words
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Request, Step, Text, ToolCalls
from tests.harness import Browser, Served, Tab, served, settings_for

ARGUMENTS = r"\{(?:[^{}]|\{[^{}]*\})*\}"
ORDER = re.compile(rf"do ((?:[\w-]+ {ARGUMENTS}(?: and )?)+)")
CALL = re.compile(rf"([\w-]+) ({ARGUMENTS})")


def obedient(request: Request) -> Sequence[Step]:
    """Call the tools named in the last message, `do NAME {…} and NAME {…}`; else echo it."""
    match = ORDER.search(request.last_user)
    if match is None:
        return [Text(words(f"You said: {request.last_user}"))]
    calls = [(name, json.loads(text)) for name, text in CALL.findall(match.group(1))]
    return call_tools(request, calls)


def forgetful(request: Request) -> Sequence[Step]:
    """Call tools like `obedient`, at an endpoint that gives every call the id `call_0`."""
    return [
        replace(step, call_id="call_0") if isinstance(step, ToolCalls) else step
        for step in obedient(request)
    ]


@dataclass(slots=True)
class AppWithTools:
    """A served app with tools, and its doubles."""

    app: Served
    endpoint: OpenAIDouble
    composio: Composio

    def user_of(self, tab: Tab) -> str:
        """Return Composio's user id of the tab's visitor."""
        return composio_user_of(self.app, tab)

    async def connect(self, tab: Tab) -> str:
        """Connect an account of the tab's visitor; return its id."""
        return await connected(self.app, self.composio, owner_of(self.app, tab))


def composio_user_of(app: Served, tab: Tab) -> str:
    """Return Composio's user id of the tab's visitor, from its cookie."""
    return ConnectionUser.of_owner(owner_of(app, tab)).value


def owner_of(app: Served, tab: Tab) -> str:
    """Return the principal id of the tab's visitor, from its cookie."""
    runtime = app.application.runtime
    cookies = {cookie.key: cookie.value for cookie in tab.http.cookie_jar}
    identities = app.application.guard._identities
    for value in cookies.values():
        if (principal := identities.verify(value, "cookie")) is not None:
            assert runtime.registry.of(principal)
            return str(principal.id)
    raise AssertionError("this tab's browser has no cookie of the app")


@contextlib.asynccontextmanager
async def app_with_tools(
    folder: Path, more: Mapping[str, int] = MappingProxyType({}), /, **changes: Any
) -> AsyncIterator[AppWithTools]:
    """Serve the app with the toolkit asana for the block, and with `more` of so many tools each."""
    async with (
        composio_server() as composio,
        OpenAIDouble(scripts={"obedient": obedient, "forgetful": forgetful}) as endpoint,
    ):
        for toolkit, count in more.items():
            composio.add_toolkit(toolkit, count)
        values: dict[str, Any] = {
            "openai_base_url": endpoint.base_url,
            "model": "obedient",
            "composio_api_key": composio.key,
            "composio_base_url": composio.url,
            "toolkits": ",".join(["asana", *more]),
        }
        async with served(settings_for(folder, **{**values, **changes})) as app:
            yield AppWithTools(app, endpoint, composio)


async def pending_approvals(tab: Tab, conversation: str) -> list[dict[str, Any]]:
    """Return the pending approvals of a conversation, as the page gets them."""
    async with tab.http.get(f"{tab.url}/approvals", params={"c": conversation}) as answer:
        assert answer.status == 200
        pending: list[dict[str, Any]] = (await answer.json())["waiting"]
        return pending


async def settle_approval(tab: Tab, conversation: str, call: str, answer: str, **more: Any) -> int:
    """Send the user's decision on a call, as the page does; return the HTTP status."""
    body = {
        "conversation": conversation,
        "call": call,
        "answer": answer,
        "arguments": None,
        "always": False,
        **more,
    }
    async with tab.http.post(f"{tab.url}/approvals", json=body) as sent:
        return sent.status


async def new_visitor(stack: contextlib.AsyncExitStack, house: AppWithTools) -> Tab:
    """Return a tab of a new browser with the page open in it."""
    browser = await stack.enter_async_context(Browser(house.app.url))
    return await browser.open()

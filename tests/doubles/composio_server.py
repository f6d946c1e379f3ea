"""A Composio double: a real HTTP server that speaks its REST API (v3.1) on a free port.

Each user has accounts and, in the toolkit "asana", a task list. Like the real service it serves
every client with the project's key and accepts every user id, so that only the code under test
isolates users.
"""

import asyncio
import base64
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.doubles.composio_shapes import (
    NOT_CONNECTED,
    Account,
    Tool,
    account_body,
    asana_tools,
    auth_config_body,
    config_item,
    error_body,
    many_tools,
    page_body,
    tool_body,
)
from tests.doubles.waiting import WAIT

API = "/api/v3.1"

Refusal = Literal["404", "400", "unsuccessful"]


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded request; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def route(self) -> str:
        """Method and path, as `Composio.answer` and others name it."""
        return f"{self.method} {self.path}"

    @property
    def user_ids(self) -> list[str]:
        """The user ids that the request names."""
        listed = [user for user in self.query.get("user_ids", "").split(",") if user]
        return [*listed, self.body["user_id"]] if "user_id" in self.body else listed


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with this response."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection, after executing the request if `done`."""

    done: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Answer as usual, but not before `release`."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.gate.set()


Step = Reply | Drop | Hold


class Composio:
    """The running double.

    Attributes:
        url: Its base URL.
        key: The project's API key.
        calls: All requests, in order.
        accounts: The connected accounts by id.
        tasks: The task lists of the toolkit "asana" by user id.
        toolkits: The tools by toolkit.
        auth_configs: The auth configs by id.
        refusal: How it answers where no account is connected.
        page_size: The largest number of items in a page of a list.
        leaky: Whether it lists the accounts of all users to everybody.
        names_users: Whether its accounts name their users, as it has announced to stop.
        listed_owner: Other owners, by account id, that the list of accounts names.
        redirect: The URL of a link, with ``{token}``.
    """

    def __init__(self) -> None:
        self.url = ""
        self.key = "ck-" + secrets.token_hex(12)
        self.calls: list[Call] = []
        self.accounts: dict[str, Account] = {}
        self.tasks: dict[str, list[str]] = {}
        self.toolkits: dict[str, list[Tool]] = {"asana": asana_tools()}
        self.auth_configs: dict[str, dict[str, Any]] = {}
        self.refusal: Refusal = "404"
        self.page_size = 1000
        self.leaky = False
        self.names_users = True
        self.listed_owner: dict[str, str] = {}
        self.redirect = "https://connect.composio.dev/link/{token}"
        self._steps: list[tuple[str, Step]] = []
        self._changed = asyncio.Condition()

    def add_toolkit(self, slug: str, tools: int = 40, *, no_auth: bool = False) -> None:
        """Add a toolkit with `tools` tools."""
        self.toolkits[slug] = many_tools(slug, tools, no_auth=no_auth)

    def add_auth_config(self, config_id: str, toolkit: str) -> None:
        """Add an auth config that the operator has made."""
        self.auth_configs[config_id] = config_item(config_id, toolkit)

    def answer(self, route: str, step: Step) -> None:
        """Answer the next call whose method and path begin with `route` by `step`."""
        self._steps.append((route, step))

    def hold(self, route: str) -> Hold:
        """Hold the answer to the next call of `route`; return what releases it."""
        step = Hold()
        self.answer(route, step)
        return step

    def connect(self, user_id: str, toolkit: str = "asana") -> str:
        """Complete the user's newest link, as they would in a browser; return the account's id."""
        waiting = [
            account
            for account in self.accounts.values()
            if (account.user_id, account.toolkit) == (user_id, toolkit)
            and account.status == "INITIATED"
        ]
        if not waiting:
            raise LookupError("this user has begun no link")
        waiting[-1].status = "ACTIVE"
        return waiting[-1].id

    def add_account(self, user_id: str, toolkit: str = "asana", status: str = "ACTIVE") -> str:
        """Give the user an account without a link; return its id."""
        account = Account("ca_" + secrets.token_hex(8), user_id, toolkit, status)
        self.accounts[account.id] = account
        return account.id

    def to(self, route: str) -> list[Call]:
        """Return the calls whose method and path begin with `route`."""
        return [call for call in self.calls if call.route.startswith(route)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is evaluated after each request."""
        async with asyncio.timeout(WAIT), self._changed:
            await self._changed.wait_for(condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record a request and answer it."""
        call = await _call(request)
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        step = self._step(call.route)
        if isinstance(step, Hold):
            await step.gate.wait()
        if isinstance(step, Drop) and request.transport is not None:
            request.transport.close()
        if isinstance(step, Drop) and not step.done:
            return web.Response()  # to nobody
        reply = step if isinstance(step, Reply) else self._answer(call)
        answer = web.Response(
            status=reply.status,
            body=reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode(),
            headers={"content-type": "application/json", **reply.headers},
        )
        answer.set_cookie("affinity", secrets.token_hex(8))  # as load balancers set it
        return answer

    def _step(self, route: str) -> Step | None:
        for number, (prefix, step) in enumerate(self._steps):
            if route.startswith(prefix):
                del self._steps[number]
                return step
        return None

    def _answer(self, call: Call) -> Reply:
        if call.headers.get("x-api-key") != self.key:
            return Reply(401, error_body(401, "Invalid API key", "ApiKey_Invalid", 801))
        for pattern, handler in (
            (r"GET /tools", self._tools),
            (r"POST /tools/execute/([^/]+)", self._execute),
            (r"GET /auth_configs", self._configs),
            (r"POST /auth_configs", self._make_config),
            (r"POST /connected_accounts/link", self._link),
            (r"GET /connected_accounts", self._list),
            (r"GET /connected_accounts/([^/]+)", self._account),
            (r"DELETE /connected_accounts/([^/]+)", self._delete),
        ):
            if match := re.fullmatch(pattern, call.route):
                return handler(call, *match.groups())
        return _missing("Route")

    def _tools(self, call: Call) -> Reply:
        slug = call.query.get("toolkit_slug", "")
        bodies = [tool_body(tool, slug) for tool in self.toolkits.get(slug, ())]
        return self._page(call, bodies)

    def _page(self, call: Call, items: list[dict[str, Any]]) -> Reply:
        size = min(self.page_size, int(call.query.get("limit", "20")))
        cursor = call.query.get("cursor", "")
        start = int(base64.b64decode(cursor)) if cursor else 0
        has_more = start + size < len(items)
        next_cursor = base64.b64encode(str(start + size).encode()).decode() if has_more else None
        return Reply(200, page_body(items[start : start + size], len(items), next_cursor))

    def _execute(self, call: Call, slug: str) -> Reply:
        user_id = call.body.get("user_id")
        if not isinstance(user_id, str) or not user_id:
            return Reply(400, error_body(400, "user_id is required", "Tool_BadRequest", 600))
        matches = [
            (toolkit, tool)
            for toolkit, tools in self.toolkits.items()
            for tool in tools
            if tool.slug == slug
        ]
        if not matches:
            return _missing("Tool")
        toolkit, tool = matches[0]
        account_id = call.body.get("connected_account_id")
        if not tool.no_auth and not self._has_account(user_id, toolkit, account_id):
            return self._not_connected()
        data = self._run_tool(slug, user_id, call.body.get("arguments") or {})
        error = data.pop("failed", None)
        body = {"data": data, "error": error, "successful": error is None, "log_id": "log_1"}
        return Reply(200, body)

    def _has_account(self, user_id: str, toolkit: str, account_id: str | None) -> bool:
        return any(
            account_id in (None, account.id)
            and (account.user_id, account.toolkit, account.status) == (user_id, toolkit, "ACTIVE")
            and not account.disabled
            for account in self.accounts.values()
        )

    def _not_connected(self) -> Reply:
        if self.refusal == "unsuccessful":
            body = {"data": {}, "error": NOT_CONNECTED, "successful": False, "log_id": "log_1"}
            return Reply(200, body)
        status = int(self.refusal)
        code = 1810 if status == 404 else 1803
        slug = "ActionExecute_ConnectedAccountNotFound" if status == 404 else "Tool_BadRequest"
        return Reply(status, error_body(status, NOT_CONNECTED, slug, code))

    def _run_tool(self, slug: str, user_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        tasks = self.tasks.setdefault(user_id, [])
        match slug:
            case "ASANA_GET_TASKS":
                return {"tasks": list(tasks)}
            case "ASANA_CREATE_TASK":
                tasks.append(str(arguments.get("name", "")))
                return {"created": tasks[-1]}
            case "ASANA_DELETE_TASK":
                if arguments.get("name") not in tasks:
                    return {"failed": "There is no such task."}
                tasks.remove(str(arguments["name"]))
                return {"deleted": True}
        return {"ran": slug, "arguments": dict(arguments)}

    def _configs(self, call: Call) -> Reply:
        slug = call.query.get("toolkit_slug")
        configs = [body for body in self.auth_configs.values() if body["toolkit"]["slug"] == slug]
        return self._page(call, configs)

    def _body(self, account: Account, owner: str) -> dict[str, Any]:
        body = account_body(account, owner)
        return body if self.names_users else {k: v for k, v in body.items() if k != "user_id"}

    def _make_config(self, call: Call) -> Reply:
        slug = call.body["toolkit"]["slug"]
        config_id = "ac_" + secrets.token_hex(8)
        self.auth_configs[config_id] = config_item(config_id, slug)
        return Reply(201, auth_config_body(config_id, slug))

    def _link(self, call: Call) -> Reply:
        config = self.auth_configs.get(str(call.body.get("auth_config_id")))
        if config is None:
            return _missing("AuthConfig")
        account = self.add_account(call.body["user_id"], config["toolkit"]["slug"], "INITIATED")
        token = "lk_" + secrets.token_urlsafe(12)
        body = {
            "link_token": token,
            "redirect_url": self.redirect.format(token=token),
            "connected_account_id": account,
            "expires_at": "2030-01-01T00:00:00.000Z",
        }
        return Reply(201, body)

    def _list(self, call: Call) -> Reply:
        query = {
            name: value.split(",")
            for name, value in call.query.items()
            if name in ("user_ids", "statuses", "toolkit_slugs") and value
        }
        accounts = [
            self._body(account, self.listed_owner.get(account.id, account.user_id))
            for account in self.accounts.values()
            if self.leaky
            or (
                self.listed_owner.get(account.id, account.user_id)
                in query.get("user_ids", [self.listed_owner.get(account.id, account.user_id)])
                and account.toolkit in query.get("toolkit_slugs", [account.toolkit])
                and account.status in query.get("statuses", [account.status])
            )
        ]
        return self._page(call, accounts)

    def _account(self, _call: Call, account_id: str) -> Reply:
        account = self.accounts.get(account_id)
        if account is None:
            return _missing("ConnectedAccount")
        return Reply(200, {**self._body(account, account.user_id), "params": {}})

    def _delete(self, _call: Call, account_id: str) -> Reply:
        if self.accounts.pop(account_id, None) is None:
            return _missing("ConnectedAccount")
        return Reply(200, {"success": True})


def _missing(kind: str) -> Reply:
    return Reply(404, error_body(404, f"{kind} not found", f"{kind}_NotFound", 604))


async def _call(request: web.Request) -> Call:
    body: Any = {}
    if request.body_exists:
        body = json.loads(await request.read())
    return Call(
        request.method,
        request.path.removeprefix(API),
        dict(request.query),
        body if isinstance(body, dict) else {},
        {name.lower(): value for name, value in request.headers.items()},
    )


@asynccontextmanager
async def composio_server() -> AsyncIterator[Composio]:
    """Serve a double on a free port of 127.0.0.1 for the block."""
    double = Composio()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        await runner.cleanup()

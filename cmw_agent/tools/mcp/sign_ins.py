"""Sign-ins at MCP servers by OAuth 2.1: from the button on the page to the tokens in the database.

The SDK's provider does the flow: discovery, registration, PKCE, exchange. It waits in a task for
the browser to come back, so the browser must come back to the process where it began.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.shared.auth import AuthorizationCodeResult
from pydantic import ValidationError

from cmw_agent.config.mcp_servers import McpServer
from cmw_agent.core.errors import NotFoundError, OverloadedError, UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.language import wording
from cmw_agent.tools.mcp.grants import Grant, Grants, GrantStorage, metadata_of
from cmw_agent.tools.mcp.transports import McpTransports

log = get_logger(__name__)

BEGIN_SECONDS = 20.0
PERSON_SECONDS = 600.0  # for signing in elsewhere
FINISH_SECONDS = 20.0
MAX_ATTEMPTS = 500
MAX_OF_OWNER = 5  # that wait for their browser
MAX_RUNNING = 10  # of an owner, with those whose server has not answered
FIRST = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "cmw-agent", "version": "1"},
    },
}
FAILURES = (httpx2.HTTPError, httpx2.StreamError, OAuthFlowError, ValidationError, TimeoutError)
SIGN_IN_FAILED = wording("The server did not let you sign in; please try again.")
NO_SIGN_IN = wording("The server asks for no sign-in.")
NOT_SIGNED_IN = wording("You have not signed in there; please begin again.")


class SignInError(UserError):
    """A sign-in at a server failed; the log has the details under the error's id."""

    status = 502
    sentence = SIGN_IN_FAILED


@dataclass(slots=True, eq=False)
class _Attempt:
    """A sign-in that is not finished."""

    owner: str
    server: McpServer
    address: "asyncio.Future[str]" = field(repr=False)
    answer: "asyncio.Future[AuthorizationCodeResult]" = field(repr=False)
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)


class SignIns:
    """The sign-ins of one process.

    Args:
        grants: Stores their results.
        transports: Opens connections to servers.
    """

    def __init__(self, grants: Grants, transports: McpTransports) -> None:
        self._grants = grants
        self._transports = transports
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()  # by the state of the protocol
        self._tasks: dict[asyncio.Task[None], str] = {}  # with the owner of each

    async def begin(self, owner: str, server: McpServer, redirect_uri: str) -> str:
        """Return the address at which an owner signs in.

        Args:
            owner: Who signs in.
            server: The server.
            redirect_uri: The app's address to which the browser comes back.

        Raises:
            SignInError: The server offers no sign-in.
            OverloadedError: Too many sign in.
            ValueError: The owner is empty.
        """
        if not owner:
            raise ValueError("a sign-in needs an owner")
        running = sum(one == owner for one in self._tasks.values())
        if len(self._tasks) >= MAX_ATTEMPTS or running >= MAX_RUNNING:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        attempt = _Attempt(owner, server, loop.create_future(), loop.create_future())
        attempt.task = asyncio.create_task(self._run(attempt, redirect_uri), name="mcp-sign-in")
        self._tasks[attempt.task] = owner
        attempt.task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                address = await asyncio.shield(attempt.address)
        except BaseException as error:
            attempt.task.cancel()
            if isinstance(error, TimeoutError):
                raise SignInError from None
            raise
        self._remember(_state_in(address), attempt)
        return address

    async def finish(self, owner: str, query: Mapping[str, str]) -> McpServer:
        """Take the browser that comes back, once; return the server at which its owner signed in.

        Args:
            owner: Whom the browser proves.
            query: What the authorization server has sent along.

        Raises:
            NotFoundError: No sign-in of this owner waits for it.
            SignInError: The sign-in failed.
            UserError: The owner has refused, or the database failed.
        """
        attempt = self._attempts.get(query.get("state", ""))
        if attempt is None or not hmac.compare_digest(attempt.owner.encode(), owner.encode()):
            raise NotFoundError
        del self._attempts[query["state"]]
        if attempt.task is None or attempt.answer.done():
            raise NotFoundError
        if "code" not in query:
            attempt.task.cancel()
            raise UserError(NOT_SIGNED_IN, status=409)
        attempt.answer.set_result(
            AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query.get("iss"))
        )
        done, _ = await asyncio.wait([attempt.task], timeout=FINISH_SECONDS)
        if not done:
            attempt.task.cancel()
            raise SignInError
        await attempt.task
        return attempt.server

    def forget(self, owner: str) -> None:
        """End the sign-ins of an owner."""
        for state in [key for key, one in self._attempts.items() if one.owner == owner]:
            self._drop(state)

    async def close(self) -> None:
        """End all sign-ins."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait([*self._tasks])

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()  # whoever waits has it; it may be that nobody does

    def _remember(self, state: str, attempt: _Attempt) -> None:
        own = [key for key, one in self._attempts.items() if one.owner == attempt.owner]
        for key in own[: max(0, len(own) - MAX_OF_OWNER + 1)]:
            self._drop(key)
        while len(self._attempts) >= MAX_ATTEMPTS:
            self._drop(next(iter(self._attempts)))
        self._attempts[state] = attempt

    def _drop(self, state: str) -> None:
        task = self._attempts.pop(state).task
        if task is not None:
            task.cancel()

    async def _run(self, attempt: _Attempt, redirect_uri: str) -> None:
        try:
            async with asyncio.timeout(BEGIN_SECONDS + PERSON_SECONDS + FINISH_SECONDS):
                await self._flow(attempt, redirect_uri)
        except FAILURES as error:
            failure = SignInError()
            log.warning(
                "sign-in at a server failed",
                server=attempt.server.name,
                error_id=failure.error_id,
                cause=describe_exception(error),
            )
            _fail(attempt, failure)
        except UserError as error:
            _fail(attempt, error)
        else:
            if not attempt.address.done():  # the server has let the app in without a user
                _fail(attempt, UserError(NO_SIGN_IN, status=409))

    async def _flow(self, attempt: _Attempt, redirect_uri: str) -> None:
        """Run the SDK's flow by a first request; it ends with tokens in the storage."""
        server = attempt.server
        url = server.url or ""

        async def send_browser(address: str) -> None:
            if urlsplit(address).scheme not in ("http", "https"):
                raise OAuthFlowError("the address for signing in is no web address")
            attempt.address.set_result(address)

        async def wait_for_browser() -> AuthorizationCodeResult:
            return await attempt.answer

        storage = GrantStorage(
            self._grants,
            attempt.owner,
            server,
            Grant(url=url, redirect_uri=redirect_uri),
            renews=False,
        )
        provider = OAuthClientProvider(
            url, metadata_of(redirect_uri), storage, send_browser, wait_for_browser
        )
        storage.provider = provider
        client = self._transports.client(server, provider)
        headers = {"accept": "application/json, text/event-stream"}
        async with client, client.stream("POST", url, json=FIRST, headers=headers) as response:
            await response.aclose()


def _fail(attempt: _Attempt, error: UserError) -> None:
    """Tell whoever waits; where that is the browser that has come back, the task does."""
    if attempt.address.done():
        raise error
    attempt.address.set_exception(error)


def _state_in(address: str) -> str:
    return (parse_qs(urlsplit(address).query).get("state") or [""])[0]

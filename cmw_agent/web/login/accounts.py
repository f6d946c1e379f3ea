"""Begins and ends the logins of accounts, and tells which are live."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from cmw_agent.core.access_names import GROUP
from cmw_agent.core.errors import UserError, describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.event_server import EventServer
from memory.conversations.transfer import Holdings
from memory.errors import HoldingsChangedError, LoginExistsError
from memory.logins import Taking

log = get_logger(__name__)

LIVE_CACHE_SECONDS = 1.0  # a login that was live is not looked up again for so long
MAX_CACHED_LOGINS = 10_000


class LoginUsedError(UserError):
    """The sign-in has been completed before."""

    status = 400
    sentence = wording("This sign-in is over; please sign in again.")


class ListChangedError(UserError):
    """The visitor's conversations have changed since they were listed."""

    status = 409
    sentence = wording("There is something new in this list; please look at it again.")


class Accounts:
    """Signs accounts in and out, in one process.

    Each coroutine raises `UserError` where the database fails.

    Args:
        runtime: Holds the logins, the live sessions and the memory.
        events: Holds the event streams that end with a login.
        keys: Secret keys, with which a visitor's secrets are sealed anew for the account.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        runtime: Runtime,
        events: EventServer,
        keys: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._runtime = runtime
        self._events = events
        self._clock = clock
        self._live: OrderedDict[str, float] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    async def is_live(self, principal: Principal) -> bool:
        """Return whether an account's login has not ended, on any replica.

        The end of a login on another replica may be noticed `LIVE_CACHE_SECONDS` late.
        """
        login, now = principal.login, self._clock()
        if login is None or login in self._ended:
            return False
        if now - self._live.get(login, now - 2 * LIVE_CACHE_SECONDS) < LIVE_CACHE_SECONDS:
            return True
        self._live.pop(login, None)
        with mapped_store_errors():
            live = await self._runtime.logins.is_live(principal.id, login)
        if not live or login in self._ended:  # it may have ended during the query
            return False
        self._live[login] = now
        _evict_oldest(self._live)
        return True

    async def holdings(self, principal: Principal) -> Holdings:
        """Return a summary of the data of a visitor that a sign-in can transfer."""
        with mapped_store_errors():
            return await self._runtime.memory.holdings(principal.id)

    def connected_names(self, holdings: Holdings) -> list[str]:
        """Return what a page calls the accounts and servers that a sign-in can transfer."""
        connecting = self._runtime.connecting
        return [
            *(
                connecting.title(one.toolkit) if connecting is not None else one.toolkit
                for one in holdings.connections
            ),
            *(f"{one.server} ({one.url})" if one.url else one.server for one in holdings.servers),
        ]

    def names_that_count(self, account: Principal) -> list[str]:
        """Return an account's names without the groups that no list names, sorted."""
        named = self._runtime.agents.named | self._runtime.settings.admins
        return sorted(name for name in account.names if not name.startswith(GROUP) or name in named)

    async def sign_in(
        self, account: Principal, visitor: Principal | None, digest: str | None
    ) -> None:
        """Begin an account's login, and end the visitor's sessions and streams in this process.

        Args:
            account: The account that signs in; its `login` can begin once.
            visitor: The browser's principal until now, if any.
            digest: The digest of the holdings that the person has agreed to transfer; None transfers
                nothing.

        Raises:
            LoginUsedError: This login has begun before.
            ListChangedError: The visitor's holdings no longer have this digest.
        """
        taking = None
        if visitor is not None and digest is not None:
            taking = Taking(visitor.id, digest, partial(self._reseal, visitor.id, account.id))
        if visitor is not None:
            await self._end_sessions(visitor)
        with mapped_store_errors():
            try:
                await self._runtime.logins.begin(
                    account.id, str(account.login), account.names, taking
                )
            except LoginExistsError:
                raise LoginUsedError from None
            except HoldingsChangedError:
                raise ListChangedError from None
        if taking is not None:
            await self._hand_over_recordings(account, taking.from_owner)
        if visitor is not None:
            if taking is not None:
                await self._runtime.history.note_move(account, visitor)
            # Again, for sessions that were made meanwhile: they still show what they have drawn.
            await self._end_sessions(visitor)
            if (mcp := self._runtime.services.mcp) is not None:
                mcp.forget(visitor.id)

    async def _hand_over_recordings(self, account: Principal, from_owner: str) -> None:
        if (recorder := self._runtime.services.dependencies.recorder) is None:
            return
        try:
            await recorder.hand_over(account.id, from_owner)
        except OSError as error:  # the conversations have moved: the sign-in stands
            log.warning("recordings were not handed over", cause=describe_exception(error))

    async def sign_out(self, account: Principal) -> None:
        """End an account's login everywhere, and its sessions and streams in this process."""
        login = str(account.login)
        with mapped_store_errors():
            await self._runtime.logins.end(account.id, login)
        self._ended[login] = None
        self._live.pop(login, None)
        _evict_oldest(self._ended)
        await self._end_sessions(account)

    def _reseal(self, from_owner: str, owner: str, server: str, sealed: str) -> str | None:
        # Its library is loaded already where users sign in at servers.
        from cmw_agent.identity.sealing import MCP_GRANT, Sealer  # noqa: PLC0415

        return Sealer(self._keys).moved(from_owner, owner, f"{MCP_GRANT}.{server}", sealed)

    async def _end_sessions(self, principal: Principal) -> None:
        """End the principal's event streams, stop its turns (their text is stored) and import, release its sessions."""
        self._events.end_of(principal)
        await self._runtime.chat.stop_login(principal)
        await self._runtime.imports.stop_login(principal)
        registry = self._runtime.registry
        keys = [s.key for s in registry.of(principal) if s.principal.login == principal.login]
        await asyncio.gather(*(registry.release(key, principal) for key in keys))


def _evict_oldest(logins: OrderedDict[str, float] | OrderedDict[str, None]) -> None:
    while len(logins) > MAX_CACHED_LOGINS:
        logins.popitem(last=False)

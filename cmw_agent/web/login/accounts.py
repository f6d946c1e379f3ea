"""Begins and ends the logins of accounts, and tells which are live."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from cmw_agent.agent.access import names_of
from cmw_agent.core.errors import UserError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.event_server import EventServer
from memory.conversations.transfer import Holdings
from memory.errors import HoldingsChangedError, LoginExistsError
from memory.logins import Taking

LIVE_CACHE_SECONDS = 1.0  # a login that was live is not looked up again for so long
MAX_CACHED_LOGINS = 10_000


class LoginUsedError(UserError):
    """The sign-in has been completed before."""

    status = 400
    sentence = "This sign-in is over; please sign in again."


class ListChangedError(UserError):
    """The visitor's conversations have changed since they were listed."""

    status = 409
    sentence = "There is something new in this list; please look at it again."


class Accounts:
    """Signs accounts in and out, in one process.

    Each coroutine raises `UserError` where the database fails.

    Args:
        runtime: Holds the logins, the live sessions and the memory.
        events: Holds the event streams that end with a login.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, runtime: Runtime, events: EventServer, clock: Callable[[], float] = time.monotonic
    ) -> None:
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

    def groups_that_count(self, account: Principal) -> list[str]:
        """Return those of an account's groups that some agent's access list names, sorted."""
        return sorted(self._runtime.agents.named_groups(account.groups))

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
        taking = Taking(visitor.id, digest) if visitor is not None and digest is not None else None
        if visitor is not None:
            await self._end_sessions(visitor)
        with mapped_store_errors():
            try:
                await self._runtime.logins.begin(
                    account.id, str(account.login), names_of(account), taking
                )
            except LoginExistsError:
                raise LoginUsedError from None
            except HoldingsChangedError:
                raise ListChangedError from None
        if visitor is not None:
            # Again, for sessions that were made meanwhile: they still show what they have drawn.
            await self._end_sessions(visitor)

    async def sign_out(self, account: Principal) -> None:
        """End an account's login everywhere, and its sessions and streams in this process."""
        login = str(account.login)
        with mapped_store_errors():
            await self._runtime.logins.end(account.id, login)
        self._ended[login] = None
        self._live.pop(login, None)
        _evict_oldest(self._ended)
        await self._end_sessions(account)

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

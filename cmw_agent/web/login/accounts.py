"""Signing in and out: which logins are live, and what goes with one that begins or ends."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from cmw_agent.agent.access import names_of
from cmw_agent.conversations.store_errors import refusal_for
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.event_server import EventServer
from memory.conversations.transfer import Holdings
from memory.errors import HoldingsChangedError, LoginExistsError, StoreError
from memory.logins import Taking

TRUSTED_SECONDS = 1.0  # how long a login that was live is taken to be so still
REMEMBERED = 10_000


class LoginUsedError(UserError):
    """A sign-in that has been completed before."""

    status = 400
    sentence = "This sign-in is over; please sign in again."


class ListChangedError(UserError):
    """The visitor's conversations are no longer those that were listed."""

    status = 409
    sentence = "There is something new in this list; please look at it again."


class Accounts:
    """The accounts of one process.

    Args:
        runtime: Holds the logins, the live sessions and the memory.
        events: Holds the streams that end with a login.
        clock: Seconds, monotonic.

    Raises:
        UserError: From each method that waits, where the database fails.
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
        """Whether an account's login has not ended, here or on another replica."""
        login, now = principal.login, self._clock()
        if login is None or login in self._ended:
            return False
        if now - self._live.get(login, now - 2 * TRUSTED_SECONDS) < TRUSTED_SECONDS:
            return True
        self._live.pop(login, None)
        try:
            live = await self._runtime.logins.is_live(principal.id, login)
        except StoreError as error:
            raise refusal_for(error) from error
        if not live or login in self._ended:  # it may have ended while the database was asked
            return False
        self._live[login] = now
        _bound(self._live)
        return True

    async def holdings(self, principal: Principal) -> Holdings:
        """Return what a visitor has that a sign-in can transfer."""
        try:
            return await self._runtime.memory.holdings(principal.id)
        except StoreError as error:
            raise refusal_for(error) from error

    def groups_that_count(self, account: Principal) -> list[str]:
        """Return those of an account's groups that some agent is for."""
        return sorted(self._runtime.agents.named_groups(account.groups))

    async def sign_in(
        self, account: Principal, visitor: Principal | None, digest: str | None
    ) -> None:
        """Begin an account's login, once, and end what runs for the visitor in this process.

        Args:
            account: Who signs in.
            visitor: Who the browser was.
            digest: Of what the person has agreed to transfer; None leaves it all to the visitor.

        Raises:
            LoginUsedError: This login has begun before.
            ListChangedError: The visitor no longer has what the digest stands for.
        """
        taking = Taking(visitor.id, digest) if visitor is not None and digest is not None else None
        if visitor is not None:
            await self._leave(visitor)
        try:
            await self._runtime.logins.begin(
                account.id, str(account.login), names_of(account), taking
            )
        except LoginExistsError:
            raise LoginUsedError from None
        except HoldingsChangedError:
            raise ListChangedError from None
        except StoreError as error:
            raise refusal_for(error) from error
        if visitor is not None:
            # Once more, for what came meanwhile: a live session still shows what it drew.
            await self._leave(visitor)

    async def sign_out(self, account: Principal) -> None:
        """End an account's login everywhere, and what runs for it in this process."""
        login = str(account.login)
        try:
            await self._runtime.logins.end(account.id, login)
        except StoreError as error:
            raise refusal_for(error) from error
        self._ended[login] = None
        self._live.pop(login, None)
        _bound(self._ended)
        await self._leave(account)

    async def _leave(self, principal: Principal) -> None:
        """End the principal's streams, stop its turns, store what came, let its sessions go."""
        self._events.end_of(principal)
        registry = self._runtime.registry
        keys = [s.key for s in registry.of(principal) if s.principal.login == principal.login]
        await asyncio.gather(*(registry.release(key, principal) for key in keys))


def _bound(remembered: OrderedDict[str, float] | OrderedDict[str, None]) -> None:
    while len(remembered) > REMEMBERED:
        remembered.popitem(last=False)

"""Reads the whole bodies of the page's requests, within limits of size, time and budget."""

import asyncio

from starlette.types import Receive, Scope

from cmw_agent.core.bodies import BodyTooLargeError, check_declared_length, read_request_body
from cmw_agent.core.errors import UserError
from cmw_agent.language import wording
from cmw_agent.limits.budgets import Budgets

BODY_SECONDS = 20.0  # until a body must have arrived


class PageBodies:
    """Reads request bodies.

    Args:
        budgets: Limits the bytes of all bodies that are still being received.
        max_bytes: The largest body.
        max_seconds: The longest time until a body must have arrived.
    """

    def __init__(self, budgets: Budgets, max_bytes: int, max_seconds: float = BODY_SECONDS) -> None:
        self._budgets = budgets
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body of a request.

        Raises:
            UserError: The body is too large, too slow or cut off; or the budget of its network
                address, or of all, is used up.
        """
        try:
            check_declared_length(scope, self._max_bytes)
            return await self._whole(scope, receive)
        except BodyTooLargeError:
            sentence = wording(
                "The message is too large; at most {count} bytes are taken.", count=self._max_bytes
            )
            raise UserError(sentence, status=413) from None
        except TimeoutError:
            raise UserError(wording("The request took too long to come."), status=408) from None

    async def _whole(self, scope: Scope, receive: Receive) -> bytes:
        client = scope.get("client")
        with self._budgets.take("body_bytes", None, client[0] if client else None, 0) as hold:

            def reserve(_: int, size: int, is_last: bool) -> None:
                if not is_last:  # a body in one part takes none of the budget
                    hold.grow(size)

            async with asyncio.timeout(self._max_seconds):
                return await read_request_body(receive, self._max_bytes, reserve)

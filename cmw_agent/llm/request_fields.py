"""Per-user fields of each request to the model's server: an opaque user id, and a cache key.

The user id lets the server tell users apart where one of them misuses it. The cache key, off by
default, separates users in the server's prefix cache: a shared cache answers faster where another
user has sent the same text, which reveals that they did.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, Literal

from cmw_agent.config.settings import Settings
from cmw_agent.core.logs import get_logger
from cmw_agent.llm.coalescing import CoalescedCompletions
from cmw_agent.llm.errors import RequestRefusedError, UpstreamError

log = get_logger(__name__)

UserField = Literal["safety_identifier", "user"]
USER_FIELDS: tuple[UserField, ...] = ("safety_identifier", "user")  # in the order of probing
REFUSALS = frozenset({400, 422})  # with which servers answer a field that they do not know
PROBE_SECONDS = 60.0


class RequestFields:
    """Builds the per-user fields of each request to one endpoint.

    Args:
        settings: Which fields the server accepts; with ``auto`` no user id is sent before `probe`.
        endpoint: Sets the opaque names of one endpoint apart from those of others.

    Attributes:
        user_field: Name of the field for the user id; None if it is not sent.
    """

    def __init__(self, settings: Settings, endpoint: str = "") -> None:
        configured = [field for field in USER_FIELDS if field == settings.user_field]
        self.user_field: UserField | None = configured[0] if configured else None
        salts = {"on": "cache_salt", "prompt_cache_key": "prompt_cache_key", "off": None}
        self._salt = salts[settings.cache_salt]
        self._endpoint = endpoint

    def of(self, owner: str) -> dict[str, Any]:
        """Return the per-user fields of a request of `owner`, a principal's id."""
        fields: dict[str, Any] = {}
        if self.user_field is not None:
            fields[self.user_field] = self._opaque("user", owner)
        if self._salt is not None:
            fields[self._salt] = self._opaque("cache", owner)
        return fields

    def _opaque(self, purpose: str, owner: str) -> str:
        text = f"cmw.{purpose}{self._endpoint}\0{owner}"
        return sha256(text.encode()).hexdigest()[:32]

    async def probe(self, completions: CoalescedCompletions, model: str) -> None:
        """Find out which fields the server accepts, with one short request for each.

        The first accepted field for the user id is used from then on; a cache key that the
        server refuses is no longer sent. The answers are not read: each request is aborted when
        its answer begins.

        Args:
            completions: Of the endpoint.
            model: The name of a model that it has.
        """
        try:
            for field in USER_FIELDS:
                if await self._accepts(completions, model, field):
                    self.user_field = field
                    break
            if self._salt is not None and not await self._accepts(completions, model, self._salt):
                log.warning("the endpoint refuses %s, which is not sent", self._salt)
                self._salt = None
        except (UpstreamError, TimeoutError) as error:
            cause = getattr(error, "status_code", type(error).__name__)
            log.warning("the endpoint was not probed", cause=cause)
            return
        log.info("the user id is sent to the endpoint in", field=self.user_field)

    async def _accepts(self, completions: CoalescedCompletions, model: str, field: str) -> bool:
        payload = {"model": model, "messages": [{"role": "user", "content": "ping"}]}
        payload[field] = self._opaque("user", "probe")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await completions.probe(**payload, stream=True)
                return True
        except RequestRefusedError as error:
            if error.status_code not in REFUSALS:
                raise
            return False


@contextlib.asynccontextmanager
async def probing(
    fields: RequestFields, completions: CoalescedCompletions, model: str
) -> AsyncIterator[None]:
    """Probe an endpoint in the background of the block; see `RequestFields.probe`."""
    probe = asyncio.create_task(fields.probe(completions, model), name="endpoint-probe")
    try:
        yield
    finally:
        probe.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probe

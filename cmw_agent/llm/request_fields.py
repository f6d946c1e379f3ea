"""What each request tells the model's server beside the conversation.

An opaque name of the user whose request it is, so that the server can tell users apart where one
of them misuses it, and where it is switched on a key that keeps each user's share of the server's
prefix cache apart: a shared one answers faster where another user has said the same, which tells
that they did.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel

from cmw_agent.config.settings import Settings
from cmw_agent.llm.chat_model import CoalescedChatOpenAI
from cmw_agent.llm.http_client import RequestRefusedError, UpstreamError

log = logging.getLogger(__name__)

UserField = Literal["safety_identifier", "user"]
TRIED: tuple[UserField, ...] = ("safety_identifier", "user")
REFUSALS = frozenset({400, 422})  # what servers answer to a field that they do not know
PROBE_SECONDS = 60.0


class RequestFields:
    """Makes the fields of each request.

    Args:
        settings: Which fields the server takes; ``auto`` sends none until it is found out.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = [field for field in TRIED if field == settings.user_field]
        self.user_field: UserField | None = chosen[0] if chosen else None
        salts = {"on": "cache_salt", "prompt_cache_key": "prompt_cache_key", "off": None}
        self._salt = salts[settings.cache_salt]
        self._model = settings.model

    def of(self, owner: str, model: str | None = None) -> dict[str, Any]:
        """Return the fields of a request for `owner`, to `model` where it is not the first one."""
        fields: dict[str, Any] = {}
        if model is not None and model != self._model:
            fields["model"] = model
        if self.user_field is not None:
            fields[self.user_field] = _opaque("user", owner)
        if self._salt is not None:
            fields[self._salt] = _opaque("cache", owner)
        return fields

    async def find_out(self, model: CoalescedChatOpenAI) -> None:
        """Ask the server once with each field that it may take, and keep the first that it does.

        Nothing is read of its answers: they are cut off where they begin. A cache key that it
        refuses is not sent any more.
        """
        try:
            for field in TRIED:
                if await self._takes(model, field):
                    self.user_field = field
                    break
            if self._salt is not None and not await self._takes(model, self._salt):
                log.warning("the endpoint refuses %s, which is not sent", self._salt)
                self._salt = None
        except (UpstreamError, TimeoutError) as error:
            cause = getattr(error, "status_code", type(error).__name__)
            log.warning("the endpoint was not probed cause=%s", cause)
            return
        log.info("the endpoint is told of users by field=%s", self.user_field)

    async def _takes(self, model: CoalescedChatOpenAI, field: str) -> bool:
        asked = {"model": self._model, "messages": [{"role": "user", "content": "ping"}]}
        asked[field] = _opaque("user", "probe")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                async with await model.async_client.create(**asked, stream=True):
                    return True
        except RequestRefusedError as error:
            if error.status_code not in REFUSALS:
                raise
            return False


@contextlib.asynccontextmanager
async def open_request_fields(
    settings: Settings, model: BaseChatModel
) -> AsyncIterator[RequestFields]:
    """Make the fields; where the settings say so, find out in the background which are taken."""
    fields = RequestFields(settings)
    probe: asyncio.Task[None] | None = None
    if settings.user_field == "auto" and isinstance(model, CoalescedChatOpenAI):
        probe = asyncio.create_task(fields.find_out(model), name="endpoint-probe")
    try:
        yield fields
    finally:
        if probe is not None:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probe


def _opaque(what: str, owner: str) -> str:
    return sha256(f"cmw.{what}\0{owner}".encode()).hexdigest()[:32]

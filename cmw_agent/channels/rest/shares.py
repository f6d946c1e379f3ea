"""REST: links to read-only snapshots of a session's conversations."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed
from cmw_agent.channels.common.callers import base_of
from cmw_agent.channels.rest.dependencies import (
    ApiKeyHolder,
    ConversationLookup,
    counted_at,
    session_of,
)
from cmw_agent.channels.rest.messages import CHAT, PROBLEMS, problem_of
from cmw_agent.channels.rest.models import NewShareRequest, ShareItem, ShareList
from cmw_agent.config.validators import ApiKey
from cmw_agent.conversations.shares import ShareService
from cmw_agent.core.errors import NotFoundError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from memory.share_records import Share

Shared = Annotated[
    str | None,
    Query(max_length=64, description="The links of this conversation alone."),
]


class NoSharesError(NotFoundError):
    """The settings allow no shares."""

    sentence = wording("There are no shared chats here.")


class RestShares:
    """The routes of shares.

    Args:
        lookup: Finds conversations.
    """

    def __init__(self, lookup: ConversationLookup) -> None:
        self._lookup = lookup
        self._services = lookup.services
        self._callers = lookup.callers

    def router(self, keys: Keys) -> APIRouter:
        """Return the routes of shares, open to holders of `keys`."""
        changing, reading = (keyed(keys, problem_of, scope) for scope in ("agents", "read"))
        router = APIRouter(route_class=changing, responses=PROBLEMS, tags=["shares"])
        add = router.add_api_route
        read = partial(router.add_api_route, route_class_override=reading)
        path = f"{CHAT}/sessions/{{session_id}}/shares"
        read(path, self.listed, methods=["GET"], response_model=ShareList)
        add(path, self.create, methods=["POST"], response_model=ShareItem, status_code=201)
        add(
            f"{path}/{{share_id}}",
            self.revoke,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
        )
        return router

    async def listed(
        self,
        agent_id: str,
        session_id: str,
        holder: ApiKeyHolder,
        request: Request,
        conversation: Shared = None,
    ) -> ShareList:
        """List the open links to a session's conversations, newest first."""
        principal, service = self._caller(agent_id, session_id, holder)
        shares = await service.shares(principal, conversation)
        return ShareList(shares=[self._item(share, request) for share in shares])

    async def create(
        self,
        agent_id: str,
        session_id: str,
        holder: ApiKeyHolder,
        request: Request,
        body: NewShareRequest,
    ) -> ShareItem:
        """Make a link to a copy of a session's conversation as it is now."""
        principal, service = self._caller(agent_id, session_id, holder)
        stored = await self._lookup.conversation(principal, body.conversation_id)
        await self._services.chat.stored(principal.id, stored.conversation_id)
        share = await service.create(
            principal,
            stored.conversation_id,
            days=body.days,
            with_files=body.files,
            address=counted_at(holder, request),
        )
        return self._item(share, request)

    async def revoke(
        self, agent_id: str, session_id: str, share_id: str, holder: ApiKeyHolder
    ) -> Response:
        """End a link: the copy is deleted."""
        principal, service = self._caller(agent_id, session_id, holder)
        await service.revoke(principal, share_id)
        return Response(status_code=204)

    def _caller(
        self, agent_id: str, session_id: str, holder: ApiKey
    ) -> tuple[Principal, ShareService]:
        self._callers.profile(agent_id, by_key(holder))
        if (service := self._services.shares) is None:
            raise NoSharesError
        return session_of(holder, agent_id, session_id), service

    def _item(self, share: Share, request: Request) -> ShareItem:
        base = (self._services.settings.public_url or base_of(request)).rstrip("/")
        return ShareItem(
            share_id=share.share_id,
            url=f"{base}/share/{share.share_id}",
            conversation_id=share.conversation_id,
            title=share.title,
            files=share.with_files,
            message_count=share.message_count,
            created_at=share.created_at.isoformat(),
            expires_at=share.expires_at.isoformat() if share.expires_at is not None else None,
        )

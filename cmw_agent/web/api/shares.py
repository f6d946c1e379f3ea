"""Routes of shares: an owner's list for the page's script, and the shared chats themselves.

Owners come from the guard alone. A shared chat is read as the principal of its link, whoever the
browser's visitor is. A link that shows nothing gets one answer, whatever the reason is.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cmw_agent.channels.common.downloads import file_response
from cmw_agent.chat.service import ChatService
from cmw_agent.conversations.shares import NO_VISIT, SharedChatNotFoundError, ShareService
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.identity.channel_principals import SHARE_ID, share
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.api.endpoint import Answer, body, endpoint, guarded, home, text
from cmw_agent.web.api.shared_page import error_page, missing_page, shared_page
from cmw_agent.web.security.guard import NOT_FOUND, PRINCIPAL
from memory.share_records import Share

SIGN_IN = wording("Please sign in to read shared chats.")
MAX_DIGITS = 6
WAIT_SECONDS = 15.0  # that a page waits at most before it is drawn


class ShareRoutes:
    """The routes of shares.

    Args:
        shares: Returns the use cases, None where the settings allow no shares; raises
            `Unavailable` before the start and after the end.
        chat: Returns the service whose answers may still have to be stored; raises likewise.
        budgets: Limits how many shared chats are read at once.
        mode: Who may read a shared chat, as `CMW_SHARES` says.
    """

    def __init__(
        self,
        shares: Callable[[], ShareService | None],
        chat: Callable[[], ChatService],
        budgets: Budgets,
        mode: Literal["off", "accounts", "link"],
    ) -> None:
        self._shares = shares
        self._chat = chat
        self._budgets = budgets
        self._mode = mode

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="shares")
        one = "/share/{share_id}"
        return [
            Route("/shares", self._open(answered(self.listed))),
            Route("/shares/create", self._open(answered(self.create)), methods=["POST"]),
            Route("/shares/revoke", self._open(answered(self.revoke)), methods=["POST"]),
            Route(one, self._open(endpoint(self.page, "shared chat", _error_page))),
            Route(f"{one}/files/{{number}}", self._open(endpoint(self.file, "shared chat"))),
            Route(
                f"{one}/continue",
                self._open(answered(self.continue_chat, nobody=_no_visit)),
                methods=["POST"],
            ),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """List the open shares of one of the caller's conversations, or of all."""
        shares = await self._service().shares(principal, request.query_params.get("c"))
        return JSONResponse({"shares": [_item(item) for item in shares], "mode": self._mode})

    async def create(self, request: Request, principal: Principal) -> Response:
        """Share one of the caller's conversations."""
        content = await body(request)
        days = content.get("days")
        if days is not None and type(days) is not int:
            raise InvalidMessageError(
                wording("The request must name the days as a number."), status=400
            )
        service, conversation = self._service(), text(content, "conversation")
        await self._chat().stored(principal.id, conversation)
        created = await service.create(
            principal,
            conversation,
            days=days,
            with_files=content.get("files") is True,
            address=_address(request),
        )
        return JSONResponse(_item(created))

    async def revoke(self, request: Request, principal: Principal) -> Response:
        """End one of the caller's shares."""
        await self._service().revoke(principal, text(await body(request), "id"))
        return JSONResponse({})

    async def page(self, request: Request) -> Response:
        """Show a page of a shared chat."""
        share_id = request.path_params["share_id"]
        address = f"{home(request)}share/{quote(share_id, safe='')}"
        if self._must_sign_in(request):
            return RedirectResponse(f"{home(request)}login?next={quote(address, safe='')}", 303)
        reader, from_seq = _reader(share_id), _number(request.query_params.get("from")) or 1
        drawing = self._budgets.hold(
            "share_reads", None, _address(request), wait_seconds=WAIT_SECONDS
        )
        async with drawing:
            page = await self._service().page(reader, from_seq)
            # Escaping the texts of a page would hold the loop.
            language = request_language(request.scope)
            return await asyncio.to_thread(
                shared_page, page, address, home(request), from_seq, language
            )

    async def file(self, request: Request) -> Response:
        """Send a file of a shared chat, as it came, to be saved and never to be run."""
        if self._must_sign_in(request):
            raise InvalidMessageError(SIGN_IN, status=401)
        reader, number = _reader(request.path_params["share_id"]), request.path_params["number"]
        if (wanted := _number(number)) is None:
            raise SharedChatNotFoundError
        return file_response(*await self._service().file(reader, wanted))

    async def continue_chat(self, request: Request, principal: Principal) -> Response:
        """Copy a shared chat for the caller; name the new conversation."""
        await body(request)
        if self._must_sign_in(request):
            raise InvalidMessageError(SIGN_IN, status=401)
        share_id = request.path_params["share_id"]
        _reader(share_id)
        conversation = await self._service().continue_chat(principal, share_id, _address(request))
        return JSONResponse({"conversation": conversation})

    def _open(self, answer: Answer) -> Answer:
        """Return an endpoint that is one that there is not where the settings allow no shares."""

        async def answering(request: Request) -> Response:
            if self._mode == "off":
                return JSONResponse({"detail": NOT_FOUND}, 404)
            return await answer(request)

        return answering

    def _service(self) -> ShareService:
        service = self._shares()
        if service is None:
            raise SharedChatNotFoundError
        return service

    def _must_sign_in(self, request: Request) -> bool:
        principal = request.scope.get(PRINCIPAL)
        is_account = isinstance(principal, Principal) and principal.kind == "account"
        return self._mode == "accounts" and not is_account


def _reader(share_id: str) -> Principal:
    """Return the principal of a link. Raises SharedChatNotFoundError for no id."""
    if not SHARE_ID.fullmatch(share_id):
        raise SharedChatNotFoundError
    return share(share_id)


def _number(given: str | None) -> int | None:
    """Return a number from 1 on that a request names; None for anything else."""
    is_number = given is not None and given.isascii() and given.isdecimal()
    return (int(given) or None) if given and is_number and len(given) <= MAX_DIGITS else None


def _address(request: Request) -> str | None:
    return request.client.host if request.client is not None else None


def _error_page(request: Request, error: UserError) -> Response:
    language = request_language(request.scope)
    if isinstance(error, NotFoundError):
        return missing_page(language)
    page = error_page(str(error), error.status, wording("Not shown"), language)
    if error.retry_after is not None:
        page.headers["retry-after"] = str(error.retry_after)
    return page


def _item(item: Share) -> dict[str, Any]:
    return {
        "id": item.share_id,
        "conversation": item.conversation_id,
        "title": item.title,
        "files": item.with_files,
        "messages": item.message_count,
        "created_at": item.created_at.isoformat(),
        "expires_at": _iso(item.expires_at),
        "path": f"share/{item.share_id}",
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _no_visit(_: Request) -> Response:
    return JSONResponse({"detail": NO_VISIT}, 403)

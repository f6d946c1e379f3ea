"""The page's list of conversations: routes for its script, each for its own principal.

The principal comes from the guard alone. A caller who proves nothing has no history: the list is
empty, and all else is not found.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import Agents
from cmw_agent.channels.common.downloads import Download
from cmw_agent.conversations.cursors import InvalidCursorError, decode_cursor, encode_cursor
from cmw_agent.conversations.export import FORMATS, all_written, formats, written
from cmw_agent.conversations.service import PAGE, ConversationService
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.identity.principals import Principal
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.api.endpoint import body, guarded, text
from cmw_agent.web.security.visitor_cookie import HEADER
from memory.records import Conversation, StoredMessage

FILE_CHARS = 60


class HistoryRoutes:
    """The routes of the list of conversations.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        agents: The agents; the page itself shows those that are for everyone.
        budgets: Bounds the exports that are being read.
        visited: Notes that a principal's page is open.
        accounts: Whether visitors may sign in.
        connections: Whether accounts of other services may be connected.
    """

    def __init__(
        self,
        history: Callable[[], ConversationService],
        agents: Agents,
        budgets: Budgets,
        visited: Callable[[Principal], Awaitable[None]],
        *,
        accounts: bool = False,
        connections: bool = False,
    ) -> None:
        self._history = history
        self._agents = agents
        self._budgets = budgets
        self._visited = visited
        self._accounts = accounts
        self._connections = connections

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="history")
        return [
            Route("/history", answered(self.listed, nobody=self._nothing)),
            Route("/history/search", answered(self.search)),
            Route("/history/export", answered(self.export)),
            Route("/history/everything", answered(self.everything)),
            Route("/history/rename", answered(self.rename), methods=["POST"]),
            Route("/history/delete", answered(self.delete), methods=["POST"]),
            Route("/history/restore", answered(self.restore), methods=["POST"]),
            Route("/history/forget", answered(self.forget), methods=["POST"]),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """A page of the list, the cursor of the next one, who is signed in, and their agents."""
        before = _before(request.query_params.get("before"))
        await self._visited(principal)
        page = await self._history().page(principal, before)
        next_cursor = encode_cursor(page[-1].position) if len(page) == PAGE else None
        # Without a cookie nobody can sign in, nor be signed in.
        offered = self._accounts and HEADER not in request.headers
        return JSONResponse(
            {
                "conversations": [_item(c) for c in page],
                "next": next_cursor,
                "account": _account(principal) if offered else None,
                "connections": self._connections and principal.is_kept,
                "agents": await self._own_agents(principal),
            }
        )

    @staticmethod
    def _nothing() -> Response:
        nothing: dict[str, Any] = {
            "conversations": [],
            "next": None,
            "account": None,
            "connections": False,
        }
        return JSONResponse({**nothing, "agents": []})

    async def _own_agents(self, principal: Principal) -> list[dict[str, str]]:
        """Return what this user may choose from; empty where everybody sees the same."""
        if self._agents.are_alike:
            return []
        profiles = await self._agents.usable_for(principal)
        return [{"id": profile.id, "name": profile.name} for profile in profiles]

    async def search(self, request: Request, principal: Principal) -> Response:
        """What a search finds."""
        hits = await self._history().search(principal, request.query_params.get("q", ""))
        return JSONResponse(
            {
                "found": [
                    {
                        "id": item.conversation_id,
                        "title": item.title,
                        "snippet": item.snippet,
                        "at": item.last_activity_at.isoformat(),
                    }
                    for item in hits
                ]
            }
        )

    async def export(self, request: Request, principal: Principal) -> Response:
        """One conversation as a file.

        With `thinking=1` the models' thoughts are in it, with `versions=all` all versions.
        """
        ending = request.query_params.get("format", "md")
        if ending not in FORMATS:
            raise InvalidMessageError("A conversation can be saved as md, json or html.")
        conversation_id = request.query_params.get("id", "")
        history, all_versions = self._history(), _wants_versions(request)
        form = formats(with_thinking=_wants_thinking(request), with_versions=all_versions)[ending]
        conversation = await history.conversation(principal, conversation_id)
        pages = history.messages(principal, conversation_id, all_versions=all_versions)
        pieces = written(form, conversation, pages)
        headers = _file(conversation.title, ending)
        return self._download(request, principal, pieces, form.media_type, headers)

    async def everything(self, request: Request, principal: Principal) -> Response:
        """All conversations as one JSON file, written as it is read; options are as for one."""
        history, all_versions = self._history(), _wants_versions(request)

        async def messages(conversation: Conversation) -> AsyncGenerator[list[StoredMessage]]:
            # One that is deleted while the others are read ends there.
            with contextlib.suppress(NotFoundError):
                async for page in history.messages(
                    principal, conversation.conversation_id, all_versions=all_versions
                ):
                    yield page

        pieces = all_written(
            history.conversations(principal),
            messages,
            with_thinking=_wants_thinking(request),
            with_versions=all_versions,
        )
        headers = _file("conversations", "json")
        return self._download(request, principal, pieces, "application/json", headers)

    def _download(
        self,
        request: Request,
        principal: Principal,
        pieces: AsyncGenerator[bytes],
        media_type: str,
        headers: Mapping[str, str],
    ) -> Response:
        address = request.client.host if request.client is not None else None
        hold = self._budgets.take("exports", principal.id, address)
        return Download(pieces, hold, media_type=media_type, headers=headers)

    async def rename(self, request: Request, principal: Principal) -> Response:
        """Another title for a conversation."""
        content = await body(request)
        title = await self._history().rename(principal, text(content, "id"), text(content, "title"))
        return JSONResponse({"title": title})

    async def delete(self, request: Request, principal: Principal) -> Response:
        """Put a conversation out of sight."""
        await self._history().delete(principal, text(await body(request), "id"))
        return JSONResponse({})

    async def restore(self, request: Request, principal: Principal) -> Response:
        """Take a deletion back."""
        await self._history().restore(principal, text(await body(request), "id"))
        return JSONResponse({})

    async def forget(self, request: Request, principal: Principal) -> Response:
        """Delete everything of the one who asks."""
        content = await body(request)
        if content.get("sure") is not True:
            raise InvalidMessageError(
                "Nothing was deleted: the request does not say that it is sure."
            )
        return JSONResponse({"deleted": await self._history().forget(principal)})


def _item(conversation: Conversation) -> dict[str, str]:
    return {
        "id": conversation.conversation_id,
        "title": conversation.title,
        "at": conversation.last_activity_at.isoformat(),
    }


def _account(principal: Principal) -> dict[str, Any]:
    return {"signed_in": principal.kind == "account", "name": principal.name}


def _before(text: str | None) -> tuple[datetime, str] | None:
    try:
        return decode_cursor(text)
    except InvalidCursorError:
        raise InvalidMessageError("The list has no such place.", status=400) from None


def _wants_thinking(request: Request) -> bool:
    return request.query_params.get("thinking") == "1"


def _wants_versions(request: Request) -> bool:
    return request.query_params.get("versions") == "all"


def _file(title: str, ending: str) -> dict[str, str]:
    name = "".join(c if c.isalnum() or c in " -_" else "_" for c in title).strip()[:FILE_CHARS]
    quoted = quote(f"{name or 'conversation'}.{ending}", safe="")
    return {"content-disposition": f"attachment; filename*=UTF-8''{quoted}"}

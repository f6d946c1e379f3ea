"""The page's list of conversations: routes for its script, each for its own principal.

The principal comes from the guard alone. A caller who proves nothing has no history: the list is
empty, and all else is not found.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, cast, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.agent.access import Agents
from cmw_agent.channels.common.downloads import Download
from cmw_agent.chat.titler import Titler
from cmw_agent.conversations.archive_export import MEDIA_TYPE, ArchiveExport
from cmw_agent.conversations.cursors import InvalidCursorError, decode_cursor, encode_cursor
from cmw_agent.conversations.datasets import FORMAT as DATASET
from cmw_agent.conversations.datasets import own_dataset
from cmw_agent.conversations.export import (
    ENDINGS,
    RECEIPTS,
    all_written,
    formats,
    receipts_form,
    written,
)
from cmw_agent.conversations.service import ConversationService, page_size
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.core.http_headers import tab_of
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, wording
from cmw_agent.language.request_language import request_language
from cmw_agent.limits.budgets import Budgets
from cmw_agent.web.api.endpoint import body, guarded, text
from cmw_agent.web.security.visitor_cookie import HEADER
from memory.records import Arrangement, Conversation, Section, StoredMessage, utcnow

FILE_CHARS = 60


class HistoryRoutes:
    """The routes of the list of conversations.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        agents: The agents; the page itself shows those that are for everyone.
        budgets: Bounds the exports that are being read.
        visited: Notes that a principal's page is open.
        titler: Returns what knows whose conversations are about to get titles.
        accounts: Whether visitors may sign in.
        connections: Whether accounts of other services may be connected.
        shares: Whether conversations may be shared by a link.
    """

    def __init__(
        self,
        history: Callable[[], ConversationService],
        agents: Agents,
        budgets: Budgets,
        visited: Callable[[Principal], Awaitable[None]],
        titler: Callable[[], Titler],
        *,
        accounts: bool = False,
        connections: bool = False,
        shares: bool = False,
    ) -> None:
        self._history = history
        self._agents = agents
        self._budgets = budgets
        self._visited = visited
        self._titler = titler
        self._accounts = accounts
        self._connections = connections
        self._shares = shares

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="history")
        return [
            Route("/history", answered(self.listed, nobody=self._empty)),
            Route("/history/search", answered(self.search)),
            Route("/history/export", answered(self.export)),
            Route("/history/everything", answered(self.everything)),
            Route("/history/rename", answered(self.rename), methods=["POST"]),
            Route("/history/arrange", answered(self.arrange), methods=["POST"]),
            Route("/history/delete", answered(self.delete), methods=["POST"]),
            Route("/history/restore", answered(self.restore), methods=["POST"]),
            Route("/history/forget", answered(self.forget), methods=["POST"]),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """The list's first pages, the newest import, who is signed in; or one page of one section.

        Each page brings the cursor of the next one.
        """
        await self._visited(principal)
        history = self._history()
        if request.query_params.keys() & {"section", "before"}:
            section = _section(request.query_params.get("section", "recent"))
            before = _before(request.query_params.get("before"))
            page = await history.section(principal, section, before)
            return JSONResponse(_page(page, page_size(section)))
        recent = await history.section(principal, "recent")
        arranged = await history.section(principal, "arranged")
        # Without a cookie nobody can sign in, nor be signed in.
        offered = self._accounts and HEADER not in request.headers
        return JSONResponse(
            {
                **_page(recent, page_size("recent")),
                "arranged": _page(arranged, page_size("arranged")),
                "naming": self._titler().is_naming(principal.id),
                "importing": history.import_state(principal),
                "account": _account(principal) if offered else None,
                "connections": self._connections and principal.is_stored,
                "shares": self._shares and principal.is_stored,
                "agents": await self._own_agents(principal, request_language(request.scope)),
            }
        )

    @staticmethod
    def _empty(_: Request) -> Response:
        nothing: dict[str, Any] = {
            **_page([], 1),
            "arranged": _page([], 1),
            "naming": False,
            "importing": None,
            "account": None,
            "connections": False,
            "shares": False,
        }
        return JSONResponse({**nothing, "agents": []})

    async def _own_agents(self, principal: Principal, language: Language) -> list[dict[str, str]]:
        """Return what this user may choose from; empty where everybody sees the same."""
        if self._agents.are_alike:
            return []
        profiles = await self._agents.usable_for(principal)
        return [{"id": item.id, "name": language.translate(item.name)} for item in profiles]

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
                        "seq": item.seq,
                        "pinned": item.is_pinned,
                        "archived": item.is_archived,
                        "folder": item.folder,
                    }
                    for item in hits
                ]
            }
        )

    async def export(self, request: Request, principal: Principal) -> Response:
        """One conversation as a file.

        With `thinking=1` the models' thoughts are in it, with `versions=all` all versions. With
        `format=receipts` it is what the models saw for the answers of all versions, with
        `format=dataset` the folder of a dataset.
        """
        ending = request.query_params.get("format", "md")
        if ending not in (*ENDINGS, "zip", RECEIPTS, DATASET):
            raise InvalidMessageError(
                wording("A conversation can be saved as md, json, html or zip.")
            )
        conversation_id = request.query_params.get("id", "")
        history, all_versions = self._history(), _wants_versions(request)
        conversation = await history.conversation(principal, conversation_id)
        if ending == "zip":
            pieces = self._archive(request, principal).one(conversation)
            headers = _file(conversation.title, "zip")
            return self._download(request, principal, pieces, MEDIA_TYPE, headers)
        if ending == DATASET:
            pieces = own_dataset(history, principal, conversation)
            headers = _file(f"{conversation.title} dataset", "zip")
            return self._download(request, principal, pieces, MEDIA_TYPE, headers)
        if ending == RECEIPTS:
            pages = history.messages(principal, conversation_id, all_versions=True)
            pieces = written(receipts_form(), conversation, pages)
            headers = _file(conversation.title, "receipts.jsonl")
            return self._download(request, principal, pieces, receipts_form().media_type, headers)
        language = request_language(request.scope)
        form = formats(
            language, with_thinking=_wants_thinking(request), with_versions=all_versions
        )[ending]
        pages = history.messages(principal, conversation_id, all_versions=all_versions)
        files = history.files_of(principal, conversation_id)
        pieces = written(form, conversation, pages, files)
        headers = _file(conversation.title, ending)
        return self._download(request, principal, pieces, form.media_type, headers)

    async def everything(self, request: Request, principal: Principal) -> Response:
        """All conversations, written as they are read: as one JSON file, or with their files.

        `format=zip` asks for the files, `format=dataset` for the folder of a dataset; the other
        options are as for one conversation.
        """
        history, all_versions = self._history(), _wants_versions(request)
        if request.query_params.get("format") == DATASET:
            dataset = own_dataset(history, principal)
            return self._download(request, principal, dataset, MEDIA_TYPE, _file("dataset", "zip"))
        if request.query_params.get("format") == "zip":
            archive = self._archive(request, principal).everything()
            headers = _file("everything", "zip")
            return self._download(request, principal, archive, MEDIA_TYPE, headers)

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
            lambda conversation: history.files_of(principal, conversation.conversation_id),
            with_thinking=_wants_thinking(request),
            with_versions=all_versions,
        )
        headers = _file("conversations", "json")
        return self._download(request, principal, pieces, "application/json", headers)

    def _archive(self, request: Request, principal: Principal) -> ArchiveExport:
        return ArchiveExport(
            self._history(),
            principal,
            utcnow(),
            with_thinking=_wants_thinking(request),
            with_versions=_wants_versions(request),
        )

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
        outgoing = self._history().files.outgoing(principal, pieces)
        return Download(outgoing, hold, media_type=media_type, headers=headers)

    async def rename(self, request: Request, principal: Principal) -> Response:
        """Another title for a conversation."""
        content = await body(request)
        title = await self._history().rename(
            principal, text(content, "id"), text(content, "title"), tab=tab_of(request.headers)
        )
        return JSONResponse({"title": title})

    async def arrange(self, request: Request, principal: Principal) -> Response:
        """Pin, archive or file a conversation, or take that back."""
        content = await body(request)
        change = Arrangement(_flag(content, "pinned"), _flag(content, "archived"), _folder(content))
        stored = await self._history().arrange(
            principal, text(content, "id"), change, tab=tab_of(request.headers)
        )
        return JSONResponse(_item(stored))

    async def delete(self, request: Request, principal: Principal) -> Response:
        """Put a conversation out of sight."""
        conversation_id = text(await body(request), "id")
        await self._history().delete(principal, conversation_id, tab=tab_of(request.headers))
        return JSONResponse({})

    async def restore(self, request: Request, principal: Principal) -> Response:
        """Take a deletion back."""
        conversation_id = text(await body(request), "id")
        await self._history().restore(principal, conversation_id, tab=tab_of(request.headers))
        return JSONResponse({})

    async def forget(self, request: Request, principal: Principal) -> Response:
        """Delete everything of the one who asks."""
        content = await body(request)
        if content.get("sure") is not True:
            raise InvalidMessageError(
                wording("Nothing was deleted: the request does not say that it is sure.")
            )
        deleted, receipt = await self._history().erase(principal, tab=tab_of(request.headers))
        return JSONResponse({"deleted": deleted, "receipt": receipt})


def _page(conversations: list[Conversation], size: int) -> dict[str, Any]:
    full = len(conversations) == size
    return {
        "conversations": [_item(conversation) for conversation in conversations],
        "next": encode_cursor(conversations[-1].position) if full else None,
    }


def _section(name: str) -> Section:
    if name not in get_args(Section):
        raise InvalidMessageError(wording("The list has no such section."), status=400)
    return cast("Section", name)


def _flag(content: Mapping[str, Any], name: str) -> bool | None:
    value = content.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidMessageError(wording("“{name}” must be true or false.", name=name), status=400)
    return value


def _folder(content: dict[str, Any]) -> str | None:
    return text(content, "folder") if content.get("folder") is not None else None


def _item(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.conversation_id,
        "title": conversation.title,
        "at": conversation.last_activity_at.isoformat(),
        "pinned": conversation.is_pinned,
        "archived": conversation.is_archived,
        "folder": conversation.folder,
    }


def _account(principal: Principal) -> dict[str, Any]:
    return {"signed_in": principal.kind == "account", "name": principal.name}


def _before(text: str | None) -> tuple[datetime, str] | None:
    try:
        return decode_cursor(text)
    except InvalidCursorError:
        raise InvalidMessageError(wording("The list has no such place."), status=400) from None


def _wants_thinking(request: Request) -> bool:
    return request.query_params.get("thinking") == "1"


def _wants_versions(request: Request) -> bool:
    return request.query_params.get("versions") == "all"


def _file(title: str, ending: str) -> dict[str, str]:
    name = "".join(c if c.isalnum() or c in " -_" else "_" for c in title).strip()[:FILE_CHARS]
    quoted = quote(f"{name or 'conversation'}.{ending}", safe="")
    return {"content-disposition": f"attachment; filename*=UTF-8''{quoted}"}

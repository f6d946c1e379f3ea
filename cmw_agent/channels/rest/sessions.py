"""REST: a key's sessions at an agent: list, history, end, delete, export, approvals."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import Keys, keyed, must_be_secret
from cmw_agent.channels.common.downloads import Download, file_response
from cmw_agent.channels.rest.dependencies import (
    METADATA,
    ApiKeyHolder,
    ConversationLookup,
    counted_at,
    session_of,
)
from cmw_agent.channels.rest.messages import CHAT, PROBLEMS, files_url, problem_of
from cmw_agent.channels.rest.models import (
    ApprovalAnswerRequest,
    FileItem,
    Include,
    MessageResponse,
    NewSession,
    PendingApprovalList,
    PendingApprovalResponse,
    PictureItem,
    SessionChange,
    SessionCreated,
    SessionHistory,
    SessionItem,
    SessionList,
    SourceItem,
    ToolResponse,
)
from cmw_agent.conversations.archive_export import MEDIA_TYPE, ArchiveExport
from cmw_agent.conversations.cursors import decode_cursor, encode_cursor
from cmw_agent.conversations.datasets import FORMAT as DATASET
from cmw_agent.conversations.datasets import own_dataset
from cmw_agent.conversations.export import RECEIPTS, formats, receipts_form, written
from cmw_agent.conversations.service import Versions
from cmw_agent.core.finish_reasons import known_reason, sentence_for
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.files.notes import sentence_of
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language
from cmw_agent.language.request_language import request_language
from cmw_agent.tools.approvals import seconds_left
from memory.records import (
    Arrangement,
    Conversation,
    StoredFile,
    StoredMessage,
    new_conversation_id,
    utcnow,
)

MAX_SEQ = 2**31 - 1
Before = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Older = Annotated[int | None, Query(ge=1, le=MAX_SEQ, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]
Included = Annotated[
    Sequence[Include],
    Query(max_length=8, description="What is given beside the texts: the model's `thinking`."),
]
Wanted = Annotated[
    str | None,
    Query(max_length=64, description="An earlier conversation of this session; else the newest."),
]


Shown = Annotated[
    Literal["shown", "all"],
    Query(description="`all` for every version of each message, in the order of their seqs."),
]


class RestSessions:
    """The routes of sessions.

    Args:
        lookup: Finds conversations.
    """

    def __init__(self, lookup: ConversationLookup) -> None:
        self._lookup = lookup
        self._services = lookup.services
        self._callers = lookup.callers

    def router(self, keys: Keys) -> APIRouter:
        """Return the routes of sessions, open to holders of `keys`."""
        changing, reading = (keyed(keys, problem_of, scope) for scope in ("agents", "read"))
        router = APIRouter(route_class=changing, responses=PROBLEMS, tags=["sessions"])
        one = f"{CHAT}/sessions/{{session_id}}"
        add, read = (
            router.add_api_route,
            partial(router.add_api_route, route_class_override=reading),
        )
        read(f"{CHAT}/sessions", self.listed, methods=["GET"], response_model=SessionList)
        add(
            f"{CHAT}/sessions",
            self.begin,
            methods=["POST"],
            response_model=SessionCreated,
            status_code=201,
        )
        read(one, self.history, methods=["GET"], response_model=SessionHistory)
        add(one, self.change, methods=["PATCH"], response_model=SessionItem)
        add(one, self.delete, methods=["DELETE"], status_code=204, response_class=Response)
        add(f"{one}/end", self.end, methods=["POST"], status_code=204, response_class=Response)
        read(f"{one}/files/{{file_id}}", self.file, methods=["GET"], response_class=FileResponse)
        read(f"{one}/export", self.export, methods=["GET"], response_class=Response)
        add(f"{one}/approvals", self.waiting, methods=["GET"], response_model=PendingApprovalList)
        add(
            f"{one}/approvals",
            self.settle,
            methods=["POST"],
            status_code=204,
            response_class=Response,
        )
        return router

    async def listed(
        self, agent_id: str, holder: ApiKeyHolder, limit: Limit = 30, before: Before = None
    ) -> SessionList:
        """List the conversations of this key's sessions at an agent, newest activity first.

        Not with a key that pages of websites may use: whoever reads such a page has it.
        """
        must_be_secret(holder)
        self._callers.profile(agent_id, by_key(holder))
        tenant = Principal(channel_principals.tenant(holder.name), "client")
        with mapped_store_errors():
            memory = self._services.memory_of(tenant)
            conversations = await memory.clients(
                tenant.id, agent_id, limit=limit, before=decode_cursor(before)
            )
        next_cursor = (
            encode_cursor(conversations[-1].position) if len(conversations) == limit else None
        )
        return SessionList(sessions=[_item(c) for c in conversations], next=next_cursor)

    async def begin(self, agent_id: str, holder: ApiKeyHolder, body: NewSession) -> SessionCreated:
        """Get an id for a session. Nothing is stored before its first message."""
        self._callers.profile(agent_id, by_key(holder))
        return SessionCreated(
            session_id=body.session_id or new_conversation_id(), agent_id=agent_id
        )

    async def history(
        self,
        agent_id: str,
        session_id: str,
        holder: ApiKeyHolder,
        request: Request,
        limit: Limit = 50,
        before: Older = None,
        conversation: Wanted = None,
        include: Included = (),
        versions: Shown = "shown",
    ) -> SessionHistory:
        """Read a session's conversation: its newest messages, oldest of them first."""
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        stored = await self._lookup.conversation(principal, conversation)
        await self._services.chat.stored(principal.id, stored.conversation_id)
        with mapped_store_errors():
            memory = self._services.memory_of(principal)
            messages = await memory.messages(
                principal.id,
                stored.conversation_id,
                limit=limit,
                before_seq=before,
                all_versions=versions == "all",
            )
        seqs: Versions = {}
        if versions == "shown":
            history = self._services.history
            seqs = await history.versions(principal, stored.conversation_id, messages)
        older = messages[0].seq if len(messages) == limit else None
        questions = [message.seq for message in messages if message.role == "user"]
        brought = await self._services.files.of_messages(
            principal, stored.conversation_id, questions
        )
        url, with_thinking = files_url(request, agent_id, session_id), "thinking" in include
        language = request_language(request.scope)
        shown_messages = [
            _message_response(
                message,
                seqs,
                [_file_item(file, url, language) for file in brought if file.seq == message.seq],
                url,
                language,
                with_thinking=with_thinking,
            )
            for message in messages
        ]
        return SessionHistory(**_item(stored).model_dump(), messages=shown_messages, next=older)

    async def change(
        self,
        agent_id: str,
        session_id: str,
        holder: ApiKeyHolder,
        body: SessionChange,
        conversation: Wanted = None,
    ) -> SessionItem:
        """Rename, pin, archive or file a session's conversation, or take that back."""
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        stored = await self._lookup.conversation(principal, conversation)
        history = self._services.history
        if body.title is not None:
            await history.rename(principal, stored.conversation_id, sanitize_json(body.title))
        folder = sanitize_json(body.folder)
        change = Arrangement(body.pinned, body.archived, folder)
        return _item(await history.arrange(principal, stored.conversation_id, change))

    async def delete(self, agent_id: str, session_id: str, holder: ApiKeyHolder) -> Response:
        """Delete everything of a session for good. What is not there counts as deleted."""
        self._callers.profile(agent_id, by_key(holder))
        if channel_principals.EXTERNAL_ID.fullmatch(session_id):
            await self._services.history.forget(session_of(holder, agent_id, session_id))
        return Response(status_code=204)

    async def end(self, agent_id: str, session_id: str, holder: ApiKeyHolder) -> Response:
        """End a session's conversation: it can be read, and the next message begins another.

        An answer that is being written in it is stopped, and calls that wait there are denied.
        """
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        await self._lookup.conversation(principal)
        await self._callers.begin_anew(principal)
        return Response(status_code=204)

    async def export(
        self,
        agent_id: str,
        session_id: str,
        holder: ApiKeyHolder,
        request: Request,
        format: Literal["md", "json", "html", "zip", "receipts", "dataset"] = "md",  # noqa: A002 (the query's name)
        conversation: Wanted = None,
        include: Included = (),
        versions: Shown = "shown",
    ) -> Response:
        """Save a session's conversation as a file; a ZIP archive holds its files, too.

        As receipts it is, by ids and hashes, what the model saw for each answer; as a dataset
        the folder, in a ZIP archive, which the library `datasets` loads.
        """
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        wanted = await self._lookup.conversation(principal, conversation)
        with_thinking, with_versions = "thinking" in include, versions == "all"
        history = self._services.history
        stored = await history.conversation(principal, wanted.conversation_id)
        ending = "dataset.zip" if format == DATASET else format
        headers = {
            "Content-Disposition": f'attachment; filename="conversation.{ending}"',
            "X-Content-Type-Options": "nosniff",
        }
        hold = self._services.budgets.take("exports", principal.id, counted_at(holder, request))
        if format == "zip":
            archive = ArchiveExport(
                history,
                principal,
                utcnow(),
                with_thinking=with_thinking,
                with_versions=with_versions,
            )
            return Download(archive.one(stored), hold, media_type=MEDIA_TYPE, headers=headers)
        if format == DATASET:
            dataset = own_dataset(history, principal, stored)
            return Download(dataset, hold, media_type=MEDIA_TYPE, headers=headers)
        if format == RECEIPTS:
            form, with_versions = receipts_form(), True
        else:
            form = formats(
                request_language(request.scope),
                with_thinking=with_thinking,
                with_versions=with_versions,
            )[format]
        pages = history.messages(principal, stored.conversation_id, all_versions=with_versions)
        files = history.files_of(principal, stored.conversation_id)
        pieces = history.files.outgoing(principal, written(form, stored, pages, files))
        return Download(pieces, hold, media_type=form.media_type, headers=headers)

    async def file(
        self, agent_id: str, session_id: str, file_id: str, holder: ApiKeyHolder
    ) -> Response:
        """Get a file of a session, such as a picture of an answer."""
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        return file_response(*await self._services.files.open(principal, file_id))

    async def waiting(
        self, agent_id: str, session_id: str, holder: ApiKeyHolder
    ) -> PendingApprovalList:
        """List the tool calls that wait for the user's decision in a streamed answer."""
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        stored = await self._lookup.conversation(principal)
        now = time.time()
        pending = await self._services.approval_service.pending(principal, stored.conversation_id)
        return PendingApprovalList(
            waiting=[
                PendingApprovalResponse(
                    call=approval.approval_id,
                    name=sanitize_json(approval.name),
                    account=approval.account,
                    arguments=sanitize_json(dict(approval.arguments)),
                    seconds=seconds_left(approval, now),
                )
                for approval in pending
            ]
        )

    async def settle(
        self, agent_id: str, session_id: str, holder: ApiKeyHolder, body: ApprovalAnswerRequest
    ) -> Response:
        """Approve or deny a call that waits."""
        self._callers.profile(agent_id, by_key(holder))
        principal = session_of(holder, agent_id, session_id)
        stored = await self._lookup.conversation(principal)
        await self._services.approval_service.answer(
            principal,
            stored.conversation_id,
            body.call,
            body.answer,
            sanitize_json(body.arguments),
            always=body.always,
        )
        return Response(status_code=204)


def _item(conversation: Conversation) -> SessionItem:
    metadata = (conversation.context_data or {}).get(METADATA)
    return SessionItem(
        session_id=conversation.external_id or "",
        conversation_id=conversation.conversation_id,
        agent_id=conversation.agent_id,
        title=conversation.title,
        status=conversation.status,
        message_count=conversation.message_count,
        metadata=metadata if isinstance(metadata, dict) else {},
        started_at=conversation.started_at.isoformat(),
        last_activity_at=conversation.last_activity_at.isoformat(),
        pinned=conversation.is_pinned,
        archived=conversation.is_archived,
        folder=conversation.folder,
    )


def _file_item(file: StoredFile, files: str, language: Language) -> FileItem:
    note = sentence_of(file.notes)
    return FileItem(
        id=file.file_id,
        name=file.name,
        media_type=file.media_type,
        size=file.size_bytes,
        url=f"{files}/{file.file_id}",
        note=language.translate(note) if note else None,
    )


def _message_response(
    message: StoredMessage,
    versions: Versions,
    brought: list[FileItem],
    files: str,
    language: Language,
    *,
    with_thinking: bool,
) -> MessageResponse:
    """Return a stored message; its files are below the address `files`."""
    details = message.details
    notice = sentence_for(message.finish_reason, details.note)
    return MessageResponse(
        seq=message.seq,
        role=message.role,
        content=message.content,
        status=message.status,
        created_at=message.created_at.isoformat(),
        model=message.model_used,
        tokens=message.tokens_used,
        tools=[
            ToolResponse(name=call.name, arguments=call.arguments, result=call.result, ok=call.ok)
            for call in message.tool_calls
        ],
        finish_reason=known_reason(message.finish_reason),
        notice=language.translate(notice) if notice else None,
        sources=[SourceItem(url=source.url, title=source.title) for source in details.sources],
        pictures=[
            PictureItem(id=item.file_id, name=item.name, url=f"{files}/{item.file_id}")
            for item in details.pictures
        ],
        files=brought,
        thinking=message.thinking if with_thinking else None,
        thinking_seconds=details.thinking_ms / 1000 if details.thinking_ms else None,
        rating=message.feedback,
        rating_reason=message.feedback_reason,
        rating_comment=message.feedback_comment,
        parent=message.parent_seq or None,
        versions=list(versions.get(message.seq, ())),
        shown=not message.superseded,
    )

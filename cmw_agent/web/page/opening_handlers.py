"""Handlers that open a conversation on the page, switch to another one or begin a new one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import gradio as gr

from cmw_agent.chat.model_choice import EFFORT, MODEL
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.language import wording
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page import rendering
from cmw_agent.web.page.base_handlers import BaseHandlers
from cmw_agent.web.page.drawn_message import marked
from cmw_agent.web.page.page_request import message_seq
from cmw_agent.web.page.page_view import RUNNING, Shown, load_view, load_view_from
from cmw_agent.web.page.temporary import temporary_chat
from cmw_agent.web.page.turn_view import stored_updates

Opened = tuple[Any, str, Any, Any]  # messages, `PageView.shown_id`, model, effort
Switched = tuple[Any, Any, Any, Any, str]  # the same, and the seq of the message to show, or none

MAX_SHOWN = 400  # messages that a page shows, however often it asks for earlier ones
TOO_FAR_NOTE = wording(
    "The message that was found is further back than a page can show; a saved file of the chat has it."
)
NOT_FOUND_NOTE = wording("This conversation was not found. Here is a new one.")


class OpeningHandlers(BaseHandlers):
    """Opens conversations; joins the answer that is being written in one."""

    async def open_page(self, request: gr.Request) -> AsyncGenerator[Notice | Opened, None]:
        """Open the page: show the conversation that its address names, or a new one.

        Yields the messages, the conversation's id, its model and its effort. `RUNNING` after the id
        says that an answer is being written: the page's script then sends `join`.
        """
        session = await self._session(request)
        named_id, agent = request.query_params.get("c"), request.query_params.get("agent")
        session.conversation_id = session.view = None
        if (notice := await self._select_agent(session, agent)) is not None:
            yield notice
        context: Mapping[str, Any] = {}
        running_seq: int | None = None
        if isinstance(named_id, str) and named_id:
            await self._runtime.chat.stored(session.owner, named_id)
            running_seq = await self._runtime.chat.answering(session, named_id)
            conversation = await self._adopt(session, named_id)
            if conversation is None:
                yield Notice(NOT_FOUND_NOTE, "Not found")
            else:
                context = conversation.context_data or {}
        page = await self._page(session)
        model = await self._runtime.model(session, context.get(MODEL))
        if running_seq is not None and page.conversation_id == named_id:
            shown = [
                *page.above(running_seq).messages,
                marked(rendering.waiting(), seq=running_seq),
            ]
            yield shown, page.shown_id + RUNNING, model, context.get(EFFORT)
        else:
            yield page.messages, page.shown_id, model, context.get(EFFORT)

    async def join(self, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Stream the answer that is being written in the page's conversation, if one is.

        A page reads it once: joining again ends the event that has joined before.
        """
        session = await self._session(request, adopt=True)
        former, session.joining = session.joining, asyncio.current_task()
        if former is not None:
            former.cancel()
        try:
            async with contextlib.aclosing(self._joined(session)) as values:
                async for shown in values:
                    yield shown
        finally:
            if session.joining is asyncio.current_task():
                session.joining = None

    async def _joined(self, session: LiveSession) -> AsyncGenerator[Shown, None]:
        if temporary_chat(session) is not None:
            yield await self._present(session)
            return
        conversation, turn = session.conversation_id, self._runtime.chat.join(session)
        if turn is None:
            async with contextlib.aclosing(self._stored_parts(session)) as values:
                async for shown in values:
                    yield shown
            return
        async with turn:
            if session.conversation_id != conversation:  # the page has switched to another one
                yield await self._present(session)
                return
            page = await self._page(session)
            async with contextlib.aclosing(self._stream(session, page, turn)) as values:
                async for shown in values:
                    yield shown

    async def _stored_parts(self, session: LiveSession) -> AsyncGenerator[Shown, None]:
        """Yield the page while another process writes its answer, and once more when that has ended."""
        session.view = None
        page = await self._page(session)
        seq = await self._runtime.chat.answering(session, page.conversation_id)
        if seq is not None:
            running = stored_updates(session, page.above(seq), seq)
            async with contextlib.aclosing(running) as updates:
                async for messages in updates:
                    if session.conversation_id != page.conversation_id:
                        break
                    yield messages, UNCHANGED
        if session.conversation_id == page.conversation_id:
            session.view = None
        yield await self._present(session)

    async def reopen_page(self, request: gr.Request) -> AsyncGenerator[Notice | Shown, None]:
        """Show the conversation again after the page's connection was lost, as `open_page` does.

        The model that the user has chosen stays. A temporary chat has no id.
        """
        if temporary_chat(session := await self._session(request)) is not None:
            yield await self._present(session)
            return
        async with contextlib.aclosing(self.open_page(request)) as values:
            async for value in values:
                yield value if isinstance(value, Notice) else value[:2]

    async def switch_page(self, request: gr.Request) -> AsyncGenerator[Notice | Switched, None]:
        """Open the conversation that the page's address names now, or a new one, without a reload.

        Yields what `open_page` does, and the seq of the message at the address's `at`, if any.
        """
        session = await self._session(request)
        await self._leave(session)
        mark = ""
        try:
            async with contextlib.aclosing(self.open_page(request)) as values:
                async for opened in values:
                    if isinstance(opened, Notice):
                        yield opened
                    else:
                        mark = RUNNING if opened[1].endswith(RUNNING) else ""
                        yield (*opened, "")
            if (seq := message_seq(request.query_params.get("at"))) is not None:
                for switched in await self._show_hit(session, seq, mark):
                    yield switched
        except UserError:
            yield [], UNCHANGED, UNCHANGED, UNCHANGED, ""  # the page has left what it showed
            raise

    async def _show_hit(self, session: LiveSession, seq: int, mark: str) -> list[Notice | Switched]:
        page = await self._page(session)
        if seq in page.seqs:
            return [(UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, str(seq))]
        if not page.has_earlier:
            return []
        found = await load_view_from(session, page.conversation_id, seq, MAX_SHOWN)
        if found is None:
            return [Notice(TOO_FAR_NOTE, "Not shown")]
        if session.conversation_id != page.conversation_id:
            return []
        session.view = found
        at = str(seq) if seq in found.seqs else ""
        return [(found.messages, found.shown_id + mark, UNCHANGED, UNCHANGED, at)]

    async def earlier(self, request: gr.Request) -> Shown:
        """Show further messages from the beginning of the conversation."""
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            return await self._present(session)
        page = await self._page(session)
        if session.readers or not page.has_earlier:
            return page.messages, page.shown_id
        limit = min(len(set(page.seqs)) + rendering.PAGE_MESSAGES, MAX_SHOWN)
        page = await load_view(session, page.conversation_id, limit)
        if session.conversation_id == page.conversation_id:
            session.view = page
        return page.messages, page.shown_id

    async def new_chat(self, request: gr.Request) -> Shown:
        """Begin a new conversation; a running answer goes on in the one that the page leaves."""
        session = await self._session(request)
        await self._begin_new(session)
        return await self._present(session)

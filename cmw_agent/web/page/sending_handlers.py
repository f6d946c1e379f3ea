"""Handlers that send a message."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial

import gradio as gr

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.core.events import TextDelta, TextWasThinking, TurnFinished
from cmw_agent.identity.principals import first_conversation
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page import receipts, rendering
from cmw_agent.web.page.base_handlers import begin_later, notice_of
from cmw_agent.web.page.page_request import (
    file_ids,
    idempotency_key,
    model_choice,
    model_key,
    request_id,
)
from cmw_agent.web.page.page_view import PageView
from cmw_agent.web.page.temporary import NO_FILES, temporary_chat
from cmw_agent.web.page.temporary_handlers import Sent, TemporaryHandlers
from memory.errors import StoreError
from memory.records import StoredFile

# Drawn messages above a new question: each update of an answer sends and compares all of them.
MAX_ABOVE = rendering.PAGE_MESSAGES + 10


class SendingHandlers(TemporaryHandlers):
    """Answers messages of the page and of programs."""

    async def send(
        self, text: str, key: str, files: str, model: object, request: gr.Request
    ) -> AsyncGenerator[Notice | Sent, None]:
        """Store the message, then stream the conversation with the growing answer.

        A receipt goes with each update. A message with a key that cannot be stored now is
        postponed: the page sends it again.
        """
        session = await self._session(request, adopt=True)
        if (reply := await self._control(session, text, begin_later)) is not None:
            yield notice_of(reply, session.language)
            await self._begin_new(session)
            yield *(await self._present(session)), receipts.stored(key, receipts.NO_CONVERSATION)
            return
        try:
            async with contextlib.aclosing(
                self._sent(session, text, key, files, model, request)
            ) as values:
                async for value in values:
                    yield value
        except UserError as error:
            if not key or not receipts.may_succeed_later(error):
                raise
            yield UNCHANGED, UNCHANGED, receipts.postponed(key, error, session.language)

    def _sent(
        self,
        session: LiveSession,
        text: str,
        key: str,
        files: str,
        model: object,
        request: gr.Request,
    ) -> AsyncGenerator[Sent, None]:
        if (chat := temporary_chat(session, key)) is None:
            return self._send(session, text, key, file_ids(files), model, request)
        if file_ids(files):
            raise InvalidMessageError(NO_FILES)
        visitor_key = model_key(request, self._runtime.settings)
        return self._send_temporary(session, chat, text, key, model, visitor_key)

    async def _send(
        self,
        session: LiveSession,
        text: str,
        key: str,
        files: Sequence[str],
        model: object,
        request: gr.Request,
    ) -> AsyncGenerator[Sent, None]:
        name = idempotency_key(key)
        is_named = name == key  # by the page; a program that names nothing repeats nothing
        page = await (self._page_of(session, name) if is_named else self._page(session))
        chosen, effort = model_choice(model)
        turn = self._runtime.chat.turn(
            session,
            text,
            key=name,
            files=files,
            model=chosen,
            effort=effort,
            visitor_key=model_key(request, self._runtime.settings),
            outlives_readers=True,
            request_id=request_id(request),
        )
        above = page.messages
        if len(above) > MAX_ABOVE:
            above = above[-rendering.PAGE_MESSAGES :]
        attached = await self._attached(session, files)
        question = rendering.question(turn.text, attached, session.language)
        receipt, shown_id = receipts.stored(name, page.conversation_id), page.shown_id
        async with contextlib.aclosing(
            self._stream(session, page, turn, above, question)
        ) as values:
            async for messages, ended_id in values:
                shown_id = shown_id if ended_id is UNCHANGED else ended_id
                yield messages, shown_id, receipt if await turn.begun() else UNCHANGED

    async def _page_of(self, session: LiveSession, key: str) -> PageView:
        """Return the view that a message is sent from; a new conversation is named by its key.

        So the same message, sent again from a page that does not know whether it was stored, meets
        its own conversation.
        """
        page = await self._page(session)
        if page.is_new and not session.readers:
            session.conversation_id = first_conversation(session.principal, key)
            page = session.view = PageView(session.conversation_id, [], is_new=True)
        return page

    async def _attached(self, session: LiveSession, ids: Sequence[str]) -> list[StoredFile]:
        try:
            return [await session.memory.file(session.owner, file_id) for file_id in ids]
        except StoreError:
            return []  # the turn reports the missing files

    async def chat(self, message: str, request: gr.Request) -> AsyncIterator[str]:
        """Answer a message on the caller's own session, for programs.

        Yields the answer as it grows; the last value is the whole answer.
        """
        # Gradio serves this docstring as the description of `/chat`.
        session = await self._session(request, adopt=True)
        begin_new = partial(self._begin_new, session)
        if (reply := await self._control(session, message, begin_new)) is not None:
            yield session.language.translate(reply.text)
            return
        await self._page(session)
        session.view = None
        text = ""
        async with self._runtime.chat.turn(
            session,
            message,
            key=idempotency_key(""),
            visitor_key=model_key(request, self._runtime.settings),
            request_id=request_id(request),
        ) as turn:
            async for event in turn:
                if isinstance(event, TextDelta):
                    text += event.text
                    yield text
                elif isinstance(event, TextWasThinking):
                    text = text[: max(len(text) - event.length, 0)]
                    yield text
                elif isinstance(event, TurnFinished) and event.sentence:
                    if event.finish_reason is not None:
                        yield f"{text}\n\n{session.language.translate(event.sentence)}"
                        return
                    raise UserError(event.sentence, error_id=event.error_id)

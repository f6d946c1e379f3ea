"""Handlers that answer a message once more, and show its versions."""

import contextlib
from collections.abc import AsyncGenerator

import gradio as gr

from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.language import wording
from cmw_agent.web.gradio_transport.protocol import Notice
from cmw_agent.web.page import rendering
from cmw_agent.web.page.base_handlers import begin_later, notice_of
from cmw_agent.web.page.drawn_message import seq_of
from cmw_agent.web.page.page_request import idempotency_key, message_seq, model_key, request_id
from cmw_agent.web.page.page_view import Shown, load_view
from cmw_agent.web.page.temporary import NO_VERSIONS, temporary_chat
from cmw_agent.web.page.temporary_handlers import TemporaryHandlers

NOT_FOUND = wording("This message was not found; please reload the page.")
NOT_EDITABLE = wording(
    "Only your own messages can be edited, and in a temporary chat only the last of them."
)


class VersionHandlers(TemporaryHandlers):
    """Regenerates answers."""

    async def retry(self, seq: object, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Answer the question at a sequence number, or else the last one, once more."""
        async with contextlib.aclosing(self._regenerate(request, seq, None)) as values:
            async for shown in values:
                yield shown

    async def edit(
        self, seq: object, text: object, request: gr.Request
    ) -> AsyncGenerator[Notice | Shown, None]:
        """Answer the edited text of a message, beside which the former one stays as a version."""
        session = await self._session(request, adopt=True)
        edited = message_seq(seq)
        if edited is None or not isinstance(text, str):
            raise InvalidMessageError(NOT_EDITABLE)
        if (chat := temporary_chat(session)) is not None:
            is_question = chat.is_last(edited)
        else:
            is_question = (await self._page(session)).question(edited) is not None
        if not is_question:
            raise InvalidMessageError(NOT_EDITABLE)
        if (reply := await self._control(session, text, begin_later)) is not None:
            yield notice_of(reply, session.language)
            await self._begin_new(session)
            yield await self._present(session)
            return
        async with contextlib.aclosing(self._regenerate(request, seq, text)) as values:
            async for shown in values:
                yield shown

    async def redraw(self, request: gr.Request) -> Shown:
        """Draw the page anew: another version of its conversation is shown."""
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            return await self._present(session)
        page = await self._page(session)
        if not session.readers:
            page = session.view = await load_view(session, page.conversation_id)
        return page.messages, page.shown_id

    async def _regenerate(
        self, request: gr.Request, seq: object, text: str | None
    ) -> AsyncGenerator[Shown, None]:
        """Answer a question again, with `text` in its place where it was edited.

        Args:
            request: The page's request.
            seq: The question's seq as text; empty or None for the last question.
            text: The edited text.
        """
        session = await self._session(request, adopt=True)
        wanted = message_seq(seq)
        if seq and wanted is None:
            raise NotFoundError(NOT_FOUND)
        if (chat := temporary_chat(session)) is not None:
            if not chat.is_last(wanted):
                raise NotFoundError(NO_VERSIONS)
            visitor_key = model_key(request, self._runtime.settings)
            answering = self._temporary.answer_again(session, chat, text, visitor_key)
            async with contextlib.aclosing(self._shown(session, chat, answering)) as values:
                async for shown in values:
                    yield shown
            return
        page = await self._page(session)
        question_parts = page.question(wanted)
        if question_parts is None:
            raise NotFoundError(NOT_FOUND if seq else "There is nothing to answer once more yet.")
        question = page.messages[question_parts]
        turn = self._runtime.chat.regenerate(
            session,
            key=idempotency_key(""),
            text=text,
            seq=seq_of(question[-1]),
            expected_seq=page.question_seq,
            visitor_key=model_key(request, self._runtime.settings),
            outlives_readers=True,
            request_id=request_id(request),
        )
        if text is not None:
            question = rendering.edited(question, turn.text)
        above = page.messages[: question_parts.start]
        async with contextlib.aclosing(
            self._stream(session, page, turn, above, question)
        ) as values:
            async for shown in values:
                yield shown

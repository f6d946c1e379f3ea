"""Handlers that answer a message once more, and show its versions."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr

from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page import rendering
from cmw_agent.web.page.base_handlers import begin_later, notice_of
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.page.page_request import idempotency_key, message_index, request_id
from cmw_agent.web.page.page_view import Shown, load_view
from cmw_agent.web.page.temporary import NO_VERSIONS, temporary_chat
from cmw_agent.web.page.temporary_handlers import TemporaryHandlers

NOT_EDITABLE = (
    "Only your own messages can be edited, and in a temporary chat only the last of them."
)


class VersionHandlers(TemporaryHandlers):
    """Regenerates answers."""

    async def retry(self, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Answer the last message once more."""
        async with contextlib.aclosing(self._regenerate(request, None, None)) as values:
            async for shown in values:
                yield shown

    async def again(self, seq: object, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Answer the question at a sequence number once more."""
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            raise NotFoundError(NO_VERSIONS)
        page = await self._page(session)
        seqs = [str(each) for each in page.seqs]
        questions = [i for i, each in enumerate(seqs) if each == seq and page.question_at(i)]
        if not questions:
            raise NotFoundError("This message was not found; please reload the page.")
        async with contextlib.aclosing(self._regenerate(request, None, questions[-1])) as values:
            async for shown in values:
                yield shown

    async def edit(
        self, request: gr.Request, change: gr.EditData
    ) -> AsyncGenerator[Notice | Shown, None]:
        """Answer the edited text of a message, beside which the former one stays as a version."""
        session = await self._session(request, adopt=True)
        page = temporary_chat(session) or await self._page(session)
        index = message_index(change)
        value: Any = change.value
        try:
            if page.question_at(index) is None or not isinstance(value, str):
                raise InvalidMessageError(NOT_EDITABLE)
            if (reply := await self._control(session, value, begin_later)) is not None:
                yield notice_of(reply)
                await self._begin_new(session)
                yield await self._present(session)
                return
            async with contextlib.aclosing(self._regenerate(request, value, index)) as values:
                async for shown in values:
                    yield shown
        except UserError:
            yield list(page.messages), UNCHANGED  # the browser has drawn its edit already
            raise

    async def redraw(self, request: gr.Request) -> Shown:
        """Draw the page anew: another version of its conversation is shown."""
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            return await self._present(session)
        page = await self._page(session)
        if not session.readers:
            page = session.view = await load_view(session, page.conversation_id)
        return rendering.with_ratings(page.messages, page.feedback), page.shown_id

    async def _regenerate(
        self, request: gr.Request, text: str | None, index: int | None
    ) -> AsyncGenerator[Shown, None]:
        """Answer a message again, with `text` in its place where it was edited.

        Args:
            request: The page's request.
            text: The edited text.
            index: Of the drawn message; None for the last question.
        """
        session = await self._session(request, adopt=True)
        if (chat := temporary_chat(session)) is not None:
            answering = self._temporary.answer_again(session, chat, text)
            async with contextlib.aclosing(self._shown(session, chat, answering)) as values:
                async for shown in values:
                    yield shown
            return
        page = await self._page(session)
        if index is None:
            index = _last_question(page.messages)
        if index is None:
            raise NotFoundError("There is nothing to answer once more yet.")
        turn = self._runtime.chat.regenerate(
            session,
            key=idempotency_key(""),
            text=text,
            seq=page.question_at(index),
            expected_seq=page.question_seq,
            outlives_readers=True,
            request_id=request_id(request),
        )
        above = page.messages[:index]
        question = [page.messages[index] if text is None else message("user", turn.text)]
        async with contextlib.aclosing(
            self._stream(session, page, turn, above, question)
        ) as values:
            async for shown in values:
                yield shown


def _last_question(messages: list[DrawnMessage]) -> int | None:
    """Return the index of the user's last message."""
    indexes = [i for i, item in enumerate(messages) if item["role"] == "user"]
    return indexes[-1] if indexes else None

"""Handlers of temporary chats."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr
from pydantic import SecretStr

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.web.page import receipts
from cmw_agent.web.page.base_handlers import BaseHandlers
from cmw_agent.web.page.drawn_message import DrawnMessage
from cmw_agent.web.page.page_request import model_choice
from cmw_agent.web.page.page_view import Shown
from cmw_agent.web.page.temporary import TemporaryAnswers, TemporaryChat

Sent = tuple[Any, Any, Any]  # messages, `PageView.shown_id`, receipt


class TemporaryHandlers(BaseHandlers):
    """Begins temporary chats and answers their messages."""

    @property
    def _temporary(self) -> TemporaryAnswers:
        return TemporaryAnswers(self._runtime.chat, self._runtime.settings.history_tokens)

    async def new_temporary(self, request: gr.Request) -> Shown:
        """Begin a temporary chat; it has no id, and is in the session alone."""
        session = await self._session(request)
        await self._begin_new(session)
        session.conversation_id, session.view = None, TemporaryChat()
        return [], ""

    async def _send_temporary(
        self,
        session: LiveSession,
        chat: TemporaryChat,
        text: str,
        key: str,
        model: object,
        visitor_key: SecretStr | None,
    ) -> AsyncGenerator[Sent, None]:
        answering = self._temporary.answer(session, chat, text, model_choice(model), visitor_key)
        receipt = receipts.stored(key, receipts.NO_CONVERSATION)
        async with contextlib.aclosing(self._shown(session, chat, answering)) as values:
            async for messages, shown_id in values:
                yield messages, shown_id, receipt

    async def _shown(
        self,
        session: LiveSession,
        chat: TemporaryChat,
        answering: AsyncGenerator[list[DrawnMessage]],
    ) -> AsyncGenerator[Shown, None]:
        """Yield the page while an answer of a temporary chat is written, as long as it shows that."""
        async with contextlib.aclosing(answering) as drawn:
            async for messages in drawn:
                if session.view is not chat:
                    break
                yield messages, ""
        if session.view is not chat:
            yield await self._present(session)

"""The handlers of the page's events; each works on its own session, and on no other."""

import asyncio

import gradio as gr

from cmw_agent.chat.turn import SETTLE_SECONDS
from cmw_agent.conversations.ratings import RATINGS
from cmw_agent.core.errors import NotFoundError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import wording
from cmw_agent.web.page.opening_handlers import OpeningHandlers
from cmw_agent.web.page.page_request import identify, message_seq
from cmw_agent.web.page.sending_handlers import SendingHandlers
from cmw_agent.web.page.temporary import NO_RATING, temporary_chat
from cmw_agent.web.page.version_handlers import VersionHandlers


class Handlers(OpeningHandlers, SendingHandlers, VersionHandlers):
    """The page's event handlers, each named as its event; the app's event server calls them."""

    async def rate(self, seq: object, rating: object, request: gr.Request) -> None:
        """Store the user's rating of an answer, even if the page closes meanwhile.

        Args:
            seq: The answer's seq, as text.
            rating: ``like`` or ``dislike``; anything else takes the rating back.
            request: The page's request.
        """
        storing = asyncio.create_task(self._rate(seq, rating, request), name="rating")
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await asyncio.wait({storing}, timeout=SETTLE_SECONDS)
            raise
        finally:
            storing.cancel()

    async def _rate(self, seq: object, rating: object, request: gr.Request) -> None:
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            raise NotFoundError(NO_RATING)
        page = await self._page(session)
        answer = message_seq(seq)
        if answer is None or answer not in page.seqs:
            raise NotFoundError(wording("This answer was not found; please reload the page."))
        feedback = RATINGS.get(rating) if isinstance(rating, str) else None
        await self._runtime.history.rate(session.principal, page.conversation_id, answer, feedback)
        page.rate(answer, feedback)

    async def stop(self, request: gr.Request) -> None:
        """Stop the running answer; what has come of it is stored."""
        key, principal = identify(request)
        session = self._runtime.registry.find(key, principal)
        if session is not None and (chat := temporary_chat(session)) is not None:
            await chat.stop()
            return
        named_id = request.query_params.get("c")
        conversation = session.conversation_id if session is not None else named_id
        if not isinstance(conversation, str):
            return
        if self._runtime.chat.is_running(principal.id, conversation):
            await self._runtime.chat.stop(principal.id, conversation)
            return
        with mapped_store_errors():  # another process runs it
            memory = self._runtime.memory_of(principal)
            await memory.request_stop(principal.id, conversation)

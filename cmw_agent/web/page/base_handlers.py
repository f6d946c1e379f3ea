"""What all event handlers of the page need: the session behind a request, and what its page shows.

A handler takes the principal from the request, where the guard has put it, and the session by
Gradio's session hash, which the guard has bound to that principal. A conversation id that a
browser sends is looked up only among the principal's own conversations.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence

import gradio as gr

from cmw_agent.chat.commands import BeginNew, ControlReply, run_control_command
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.http_headers import tab_of
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.language import Language, wording
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page.drawn_message import DrawnMessage
from cmw_agent.web.page.page_request import identify, language_of, time_zone
from cmw_agent.web.page.page_view import PageView, Shown, load_view
from cmw_agent.web.page.temporary import temporary_chat
from cmw_agent.web.page.turn_view import TurnView
from memory.errors import ConversationNotFoundError
from memory.records import Conversation, new_conversation_id

SIGN_IN_NOTE = wording("Nobody answers you here yet; please sign in.")


class BaseHandlers:
    """Finds the sessions of requests and draws what their pages show.

    Args:
        runtime: Holds the sessions, the chat service and the other parts of the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def _session(self, request: gr.Request, *, adopt: bool = False) -> LiveSession:
        """Return the session of a request, made where there is none.

        With `adopt`, a session without a conversation gets the one that the page's address names.
        """
        key, principal = identify(request)
        session = await self._runtime.registry.session(key, principal)
        if adopt and session.conversation_id is None:
            # The session has left the process while its page stayed open.
            named_id = request.query_params.get("c")
            if isinstance(named_id, str) and named_id:
                await self._adopt(session, named_id)
        url = request.request.url if request.request is not None else None
        session.origin = f"{url.scheme}://{url.netloc}" if url is not None else ""
        session.address = request.client.host if request.client is not None else None
        session.tab = tab_of(request.request.headers) if request.request is not None else None
        session.time_zone = time_zone(request)
        session.language = language_of(request)
        await self._runtime.visit(session)
        return session

    async def _select_agent(self, session: LiveSession, agent_id: object) -> Notice | None:
        """Set the session's agent: `agent_id`, else its present one, else any that it may use.

        Agents that the session's principal may not use count as unknown.

        Returns:
            A notice for a principal who may use no agent until they sign in, else None.
        """
        usable = [item.id for item in await self._runtime.agents.usable_for(session.principal)]
        if not usable:
            if not self._runtime.settings.accounts:
                return None
            language = session.language
            return Notice(language.translate(SIGN_IN_NOTE), language.gettext("Not signed in"))
        present = session.agent_id if session.agent_id in usable else usable[0]
        session.agent_id = agent_id if isinstance(agent_id, str) and agent_id in usable else present
        return None

    async def _adopt(self, session: LiveSession, conversation_id: str) -> Conversation | None:
        """Make a stored conversation of the session's owner its present one; None if not found."""
        with mapped_store_errors():
            try:
                conversation = await session.memory.conversation(session.owner, conversation_id)
            except ConversationNotFoundError:
                return None
        session.conversation_id, session.agent_id = conversation_id, conversation.agent_id
        return conversation

    async def _page(self, session: LiveSession) -> PageView:
        """Return the view of the session's conversation: the session's own, or a stored one."""
        while True:
            if session.conversation_id is None:
                session.conversation_id = new_conversation_id()
                session.view = PageView(session.conversation_id, [], is_new=True)
            page = session.view
            if not (isinstance(page, PageView) and page.conversation_id == session.conversation_id):
                page = await load_view(session, session.conversation_id)
            # The page may have switched to another conversation while this one was read.
            if page.conversation_id == session.conversation_id:
                session.view = page
                return page

    async def _present(self, session: LiveSession) -> Shown:
        """Return what the session's page shows now: a temporary chat or a conversation."""
        if (chat := temporary_chat(session)) is not None:
            return chat.messages, ""
        page = await self._page(session)
        return list(page.messages), page.shown_id

    async def _begin_new(self, session: LiveSession) -> None:
        """Begin a new conversation; a running answer goes on in the one that the page leaves."""
        await self._leave(session)
        await self._select_agent(session, None)

    async def _leave(self, session: LiveSession) -> None:
        """Leave the session's chat and the turns that it reads there."""
        session.conversation_id = session.view = None  # first: the running event reads it
        await session.leave_turns()

    async def _control(
        self, session: LiveSession, text: str, begin_new: BeginNew
    ) -> ControlReply | None:
        return await run_control_command(text, self._runtime.history, session.principal, begin_new)

    async def _stream(
        self,
        session: LiveSession,
        view: PageView,
        turn: TurnReader,
        above: Sequence[DrawnMessage] = (),
        question: Sequence[DrawnMessage] = (),
    ) -> AsyncGenerator[Shown, None]:
        """Yield the page while a turn runs, and store its last view in the session."""
        turn_view = TurnView(session, view, turn, above, question)
        async with contextlib.aclosing(turn_view.updates()) as updates:
            async for messages in updates:
                yield messages, UNCHANGED
        if session.conversation_id != view.conversation_id:
            # The page has switched to another chat: the last value must show that.
            yield await self._present(session)
            return
        session.view = turn_view.result()
        yield session.view.messages, session.view.shown_id


async def begin_later() -> None:
    """Do nothing: the page's new chat follows the notice."""


def notice_of(reply: ControlReply, language: Language) -> Notice:
    """Return what the page says of a control command that was carried out."""
    if reply.deleted is None:
        return Notice(
            language.gettext("This is a new conversation."), language.gettext("New chat"), "info"
        )
    return Notice(
        language.gettext("Deleted conversations: {count}.", count=reply.deleted),
        language.gettext("Everything was deleted"),
        "info",
    )

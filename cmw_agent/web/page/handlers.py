"""The handlers of the page's events; each works on its own session, and on no other.

A handler takes the principal from the request, where the guard has put it, and the session by
Gradio's session hash, which the guard has bound to that principal. A conversation id that a
browser sends is looked up only among the principal's own conversations.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from cmw_agent.chat.commands import BeginNew, ControlReply, run_control_command
from cmw_agent.chat.model_choice import EFFORT, MODEL
from cmw_agent.chat.turn import SETTLE_SECONDS, TurnReader
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.core.events import TextDelta, TextWasThinking, TurnFinished
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import first_conversation
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page import receipts, rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.page.page_request import (
    file_ids,
    hit_seq,
    idempotency_key,
    identify,
    message_index,
    model_choice,
    request_id,
)
from cmw_agent.web.page.page_view import RUNNING, PageView, Shown, load_view, load_view_from
from cmw_agent.web.page.temporary import (
    NO_FILES,
    NO_RATING,
    NO_VERSIONS,
    TemporaryAnswers,
    TemporaryChat,
    temporary_chat,
)
from cmw_agent.web.page.turn_view import TurnView, stored_updates
from memory.errors import ConversationNotFoundError, StoreError
from memory.records import Conversation, StoredFile, new_conversation_id

Opened = tuple[Any, str, Any, Any]  # messages, `PageView.shown_id`, model, effort
Switched = tuple[Any, Any, Any, Any, str]  # the same, and the index of a drawn message, or none
Sent = tuple[Any, Any, Any]  # messages, `PageView.shown_id`, receipt

MAX_SHOWN = 400  # messages that a page shows, however often it asks for earlier ones
# Drawn messages above a new question: each update of an answer sends and compares all of them.
MAX_ABOVE = rendering.PAGE_MESSAGES + 10
SIGN_IN_NOTE = "Nobody answers you here yet; please sign in."
TOO_FAR_NOTE = "The message that was found is further back than a page can show; a saved file of the chat has it."
NOT_FOUND_NOTE = "This conversation was not found. Here is a new one."

NOT_EDITABLE = (
    "Only your own messages can be edited, and in a temporary chat only the last of them."
)


class Handlers:
    """The page's event handlers; the app's event server calls them.

    Args:
        runtime: Holds the sessions, the chat service and the other parts of the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def _temporary(self) -> TemporaryAnswers:
        return TemporaryAnswers(self._runtime.chat, self._runtime.settings.history_tokens)

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
        kept: Mapping[str, Any] = {}
        running_seq: int | None = None
        if isinstance(named_id, str) and named_id:
            await self._runtime.chat.stored(session.owner, named_id)
            running_seq = await self._runtime.chat.answering(session, named_id)
            conversation = await self._adopt(session, named_id)
            if conversation is None:
                yield Notice(NOT_FOUND_NOTE, "Not found")
            else:
                kept = conversation.context_data or {}
        page = await self._page(session)
        model = await self._runtime.model(session, kept.get(MODEL))
        if running_seq is not None and page.conversation_id == named_id:
            shown = [
                *page.above(running_seq).messages,
                message("assistant", rendering.WAITING),
            ]
            yield shown, page.shown_id + RUNNING, model, kept.get(EFFORT)
        else:
            shown = rendering.with_ratings(page.messages, page.feedback)
            yield shown, page.shown_id, model, kept.get(EFFORT)

    async def join(self, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Stream the answer that is being written in the page's conversation, if one is."""
        session = await self._session(request, adopt=True)
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

        Yields what `open_page` does, and the index of the message at the address's `at`, if any.
        """
        session = await self._session(request)
        await self._begin_new(session)
        mark = ""
        try:
            async with contextlib.aclosing(self.open_page(request)) as values:
                async for opened in values:
                    if isinstance(opened, Notice):
                        yield opened
                    else:
                        mark = RUNNING if opened[1].endswith(RUNNING) else ""
                        yield (*opened, "")
            if (seq := hit_seq(request.query_params.get("at"))) is not None:
                for switched in await self._show_hit(session, seq, mark):
                    yield switched
        except UserError:
            yield [], UNCHANGED, UNCHANGED, UNCHANGED, ""  # the page has left what it showed
            raise

    async def _show_hit(self, session: LiveSession, seq: int, mark: str) -> list[Notice | Switched]:
        page = await self._page(session)
        if (index := page.index_of(seq)) is not None:
            return [(UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, str(index))]
        if not page.has_earlier:
            return []
        found = await load_view_from(session, page.conversation_id, seq, MAX_SHOWN)
        if found is None:
            return [Notice(TOO_FAR_NOTE, "Not shown")]
        if session.conversation_id != page.conversation_id:
            return []
        session.view, index = found, found.index_of(seq)
        shown = rendering.with_ratings(found.messages, found.feedback)
        at = "" if index is None else str(index)
        return [(shown, found.shown_id + mark, UNCHANGED, UNCHANGED, at)]

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
        return rendering.with_ratings(page.messages, page.feedback), page.shown_id

    async def rate(self, request: gr.Request, rating: gr.LikeData) -> None:
        """Store the user's rating of an answer, even if the page closes meanwhile."""
        storing = asyncio.create_task(self._rate(request, rating), name="rating")
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await asyncio.wait({storing}, timeout=SETTLE_SECONDS)
            raise
        finally:
            storing.cancel()

    async def _rate(self, request: gr.Request, rating: gr.LikeData) -> None:
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            raise NotFoundError(NO_RATING)
        page = await self._page(session)
        index = message_index(rating)
        if index is None or not 0 <= index < len(page.seqs):
            raise NotFoundError("This answer was not found; please reload the page.")
        liked: object = rating.liked
        feedback = rendering.FEEDBACK.get(liked) if isinstance(liked, bool | str) else None
        await self._runtime.history.rate(
            session.principal, page.conversation_id, page.seqs[index], feedback
        )

    async def new_chat(self, request: gr.Request) -> Shown:
        """Begin a new conversation; a running answer goes on in the one that the page leaves."""
        session = await self._session(request)
        await self._begin_new(session)
        return await self._present(session)

    async def new_temporary(self, request: gr.Request) -> Shown:
        """Begin a temporary chat; it has no id, and is in the session alone."""
        session = await self._session(request)
        await self._begin_new(session)
        session.conversation_id, session.view = None, TemporaryChat()
        return [], ""

    async def _begin_new(self, session: LiveSession) -> None:
        session.conversation_id = session.view = None  # first: the running event reads it
        await session.leave_turns()
        await self._select_agent(session, None)

    async def _control(
        self, session: LiveSession, text: str, begin_new: BeginNew
    ) -> ControlReply | None:
        return await run_control_command(text, self._runtime.history, session.principal, begin_new)

    async def send(
        self, text: str, key: str, files: str, model: object, request: gr.Request
    ) -> AsyncGenerator[Notice | Sent, None]:
        """Store the message, then stream the conversation with the growing answer.

        A receipt goes with each update. A message with a key that cannot be stored now is
        postponed: the page sends it again.
        """
        session = await self._session(request, adopt=True)
        if (reply := await self._control(session, text, _begin_later)) is not None:
            yield _notice(reply)
            yield *(await self.new_chat(request)), receipts.stored(key, receipts.NO_CONVERSATION)
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
            yield UNCHANGED, UNCHANGED, receipts.postponed(key, error)

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
        return self._send_temporary(session, chat, text, key, model)

    async def _send_temporary(
        self, session: LiveSession, chat: TemporaryChat, text: str, key: str, model: object
    ) -> AsyncGenerator[Sent, None]:
        answering = self._temporary.answer(session, chat, text, model_choice(model))
        receipt = receipts.stored(key, receipts.NO_CONVERSATION)
        async with contextlib.aclosing(self._shown(session, chat, answering)) as values:
            async for messages, shown_id in values:
                yield messages, shown_id, receipt

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
            outlives_readers=True,
            request_id=request_id(request),
        )
        above = page.messages
        if len(above) > MAX_ABOVE:
            above = above[-rendering.PAGE_MESSAGES :]
        question = [message("user", turn.text)]
        if files:
            question.insert(0, rendering.attachments(await self._attached(session, files)))
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

    async def redraw(self, request: gr.Request) -> Shown:
        """Draw the page anew: another version of its conversation is shown."""
        session = await self._session(request, adopt=True)
        if temporary_chat(session) is not None:
            return await self._present(session)
        page = await self._page(session)
        if not session.readers:
            page = session.view = await load_view(session, page.conversation_id)
        return rendering.with_ratings(page.messages, page.feedback), page.shown_id

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
            if (reply := await self._control(session, value, _begin_later)) is not None:
                yield _notice(reply)
                yield await self.new_chat(request)
                return
            async with contextlib.aclosing(self._regenerate(request, value, index)) as values:
                async for shown in values:
                    yield shown
        except UserError:
            yield list(page.messages), UNCHANGED  # the browser has drawn its edit already
            raise

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

    async def chat(self, message: str, request: gr.Request) -> AsyncIterator[str]:
        """Answer a message on the caller's own session, for programs.

        Yields the answer as it grows; the last value is the whole answer.
        """
        # Gradio serves this docstring as the description of `/chat`.
        session = await self._session(request, adopt=True)
        begin_new = partial(self._begin_new, session)
        if (reply := await self._control(session, message, begin_new)) is not None:
            yield reply.text
            return
        await self._page(session)
        session.view = None
        text = ""
        async with self._runtime.chat.turn(
            session, message, key=idempotency_key(""), request_id=request_id(request)
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
                        yield f"{text}\n\n{event.sentence}"
                        return
                    raise UserError(event.sentence, error_id=event.error_id)

    # -- the session behind a request ---------------------------------------------

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
            return (
                Notice(SIGN_IN_NOTE, "Not signed in") if self._runtime.settings.accounts else None
            )
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

    # -- a turn on the page -------------------------------------------------------

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

    async def _stored_parts(self, session: LiveSession) -> AsyncGenerator[Shown, None]:
        """Yield the page while another process writes its answer, and once more when that has ended."""
        session.view = None
        page = await self._page(session)
        seq = await self._runtime.chat.answering(session, page.conversation_id)
        if seq is not None:
            async with contextlib.aclosing(stored_updates(session, page.above(seq))) as updates:
                async for messages in updates:
                    if session.conversation_id != page.conversation_id:
                        break
                    yield messages, UNCHANGED
        if session.conversation_id == page.conversation_id:
            session.view = None
        yield await self._present(session)

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


async def _begin_later() -> None:
    """Do nothing: the page's own new chat follows the notice."""


def _notice(reply: ControlReply) -> Notice:
    if reply.deleted is None:
        return Notice("This is a new conversation.", "New chat", "info")
    return Notice(f"Deleted conversations: {reply.deleted}.", "Everything was deleted", "info")


def _last_question(messages: list[DrawnMessage]) -> int | None:
    """Return the index of the user's last message."""
    indexes = [i for i, item in enumerate(messages) if item["role"] == "user"]
    return indexes[-1] if indexes else None

"""What the page's events do: each finds its own session, and only its own.

A handler takes who asks from the guard's word in the request and the session from
Gradio's session hash, which the guard has bound to that principal. A conversation's
id that a browser sends is only looked up among the principal's own.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import orjson

from cmw_agent.chat.commands import EVERYTHING, command_of
from cmw_agent.chat.stored_turn import MODEL
from cmw_agent.chat.turn import SETTLE_SECONDS, Command, Turn
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.conversations.store_errors import refusal_for
from cmw_agent.core.errors import InvalidMessageError, MissingSessionError, NotFoundError, UserError
from cmw_agent.core.events import TextDelta, TurnFinished, TurnStarted
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.observability.observers import request_of
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice
from cmw_agent.web.page import rendering
from cmw_agent.web.security.guard import PRINCIPAL
from memory.errors import ConversationNotFoundError, StoreError
from memory.records import Conversation, StoredFile, StoredMessage, new_conversation_id

Opened = tuple[Any, str, Any]  # messages, conversation id (and EARLIER for more), model
Shown = tuple[list[rendering.Drawn], Any]  # messages, conversation id as for `Opened`

EARLIER = "+"  # after a conversation's id: the page does not show its beginning
MAX_SHOWN = 400  # messages that a page shows, however often it asks for earlier ones
MAX_LIVE = rendering.SHOWN + 10  # drawn messages above a new question; more would cost each answer
SIGN_IN_NOTE = "Nobody answers you here yet; please sign in."
NOT_FOUND_NOTE = "This conversation was not found. Here is a new one."


@dataclass(slots=True)
class Page:
    """What a session's page shows: the drawn messages of its conversation.

    `question` is the place of the last question shown, `upcoming` that of the next one,
    `places` has those of all drawn messages; `feedback` tells how the answers were rated when
    the conversation was opened.
    """

    conversation_id: str
    messages: list[rendering.Drawn]
    question: int | None = None
    upcoming: int | None = None
    places: list[int] = field(default_factory=list)
    feedback: list[str | None] = field(default_factory=list)

    @property
    def shown_id(self) -> str:
        """The conversation's id as the page gets it."""
        return self.conversation_id + (EARLIER if self.has_earlier else "")

    @property
    def has_earlier(self) -> bool:
        """Whether the conversation has messages before those that are shown."""
        return bool(self.places) and self.places[0] > 1


class Handlers:
    """The page's event handlers.

    Args:
        runtime: The live parts of the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def open_page(self, request: gr.Request) -> AsyncGenerator[Notice | Opened, None]:
        """Give the messages, the conversation's id and its model."""
        session = await self._session(request)
        wanted, agent = request.query_params.get("c"), request.query_params.get("agent")
        session.conversation_id = session.view = None
        if (notice := await self._turn_to(session, agent)) is not None:
            yield notice
        model: str | None = None
        if isinstance(wanted, str) and wanted:
            found = await self._adopt(session, wanted)
            if found is None:
                yield Notice(NOT_FOUND_NOTE, "Not found")
            else:
                model = (found.context_data or {}).get(MODEL)
                await self._runtime.chat.stored(session.owner, wanted)
        page = await self._page(session)
        chosen = await self._runtime.model(session, model)
        yield rendering.rated(page.messages, page.feedback), page.shown_id, chosen
        if (turn := self._runtime.chat.resume(session)) is not None:
            async with contextlib.aclosing(self._stream(session, page, turn)) as values:
                async for messages, shown_id in values:
                    yield messages, shown_id, UNCHANGED

    async def earlier(self, request: gr.Request) -> Shown:
        """Show more of the conversation's beginning."""
        session = await self._session(request, adopt=True)
        page = await self._page(session)
        if session.turn is not None or not page.has_earlier:
            return page.messages, page.shown_id
        room = min(len(set(page.places)) + rendering.SHOWN, MAX_SHOWN)
        page = await self._stored_page(session, page.conversation_id, room)
        if session.conversation_id == page.conversation_id:
            session.view = page
        return rendering.rated(page.messages, page.feedback), page.shown_id

    async def rate(self, request: gr.Request, given: gr.LikeData) -> None:
        """Keep what the user thinks of an answer, also when the page closes meanwhile."""
        keeping = asyncio.create_task(self._rate(request, given), name="rating")
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            await asyncio.wait({keeping}, timeout=SETTLE_SECONDS)
            raise
        finally:
            keeping.cancel()

    async def _rate(self, request: gr.Request, given: gr.LikeData) -> None:
        session = await self._session(request, adopt=True)
        page = await self._page(session)
        place = _place_of(given)
        if place is None or not 0 <= place < len(page.places):
            raise NotFoundError("This answer was not found; please reload the page.")
        liked: object = given.liked
        feedback = rendering.FEEDBACK.get(liked) if isinstance(liked, bool | str) else None
        await self._runtime.history.rate(
            session.principal, page.conversation_id, page.places[place], feedback
        )

    async def new_chat(self, request: gr.Request) -> Shown:
        """Turn to a new conversation; a running answer is stopped and kept."""
        session = await self._session(request)
        session.conversation_id = session.view = None  # first: the answer's own event looks at it
        if session.turn is not None:
            session.turn.stop()
            await session.turn.ended()
        await self._turn_to(session, None)
        page = await self._page(session)
        return page.messages, page.shown_id

    async def send(
        self, text: str, key: str, files: str, model: object, request: gr.Request
    ) -> AsyncGenerator[Notice | Shown, None]:
        """Store the message, then stream the conversation with the growing answer."""
        session = await self._session(request, adopt=True)
        if (notice := await self._leave(session, command_of(text))) is not None:
            yield notice
            yield await self.new_chat(request)
            return
        page = await self._page(session)
        ids = _files(files)
        chosen = model if isinstance(model, str) else None
        turn = self._runtime.chat.turn(
            session,
            text,
            key=_key(key),
            files=ids,
            model=chosen,
            request_id=_request_id(request),
        )
        kept = (
            page.messages if len(page.messages) <= MAX_LIVE else page.messages[-rendering.SHOWN :]
        )
        asked = [rendering.message("user", turn.text)]
        if ids:
            asked.insert(0, rendering.attachments(await self._attached(session, ids)))
        async with contextlib.aclosing(self._stream(session, page, turn, kept, asked)) as values:
            async for shown in values:
                yield shown

    async def _leave(self, session: LiveSession, command: Command | None) -> Notice | None:
        """Carry out a command that ends the conversation; None where the message is no such."""
        if command is not None and command.name == "new":
            return Notice("This is a new conversation.", "New chat", "info")
        if command is None or command != Command("forget", EVERYTHING):
            return None
        count = await self._runtime.history.forget(session.principal)
        return Notice(f"Deleted conversations: {count}.", "Everything was deleted", "info")

    async def _attached(self, session: LiveSession, ids: Sequence[str]) -> list[StoredFile]:
        try:
            return [await session.memory.file(session.owner, one) for one in ids]
        except StoreError:
            return []  # the turn says that they are not there

    async def retry(self, request: gr.Request) -> AsyncGenerator[Shown, None]:
        """Answer the last message once more."""
        async with contextlib.aclosing(self._again(request, None)) as values:
            async for shown in values:
                yield shown

    async def edit(
        self, request: gr.Request, change: gr.EditData
    ) -> AsyncGenerator[Notice | Shown, None]:
        """Replace the last message by its edited form and answer that."""
        session = await self._session(request, adopt=True)
        page = await self._page(session)
        place = _last_user(page.messages)
        value: Any = change.value
        if place is None or _place_of(change) != place or not isinstance(value, str):
            yield Notice("Only your last message can be edited.", "Not changed")
            yield list(page.messages), UNCHANGED
            return
        try:
            async with contextlib.aclosing(self._again(request, value)) as values:
                async for shown in values:
                    yield shown
        except UserError:
            yield list(page.messages), UNCHANGED  # the browser has drawn its edit already
            raise

    async def stop(self, request: gr.Request) -> None:
        """Stop the running answer; what has come is kept."""
        key, principal = _asker(request)
        session = self._runtime.registry.find(key, principal)
        if session is not None and session.turn is not None:
            session.turn.stop()
            await session.turn.ended()

    async def chat(self, message: str, request: gr.Request) -> AsyncIterator[str]:
        """Answer a message on the caller's own session, for programs.

        Yields the answer as it grows; the last value is the whole answer.
        """
        session = await self._session(request, adopt=True)
        await self._page(session)
        session.view = None
        text = ""
        asked = _request_id(request)
        async with self._runtime.chat.turn(
            session, message, key=_key(""), request_id=asked
        ) as turn:
            async for event in turn:
                if isinstance(event, TextDelta):
                    text += event.text
                    yield text
                elif isinstance(event, TurnFinished) and event.sentence:
                    raise UserError(event.sentence, error_id=event.error_id)

    # -- the session behind a request ---------------------------------------------

    async def _session(self, request: gr.Request, *, adopt: bool = False) -> LiveSession:
        key, principal = _asker(request)
        session = await self._runtime.registry.session(key, principal)
        if adopt and session.conversation_id is None:
            # The session left the process while its page stayed open: go on where it was.
            wanted = request.query_params.get("c")
            if isinstance(wanted, str) and wanted:
                await self._adopt(session, wanted)
        url = request.request.url if request.request is not None else None
        session.origin = f"{url.scheme}://{url.netloc}" if url is not None else ""
        session.address = request.client.host if request.client is not None else None
        await self._runtime.visit(session)
        return session

    async def _turn_to(self, session: LiveSession, wanted: object) -> Notice | None:
        """Give the session the agent that is `wanted`, else its own, else any that it may use.

        An agent that the session's user may not use is one that there is not. Returns what to say
        where the user may use none.
        """
        found = [item.id for item in await self._runtime.agents.usable_for(session.principal)]
        if not found:
            return (
                Notice(SIGN_IN_NOTE, "Not signed in") if self._runtime.settings.accounts else None
            )
        own = session.agent_id if session.agent_id in found else found[0]
        session.agent_id = wanted if isinstance(wanted, str) and wanted in found else own
        return None

    async def _adopt(self, session: LiveSession, wanted: str) -> Conversation | None:
        try:
            found = await session.memory.conversation(session.owner, wanted)
        except ConversationNotFoundError:
            return None
        except StoreError as error:
            raise refusal_for(error) from error
        session.conversation_id, session.agent_id = wanted, found.agent_id
        return found

    async def _page(self, session: LiveSession) -> Page:
        while True:
            if session.conversation_id is None:
                session.conversation_id = new_conversation_id()
                session.view = Page(session.conversation_id, [])
            page = session.view
            if not (isinstance(page, Page) and page.conversation_id == session.conversation_id):
                page = await self._stored_page(session, session.conversation_id)
            # The page may have turned to another conversation while this one was read.
            if page.conversation_id == session.conversation_id:
                session.view = page
                return page

    async def _stored_page(
        self, session: LiveSession, conversation_id: str, room: int = rendering.SHOWN
    ) -> Page:
        files: rendering.FilesBySeq = rendering.NO_FILES
        try:
            stored = await session.memory.messages(session.owner, conversation_id, limit=room)
            files = await self._files_of(session, conversation_id, stored)
        except ConversationNotFoundError:
            stored = []
        except StoreError as error:
            raise refusal_for(error) from error
        questions = [item.seq for item in stored if item.role == "user"]
        return Page(
            conversation_id,
            rendering.history(stored, files),
            question=questions[-1] if questions else None,
            upcoming=stored[-1].seq + 1 if stored else None,
            places=rendering.places(stored, files),
            feedback=rendering.feedback(stored),
        )

    async def _files_of(
        self, session: LiveSession, conversation_id: str, stored: Sequence[StoredMessage]
    ) -> rendering.FilesBySeq:
        if not stored:
            return rendering.NO_FILES
        places = [item.seq for item in stored if item.role == "user"]
        found = await session.memory.files_of(session.owner, conversation_id, places)
        return rendering.by_seq(found)

    # -- a turn on the page -------------------------------------------------------

    async def _again(self, request: gr.Request, text: str | None) -> AsyncGenerator[Shown, None]:
        session = await self._session(request, adopt=True)
        page = await self._page(session)
        place = _last_user(page.messages)
        if place is None:
            raise NotFoundError("There is nothing to answer once more yet.")
        turn = self._runtime.chat.regenerate(
            session,
            key=_key(""),
            text=text,
            expected_seq=page.question,
            request_id=_request_id(request),
        )
        above = page.messages[:place]
        asked = [page.messages[place] if text is None else rendering.message("user", turn.text)]
        async with contextlib.aclosing(self._stream(session, page, turn, above, asked)) as values:
            async for shown in values:
                yield shown

    async def _stream(
        self,
        session: LiveSession,
        page: Page,
        turn: Turn,
        above: Sequence[rendering.Drawn] | None = None,
        asked: Sequence[rendering.Drawn] = (),
    ) -> AsyncGenerator[Shown, None]:
        """Show a turn below what stands `above` it and what was `asked`.

        What stands above comes from the memory where it is not given.
        """
        live = rendering.LiveAnswer([*(above or ()), *asked])
        shown = Page(page.conversation_id, [])
        try:
            async with turn:
                async for event in turn:
                    if isinstance(event, TurnStarted):
                        session.view = None  # not whole until the turn has ended
                        shown.question, shown.upcoming = event.user_seq, event.answer_seq + 1
                        before = len(above or ())
                        # a new message stands below the last ones, a retry below the first ones
                        known = page.places[-before:] if turn.is_new else page.places[:before]
                        shown.places = [*(known if before else []), *[event.user_seq] * len(asked)]
                        moved = turn.is_new and page.upcoming not in (None, event.user_seq)
                        if above is None or moved:
                            live, shown.places = await self._caught_up(session, event, asked)
                    live.add(event)
                    yield live.drawn(), UNCHANGED
        except StoreError as error:
            raise refusal_for(error) from error
        if session.conversation_id != page.conversation_id:
            # The page has turned to a new chat: that is what the last value must show.
            yield list((await self._page(session)).messages), UNCHANGED
            return
        shown.messages = live.drawn()
        answer = shown.upcoming - 1 if shown.upcoming is not None else 0
        shown.places += [answer] * (len(shown.messages) - len(shown.places))
        session.view = shown
        yield shown.messages, shown.shown_id

    async def _caught_up(
        self, session: LiveSession, event: TurnStarted, asked: Sequence[rendering.Drawn]
    ) -> tuple[rendering.LiveAnswer, list[int]]:
        """Return what stands above an answer, and its places, from the memory.

        That is so when another tab has gone on meanwhile, or when the page was loaded again.
        """
        place = event.user_seq if asked else event.answer_seq
        stored = await session.memory.messages(
            session.owner, event.conversation_id, limit=rendering.SHOWN, before_seq=place
        )
        files = await self._files_of(session, event.conversation_id, stored)
        places = [*rendering.places(stored, files), *[event.user_seq] * len(asked)]
        return rendering.LiveAnswer([*rendering.history(stored, files), *asked]), places


def _asker(request: gr.Request | None) -> tuple[SessionKey, Principal]:
    if request is None or request.request is None:
        raise MissingSessionError
    principal = request.request.scope.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise MissingSessionError
    return SessionKey.parse(request.session_hash), principal


def _request_id(request: gr.Request) -> str:
    return request_of(request.request.scope) if request.request is not None else "-"


def _key(sent: object) -> str:
    """Return the idempotency key that the page sent, or a fresh one."""
    return sent if isinstance(sent, str) and 0 < len(sent) <= 100 else secrets.token_urlsafe(16)


def _files(sent: object) -> tuple[str, ...]:
    """Return the ids of files that the page sent: a JSON list of texts."""
    if not isinstance(sent, str) or not sent:
        return ()
    try:
        found = orjson.loads(sent)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidMessageError("The attached files are not named as they should be.")
    return tuple(found)


def _place_of(change: gr.EditData | gr.LikeData) -> int | None:
    """Return the place of a changed or rated message: a number, or the first of several."""
    index: Any = change.index
    if isinstance(index, list | tuple):
        index = index[0] if index else None
    return index if type(index) is int else None


def _last_user(messages: list[rendering.Drawn]) -> int | None:
    places = [i for i, item in enumerate(messages) if item["role"] == "user"]
    return places[-1] if places else None

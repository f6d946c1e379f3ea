"""The view of a page while a turn runs."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

from cmw_agent.chat.stored_answer import stored_parts
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TurnStarted
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.web.page import rendering
from cmw_agent.web.page.drawn_message import DrawnMessage, marked
from cmw_agent.web.page.live_answer import LiveAnswer
from cmw_agent.web.page.page_view import PageView, first_seq, load_messages


async def stored_updates(
    session: LiveSession, above: PageView, seq: int
) -> AsyncGenerator[list[DrawnMessage]]:
    """Yield the page's messages while another process writes the answer `seq` below `above`.

    Raises:
        UserError: The memory fails.
    """
    async with contextlib.aclosing(stored_parts(session, above.conversation_id)) as parts:
        async for events in parts:
            answer = LiveAnswer(above.messages, session.language, seq=seq)
            for event in events:
                answer.add(event)
            yield answer.drawn()


class TurnView:
    """Draws a turn: the messages above it, its question and the growing answer.

    Args:
        session: The session whose page shows the turn.
        view: What the page showed before the turn.
        turn: The turn; `updates` leaves it when it is closed.
        above: The drawn messages above the question; empty where the page joins the turn.
        question: The drawn question, with its files; empty where the page joins the turn.
    """

    def __init__(
        self,
        session: LiveSession,
        view: PageView,
        turn: TurnReader,
        above: Sequence[DrawnMessage] = (),
        question: Sequence[DrawnMessage] = (),
    ) -> None:
        self._session = session
        self._before = view
        self._turn = turn
        self._above = above
        self._question = question
        self._answer = LiveAnswer([*above, *question], session.language)
        self._result = PageView(view.conversation_id, [])

    async def updates(self) -> AsyncGenerator[list[DrawnMessage]]:
        """Yield the page's messages after each event of the turn.

        Raises:
            UserError: The turn could not begin, or the memory fails.
        """
        with mapped_store_errors():
            async with self._turn:
                async for event in self._turn:
                    if isinstance(event, TurnStarted):
                        await self._start(event)
                    self._answer.add(event)
                    yield self._answer.drawn()

    def result(self) -> PageView:
        """Return the page's view after the turn has ended."""
        view = self._result
        view.messages = self._answer.drawn()
        return view

    async def _start(self, event: TurnStarted) -> None:
        """Mark the question, and read the messages above it from the memory if needed."""
        self._session.view = None  # incomplete until the turn has ended
        self._result.question_seq, self._result.next_seq = event.user_seq, event.answer_seq + 1
        is_first = event.parent_seq == 0
        self._result.first_seq = event.user_seq if is_first else self._before.first_seq
        if self._turn.is_joined:
            await self._join(event)
            return
        self._question = [marked(part, seq=event.user_seq) for part in self._question]
        self._answer = LiveAnswer([*self._above, *self._question], self._session.language)
        # Another tab may have continued the conversation, or have shown another version of it.
        follows = event.user_seq if event.parent_seq is None else event.parent_seq + 1
        if self._turn.is_new and self._before.next_seq not in (None, follows):
            await self._read_above(event)

    async def _join(self, event: TurnStarted) -> None:
        """Draw the messages above an answer that was begun elsewhere, the question included."""
        if self._before.next_seq != event.answer_seq + 1:
            await self._read_above(event)
            return
        self._answer = LiveAnswer(
            self._before.above(event.answer_seq).messages, self._session.language
        )

    async def _read_above(self, event: TurnStarted) -> None:
        stored, files = await load_messages(
            self._session,
            event.conversation_id,
            limit=rendering.PAGE_MESSAGES,
            before_seq=event.user_seq if self._question else event.answer_seq,
        )
        if stored:
            self._result.first_seq = first_seq(stored)
        self._answer = LiveAnswer(
            [*rendering.history(stored, self._session.language, files), *self._question],
            self._session.language,
        )

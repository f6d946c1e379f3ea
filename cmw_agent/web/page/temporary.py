"""A temporary chat: it is in its page's live session alone, and goes with it."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.service import ChatService
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import ConversationInUseError, InvalidMessageError, NotFoundError
from cmw_agent.core.events import TurnFinished, TurnStarted
from cmw_agent.language import wording
from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.web.page.drawn_message import DrawnMessage, message
from cmw_agent.web.page.live_answer import LiveAnswer
from memory.conversations.context_window import fit
from memory.records import ContextMessage

KEY_MARK = "temporary:"  # begins the key of a message that the page sends from a temporary chat
MAX_MESSAGES = 400
MAX_CHARS = 200_000
TOO_LONG = wording("This temporary chat is as long as one can be; please begin a new one.")
NO_FILES = wording(
    "A temporary chat takes no files, since they would be stored; please remove them."
)
GONE = wording("This temporary chat has ended and is gone; please begin a new one.")
NO_RATING = wording("This answer cannot be rated, because nothing of a temporary chat is stored.")
NO_VERSIONS = wording("A temporary chat has no versions, because nothing of it is stored.")


@dataclass(slots=True)
class TemporaryChat:
    """The `view` of a live session whose page shows a temporary chat.

    Attributes:
        messages: The drawn messages.
        history: Questions and answers, oldest first.
        turn: Reads the turn that runs.
    """

    messages: list[DrawnMessage] = field(default_factory=list)
    history: list[ContextMessage] = field(default_factory=list)
    turn: TurnReader | None = None

    @property
    def last_question(self) -> tuple[int, int]:
        """The indexes of the last question in `messages` and in `history`.

        Raises:
            NotFoundError: There is no question.
        """
        drawn = [i for i, item in enumerate(self.messages) if item["role"] == "user"]
        texts = [i for i, item in enumerate(self.history) if item.role == "user"]
        if not drawn or not texts:
            raise NotFoundError(wording("There is nothing to answer once more yet."))
        return drawn[-1], texts[-1]

    def is_last(self, seq: int | None) -> bool:
        """Return whether a question is the last one, as the question of no seq is."""
        return seq in (None, self.history[self.last_question[1]].seq)

    async def stop(self) -> None:
        """Stop the running answer; what has come of it stays on the page."""
        if self.turn is not None:
            self.turn.stop()
            await self.turn.ended()


def temporary_chat(session: LiveSession, key: object = "") -> TemporaryChat | None:
    """Return the temporary chat of a session; None where its page shows an ordinary one.

    Args:
        session: The page's session.
        key: The key of a message: it says whether the page shows a temporary chat.

    Raises:
        NotFoundError: The page shows a temporary chat that the process does not have any more: its
            message must not be stored in an ordinary one.
    """
    if isinstance(session.view, TemporaryChat):
        return session.view
    if isinstance(key, str) and key.startswith(KEY_MARK):
        raise NotFoundError(GONE)
    return None


class TemporaryAnswers:
    """Answers messages of temporary chats; nothing of them is stored or logged.

    Args:
        service: Runs the turns.
        budget: Tokens of the conversation that the model sees.
    """

    def __init__(self, service: ChatService, budget: int) -> None:
        self._service = service
        self._budget = budget

    async def answer(
        self,
        session: LiveSession,
        chat: TemporaryChat,
        text: str,
        choice: tuple[str | None, str | None] = (None, None),
        visitor_key: SecretStr | None = None,
    ) -> AsyncGenerator[list[DrawnMessage]]:
        """Yield the page's messages while a further message is answered.

        Args:
            session: The page's session.
            chat: Its chat.
            text: The message.
            choice: The model and the effort that the user has chosen.
            visitor_key: The user's own key for the model.

        Raises:
            UserError: The answer cannot begin; the chat stays as it is.
        """
        chars = sum(len(item.content) for item in chat.history)
        if len(chat.messages) >= MAX_MESSAGES or chars + len(text) > MAX_CHARS:
            raise InvalidMessageError(TOO_LONG)
        answering = self._answer(
            session, chat, text, chat.messages, chat.history, choice, visitor_key
        )
        async with contextlib.aclosing(answering) as drawn:
            async for messages in drawn:
                yield messages

    async def answer_again(
        self,
        session: LiveSession,
        chat: TemporaryChat,
        text: str | None,
        visitor_key: SecretStr | None = None,
    ) -> AsyncGenerator[list[DrawnMessage]]:
        """Yield the page's messages while the last question, or its edited `text`, is answered."""
        drawn, position = chat.last_question
        question = chat.history[position].content if text is None else text
        above, earlier = chat.messages[:drawn], chat.history[:position]
        answering = self._answer(session, chat, question, above, earlier, (None, None), visitor_key)
        async with contextlib.aclosing(answering) as values:
            async for messages in values:
                yield messages

    async def _answer(
        self,
        session: LiveSession,
        chat: TemporaryChat,
        text: str,
        above: Sequence[DrawnMessage],
        earlier: Sequence[ContextMessage],
        choice: tuple[str | None, str | None],
        visitor_key: SecretStr | None,
    ) -> AsyncGenerator[list[DrawnMessage]]:
        if chat.turn is not None:
            raise ConversationInUseError
        question = ContextMessage(len(earlier) + 1, "user", text)
        window = fit([question, *reversed(earlier)], self._budget)
        turn = chat.turn = self._service.complete(
            session,
            [HistoryMessage(item.role, item.content) for item in window],
            model=choice[0],
            effort=choice[1],
            visitor_key=visitor_key,
            is_private=True,
        )
        question_part = message("user", turn.text, {"seq": question.seq})
        live, answer = (
            LiveAnswer([*above, question_part], session.language, seq=question.seq + 1),
            AnswerAccumulator(),
        )
        has_begun = False
        try:
            async with turn:
                if has_begun := await turn.begun():
                    yield live.drawn()
                async for event in turn:
                    live.add(event)
                    if not isinstance(event, TurnStarted | TurnFinished):
                        answer.add(event)
                    yield live.drawn()
        finally:
            chat.turn = None
            if has_begun:
                reply = ContextMessage(question.seq + 1, "assistant", answer.text)
                chat.messages, chat.history = live.drawn(), [*earlier, question, reply]

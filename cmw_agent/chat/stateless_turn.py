"""A turn of which nothing is stored: the caller brings the whole conversation."""

import asyncio
from collections.abc import Callable, Sequence

from pydantic import SecretStr

from cmw_agent.agent.agent import Ask
from cmw_agent.agent.client_tools import ClientTools
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.dependencies import ChatDependencies
from cmw_agent.chat.model_choice import ModelChoice
from cmw_agent.chat.turn import AgentRequest, Beginning
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.events import TextDelta, TurnEvent, TurnFinished
from cmw_agent.llm.chat_model import NO_EXTRA_BODY, ExtraBody, HistoryMessage
from memory.records import TurnSignals

NO_PICTURES = "(The model made a picture, which is not given where nothing is stored.)"


class StatelessTurn:
    """Has the agent answer what the caller has brought; otherwise as `StoredTurn`.

    Connected tools are off, and of the agent's own those that change something: there is no
    conversation in which their user could be asked.

    Args:
        dependencies: What turns share.
        session: Whose answer it is.
        messages: The conversation.
        instructions: What the model is told beside the agent's prompt, if anything.
        choice: The model that is to answer and its effort, where they are not the agent's.
        parameters: Parameters of chat completions that the caller sets.
        client_tools: Tools that the caller runs itself.
        visitor_key: The user's own key for the model.
        is_private: Whether the logs name nobody.
    """

    needs_slot = True
    conversation: str | None = None

    def __init__(
        self,
        dependencies: ChatDependencies,
        session: LiveSession,
        messages: Sequence[HistoryMessage],
        instructions: str | None,
        choice: ModelChoice,
        *,
        parameters: ExtraBody = NO_EXTRA_BODY,
        client_tools: ClientTools | None = None,
        visitor_key: SecretStr | None = None,
        is_private: bool = False,
    ) -> None:
        self.session = session
        self._dependencies = dependencies
        self._messages = messages
        self._instructions = instructions
        self._choice = choice
        self._parameters = parameters
        self._visitor_key = visitor_key
        self.has_visitor_key = False  # whether the requests to the model carry it
        self._client_tools = client_tools or ClientTools()
        self.log_name = "-" if is_private else session.principal.log_name

    async def begin(self, profile: AgentProfile) -> Beginning:
        """Return at once: nothing is stored."""
        return Beginning()

    async def replay(self) -> list[TurnEvent]:
        """Return no events: no request is known, so none is repeated."""
        return []

    async def request(self, profile: AgentProfile, clock: asyncio.Timeout) -> AgentRequest:
        """Return what the agent is asked; no message is a command."""
        dependencies = self._dependencies
        dependencies.require_open(profile, self._choice.model)
        model = dependencies.model(profile, self._choice.model)
        instructions = "\n\n".join(filter(None, (profile.prompt, self._instructions)))
        answering = dependencies.run_models(
            self.session,
            profile,
            model,
            self._choice.requested_effort,
            self._parameters,
            visitor_key=self._visitor_key,
        )
        self.has_visitor_key = answering.has_visitor_key
        tools = self._client_tools
        ask = Ask(
            instructions=instructions,
            model=answering,
            client_tools=tools,
            toolset=dependencies.stateless_tools(self.session, profile),
            runner=dependencies.own_agents.get(profile.id).runner,
        )
        return AgentRequest(model, self._messages, ask)

    async def take_pictures(
        self, answer: AnswerAccumulator, emit: Callable[[TextDelta], None]
    ) -> None:
        """Store no picture, and say so in the answer: there is nothing that its owner could open."""
        emit(TextDelta(f"\n\n{NO_PICTURES}" if answer.text else NO_PICTURES))

    async def checkpoint(self, answer: AnswerAccumulator) -> TurnSignals:
        """Store nothing: there is no lease, and no other process can read or stop the turn."""
        return TurnSignals(is_watched=False, is_stop_requested=False)

    async def finish(
        self, finished: TurnFinished, answer: AnswerAccumulator, latency_ms: int
    ) -> bool:
        """Store nothing."""
        return True

    def keep_context(self, text: str) -> None:
        """Keep nothing: no turn follows."""

"""The models of one run: one answers, and where it fails before an answer the next one does.

A run stays with the model that has answered. What only one endpoint understands of a message,
such as a signature of its thoughts, is not sent to another.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import ModelSwitched
from cmw_agent.core.logs import get_logger
from cmw_agent.llm.accumulator import WIRE
from cmw_agent.llm.chat_model import (
    DirectChatModel,
    ExtraBody,
    HistoryMessage,
    ToolSchema,
    complete,
    complete_history,
)
from cmw_agent.llm.errors import StreamSilentError, UpstreamError
from cmw_agent.llm.estimates import prompt_tokens
from cmw_agent.llm.run_events import RunEvents

log = get_logger(__name__)

# Failures of a request that another model would refuse as well.
LASTING = frozenset({"moderated", "rejected", "withheld", "cut_call", "text_call"})
TOO_LONG = "too_long"
ANSWERED_BY = "model_id"  # in the metadata of a message


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A model, with what its requests bring in one run.

    Args:
        id: The model's id.
        model: The chat model.
        fields: Further fields of each request.
        budget: Tokens of instructions and conversation that it gets; None for no bound.
    """

    id: str
    model: BaseChatModel = field(repr=False)
    fields: ExtraBody = field(repr=False)
    budget: int | None = None


class RunModels(DirectChatModel):
    """The models of one run, of which one answers at a time.

    Args:
        line: The models, in the order in which they are asked; at least one.
        has_visitor_key: Whether requests to them carry the visitor's own key.
    """

    def __init__(self, line: Sequence[BoundModel], *, has_visitor_key: bool = False) -> None:
        self._line = tuple(line)
        self.has_visitor_key = has_visitor_key
        self._position = 0

    @property
    def line(self) -> Sequence[BoundModel]:
        """The models in the order in which they are asked."""
        return self._line

    @property
    def current(self) -> BoundModel:
        """The model that answers now."""
        return self._line[self._position]

    async def complete(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
    ) -> AIMessage:
        """Return the message that continues `messages`, of the first model that gives one."""

        async def ask(bound: BoundModel) -> AIMessage:
            own = [_known_to(bound, message) for message in _fitting(messages, bound.budget)]
            return await complete(bound.model, own, tools, events, {**bound.fields, **extra_body})

        return await self._first(ask, events)

    async def complete_history(
        self,
        instructions: str,
        history: Sequence[HistoryMessage],
        tools: Sequence[ToolSchema],
        events: RunEvents,
        extra_body: ExtraBody,
    ) -> AIMessage:
        """Return the message that continues `history`, of the first model that gives one."""

        async def ask(bound: BoundModel) -> AIMessage:
            own = _newest(history, bound.budget, instructions)
            fields = {**bound.fields, **extra_body}
            return await complete_history(bound.model, instructions, own, tools, events, fields)

        return await self._first(ask, events)

    async def _first(
        self, ask: Callable[[BoundModel], Awaitable[AIMessage]], events: RunEvents
    ) -> AIMessage:
        while True:
            bound, failed = self.current, events.budget.failed
            try:
                message = await ask(bound)
                message.response_metadata[ANSWERED_BY] = bound.id
                return message
            except (UpstreamError, ModelFailedError, TimeoutError) as error:
                if events.budget.failed == failed:  # what came was no answer
                    events.budget.count()
                kind = getattr(error, "kind", StreamSilentError.kind)
                may_follow = not (events.has_text or events.budget.is_spent)
                position = self._following(kind) if may_follow else None
                if position is None:
                    events.emit_held()
                    raise
            except BaseException:
                events.emit_held()
                raise
            self._switch(kind, position, events)

    def _following(self, kind: str) -> int | None:
        """Return the position of the next model that may answer after a failure, if there is one."""
        positions = range(self._position + 1, len(self._line))
        return next((n for n in positions if _may_pass(kind, self.current, self._line[n])), None)

    def _switch(self, kind: str, position: int, events: RunEvents) -> None:
        failed = self.current.id
        self._position = position
        log.warning("another model answers", failed=failed, model=self.current.id, kind=kind)
        events.emit(ModelSwitched(failed, self.current.id))


def _may_pass(kind: str, failed: BoundModel, following: BoundModel) -> bool:
    if kind == TOO_LONG:
        is_known = (failed.budget, following.budget) != (None, None)
        return is_known and (following.budget or math.inf) > (failed.budget or 0)
    return kind not in LASTING


def _known_to(bound: BoundModel, message: BaseMessage) -> BaseMessage:
    """Return a message without what only the endpoint of another model understands."""
    if WIRE not in message.additional_kwargs:
        return message
    # Nobody's name stands in a message that a caller has brought along.
    if message.response_metadata.get(ANSWERED_BY) in (None, bound.id):
        return message
    extras = {name: v for name, v in message.additional_kwargs.items() if name != WIRE}
    return message.model_copy(update={"additional_kwargs": extras})


def _fitting(messages: Sequence[BaseMessage], budget: int | None) -> Sequence[BaseMessage]:
    """Return messages without the oldest of the conversation, where they exceed the budget."""
    if budget is None:
        return messages
    users = (i for i, message in enumerate(messages) if isinstance(message, HumanMessage))
    last = max(users, default=1)
    system, earlier, rest = messages[:1], messages[1:last], messages[last:]
    left = budget - sum(_tokens(message.content) for message in (*system, *rest))
    return [*system, *_within(earlier, left), *rest]


def _newest(
    history: Sequence[HistoryMessage], budget: int | None, instructions: str
) -> Sequence[HistoryMessage]:
    """Return the newest messages that fit the budget; those from the user's last one on always."""
    if budget is None:
        return history
    users = (i for i, message in enumerate(history) if message.role == "user")
    last = max(users, default=0)
    earlier, rest = history[:last], history[last:]
    left = budget - _tokens(instructions) - sum(_tokens(message.content) for message in rest)
    return [*_within(earlier, left), *rest]


def _within(messages: Sequence[Any], left: int) -> Sequence[Any]:
    """Return the newest messages that fit, from one of the user's on."""
    for position in range(len(messages) - 1, -1, -1):
        left -= _tokens(messages[position].content)
        if left < 0:
            newest = messages[position + 1 :]
            users = (i for i, message in enumerate(newest) if _is_users(message))
            return newest[next(users, len(newest)) :]
    return messages


def _is_users(message: HistoryMessage | BaseMessage) -> bool:
    if isinstance(message, HistoryMessage):
        return message.role == "user"
    return isinstance(message, HumanMessage)


def _tokens(content: Any) -> int:
    return prompt_tokens([content])

"""A turn as OpenAI's clients read it: one completion, or chunks as they come."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from cmw_agent.channels.common.problems import error_body
from cmw_agent.channels.common.turn_streams import ALIVE, events_until_end
from cmw_agent.chat.turn import Turn
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import TextDelta, TurnEvent, TurnFinished, UsageReported

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class ChatCompletionBuilder:
    """Folds a turn into one chat completion: its id, the model's name as the caller wrote it."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    texts: list[str] = field(default_factory=list)
    usage: dict[str, int] | None = None
    finished: TurnFinished | None = None

    def add(self, event: TurnEvent) -> None:
        """Add one event of the turn."""
        match event:
            case TextDelta(text):
                self.texts.append(text)
            case UsageReported(prompt_tokens, completion_tokens, is_estimate=False):
                before = self.usage or {}
                sums = (
                    before.get("prompt_tokens", 0) + prompt_tokens,
                    before.get("completion_tokens", 0) + completion_tokens,
                )
                self.usage = {
                    "prompt_tokens": sums[0],
                    "completion_tokens": sums[1],
                    "total_tokens": sum(sums),
                }
            case TurnFinished():
                self.finished = event

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self.texts)

    @property
    def failure(self) -> UserError | None:
        """Why there is no whole answer; None where there is one."""
        finished = self.finished
        if finished is not None and finished.outcome == "complete":
            return None
        sentence = finished.sentence if finished is not None else None
        error_id = finished.error_id if finished is not None else None
        return UserError(sentence or "The answer was cut short.", status=502, error_id=error_id)

    def completion(self) -> dict[str, Any]:
        """Return the whole answer."""
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return self._head("chat.completion") | {"choices": [choice], "usage": self.usage}

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """Return a chunk of the answer."""
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish, "logprobs": None}
        return _data(self._head("chat.completion.chunk") | {"choices": [choice]})

    def usage_chunk(self) -> bytes:
        """Return the chunk with the token usage."""
        head = self._head("chat.completion.chunk")
        return _data(head | {"choices": [], "usage": self.usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


async def collect(turn: Turn, first: TurnEvent, completion: ChatCompletionBuilder) -> None:
    """Add all events of a turn, which has begun with `first`, to a completion.

    Raises:
        UserError: There is no whole answer.
    """
    completion.add(first)
    async with turn:
        async for event in turn:
            completion.add(event)
    if (failure := completion.failure) is not None:
        raise failure


async def chunks(
    turn: Turn, first: TurnEvent, completion: ChatCompletionBuilder, *, with_usage: bool
) -> AsyncIterator[bytes]:
    """Yield a turn as server-sent chunks; the `TurnResponse` that writes them leaves it."""
    yield completion.chunk({"role": "assistant", "content": ""})
    async with contextlib.aclosing(events_until_end(turn, first)) as events:
        async for event in events:
            if event is None:
                yield ALIVE
                continue
            completion.add(event)
            if isinstance(event, TextDelta):
                yield completion.chunk({"content": event.text})
    if (failure := completion.failure) is not None:
        yield _data(error_body(failure))
    else:
        for piece in final_chunks(completion, with_usage=with_usage):
            yield piece
    yield DONE


def final_chunks(completion: ChatCompletionBuilder, *, with_usage: bool) -> list[bytes]:
    """Return the chunks that end a whole answer."""
    end = [completion.chunk({}, "stop")]
    return [*end, completion.usage_chunk()] if with_usage else end


def _data(content: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(dict(content))

"""A turn as OpenAI's clients read it: one completion, or chunks as they come."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from cmw_agent.channels.common.problems import error_body
from cmw_agent.channels.common.turn_streams import ALIVE, events_until_end
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.turn import TurnReader
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import (
    ClientToolsCalled,
    Source,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    UsageReported,
)
from cmw_agent.language import Language, languages, wording

DONE = b"data: [DONE]\n\n"


# How an answer ends for such clients. They know no word for a server that does not say how its
# answer ended: `native_finish_reason`, a field of OpenRouter's, has the app's own.
FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stop": "stop",
        "length": "length",
        "content_filter": "content_filter",
        "missing": "stop",
    }
)


@dataclass(slots=True)
class ChatCompletionBuilder:
    """Folds a turn into one chat completion.

    Args:
        model: The model's name as the caller wrote it.
        files_url: Address below which the caller opens pictures; None where nothing is stored.
        language: The language of errors.
    """

    model: str
    files_url: str | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    answer: AnswerAccumulator = field(default_factory=AnswerAccumulator)
    usage: dict[str, Any] | None = None
    finished: TurnFinished | None = None
    language: Language = field(default_factory=lambda: languages().english)
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, event: TurnEvent) -> None:
        """Add one event of the turn."""
        match event:
            case TurnFinished():
                self.finished = event
            case TurnStarted():
                pass
            case _:
                self.answer.add(event)
                if isinstance(event, ClientToolsCalled):
                    self.calls.extend(event.calls)
                if isinstance(event, UsageReported) and not event.is_estimate:
                    self._count(event)

    def _count(self, reported: UsageReported) -> None:
        before = self.usage or {}
        sums = (
            before.get("prompt_tokens", 0) + reported.input_tokens,
            before.get("completion_tokens", 0) + reported.output_tokens,
        )
        self.usage = {
            "prompt_tokens": sums[0],
            "completion_tokens": sums[1],
            "total_tokens": sum(sums),
            "prompt_tokens_details": {"cached_tokens": self.answer.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.answer.reasoning_tokens},
        }

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return self.answer.text

    @property
    def finish_reason(self) -> str | None:
        """How the answer has ended, in such clients' words; None for one that is not whole."""
        finished = self.finished
        if finished is None:
            return None
        reason = finished.finish_reason or ("stop" if finished.outcome == "complete" else "")
        given = FINISH_REASONS.get(reason)
        return "tool_calls" if self.calls and given == "stop" else given

    @property
    def failure(self) -> UserError | None:
        """Why there is no answer to give; None where there is one, also where it was cut."""
        finished = self.finished
        if self.finish_reason is not None:
            return None
        sentence = finished.sentence if finished is not None else None
        error_id = finished.error_id if finished is not None else None
        return UserError(
            sentence or wording("The answer was cut short."), status=502, error_id=error_id
        )

    def completion(self) -> dict[str, Any]:
        """Return the whole answer."""
        content = (self.text or None) if self.calls else self.text
        message: dict[str, Any] = {"role": "assistant", "content": content} | self._further()
        if self.calls:
            message["tool_calls"] = self.calls
        if self.answer.thinking:
            message["reasoning_content"] = self.answer.thinking
        choice = {"index": 0, "message": message, "logprobs": None} | self._end()
        return self._head("chat.completion") | {"choices": [choice], "usage": self.usage}

    def final_chunk(self) -> bytes:
        """Return the chunk that ends the answer, with its sources and pictures."""
        return self.chunk(self._further(), self._end())

    def _end(self) -> dict[str, Any]:
        end = {"finish_reason": self.finish_reason or "stop"}
        is_missing = self.finished is not None and self.finished.finish_reason == "missing"
        return end | {"native_finish_reason": "missing"} if is_missing else end

    def _further(self) -> dict[str, Any]:
        """Return what a message has beside its text: citations and pictures."""
        further: dict[str, Any] = {}
        if self.answer.sources:
            at = len(self.text)
            further["annotations"] = [_annotation(source, at) for source in self.answer.sources]
        if self.answer.stored_pictures and self.files_url is not None:
            urls = [f"{self.files_url}/{item.file_id}" for item in self.answer.stored_pictures]
            further["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return further

    def chunk(self, delta: Mapping[str, Any], end: Mapping[str, Any] | None = None) -> bytes:
        """Return a chunk of the answer; `end` has the fields of the last one."""
        choice = {"index": 0, "delta": dict(delta), "finish_reason": None, "logprobs": None}
        choice |= end or {}
        return _data(self._head("chat.completion.chunk") | {"choices": [choice]})

    def usage_chunk(self) -> bytes:
        """Return the chunk with the token usage."""
        head = self._head("chat.completion.chunk")
        return _data(head | {"choices": [], "usage": self.usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


async def collect(
    turn: TurnReader, first: TurnEvent | None, completion: ChatCompletionBuilder
) -> None:
    """Add all events of a turn, which has begun with `first`, to a completion.

    Raises:
        UserError: There is no whole answer.
    """
    if first is not None:
        completion.add(first)
    async with turn:
        async for event in turn:
            completion.add(event)
    if (failure := completion.failure) is not None:
        raise failure


async def chunks(
    turn: TurnReader,
    first: TurnEvent | None,
    completion: ChatCompletionBuilder,
    *,
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """Yield a turn as server-sent chunks; the `TurnResponse` that writes them leaves it."""
    yield completion.chunk({"role": "assistant", "content": ""})
    async with contextlib.aclosing(events_until_end(turn, first)) as events:
        async for event in events:
            if event is None:
                yield ALIVE
                continue
            thought = len(completion.answer.thinking) if isinstance(event, TextWasThinking) else 0
            completion.add(event)
            if isinstance(event, TextDelta):
                yield completion.chunk({"content": event.text})
            elif isinstance(event, ThinkingDelta):
                yield completion.chunk({"reasoning_content": event.text})
            elif isinstance(event, TextWasThinking):
                # What such a client has read stays read: no event of this form takes text back.
                yield completion.chunk({"reasoning_content": completion.answer.thinking[thought:]})
            elif isinstance(event, ClientToolsCalled):
                calls = [{"index": index, **call} for index, call in enumerate(event.calls)]
                yield completion.chunk({"tool_calls": calls})
    if (failure := completion.failure) is not None:
        yield _data(error_body(failure, completion.language))
    else:
        for piece in final_chunks(completion, with_usage=with_usage):
            yield piece
    yield DONE


def final_chunks(completion: ChatCompletionBuilder, *, with_usage: bool) -> list[bytes]:
    """Return the chunks that end a whole answer."""
    end = [completion.final_chunk()]
    return [*end, completion.usage_chunk()] if with_usage else end


def _annotation(source: Source, at: int) -> dict[str, Any]:
    """Return a source as OpenAI's clients read citations; its place in the text is not known."""
    citation = {"url": source.url, "title": source.title, "start_index": at, "end_index": at}
    return {"type": "url_citation", "url_citation": citation}


def _data(content: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(dict(content))

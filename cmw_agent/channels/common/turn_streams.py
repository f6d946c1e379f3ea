"""Turns as programs and websites read them: one answer, or events as they come.

The events, each with a JSON object:

- ``started``: ``turn``
- ``delta``: ``text``, which is appended to what came before
- ``replaced``: ``response``, the text so far in place of all that came before: the rest of it was
  the model's thoughts
- ``thinking``: ``text``, more of the model's thoughts; only where they were asked for
- ``tool``: ``call``, ``name``, ``arguments``
- ``tool_progress``: ``call``, ``name``, ``done``, and where the tool says them ``total`` and
  ``message``: how far the tool has come, twice a second at most
- ``tool_done``: ``call``, ``name``, ``ok``, ``seconds``, ``link`` where the user is to open one
- ``approval``: ``call``, ``name``, ``tool_call``: the user is asked before the tool runs. ``call``
  is the approval's own id, which the decision names; ``tool_call`` is the ``call`` of ``tool``
- ``approval_done``: ``call``, ``answer``, ``arguments``, ``tool_call``: with which the tool runs now
- ``sources``: ``sources``, each with ``url`` and ``title``: further ones that the answer cites
- ``picture``: ``id``, ``name``, ``url`` where there is one: a picture of the answer is stored
- ``model``: ``failed``, ``model``: a model failed, and another one answers
- ``done``: ``response``, the whole answer, and its ``metadata``
- ``error``: a problem document (RFC 9457); what came before it is kept
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cmw_agent.channels.common.problems import document
from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.chat.turn import TurnReader
from cmw_agent.core.errors import ServiceUnavailableError, UserError
from cmw_agent.core.events import (
    ApprovalRequested,
    ApprovalSettled,
    ModelSwitched,
    PictureStored,
    SourcesCited,
    TextDelta,
    TextWasThinking,
    ThinkingDelta,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from cmw_agent.core.sources import CitedSource
from cmw_agent.language import Language, joined, languages, wording

EVENTS = "text/event-stream"
ALIVE_SECONDS = 15.0  # between two bytes of a silent answer
ALIVE = b": still here\n\n"
UNSEEN = wording("The answer has a picture, which cannot be shown here.")
STOPPED = wording("Your message was stopped before it was stored; please send it again.")
UNBUFFERED = {"x-accel-buffering": "no"}  # a proxy such as nginx hands each event on at once


@dataclass(frozen=True, slots=True)
class Shape:
    """What a reader gets of an answer beside its text.

    Args:
        files_url: Address below which the reader opens files, by their ids; None where it cannot.
        with_thinking: Whether it gets the model's thoughts.
        language: The language of sentences beside the answer.
    """

    files_url: str | None = None
    with_thinking: bool = False
    language: Language = field(default_factory=lambda: languages().english)

    def picture(self, file_id: str, name: str) -> dict[str, str]:
        """Return a picture of the answer as the reader gets it."""
        item = {"id": file_id, "name": name}
        return item if self.files_url is None else item | {"url": f"{self.files_url}/{file_id}"}


@dataclass(slots=True)
class TurnResult:
    """The events of a turn so far, folded into an answer of one shape."""

    shape: Shape = field(default_factory=Shape)
    answer: AnswerAccumulator = field(default_factory=AnswerAccumulator)
    tools: list[dict[str, Any]] = field(default_factory=list)
    finished: TurnFinished | None = None

    def add(self, event: TurnEvent) -> None:
        """Add one event."""
        match event:
            case TurnFinished():
                self.finished = event
            case TurnStarted():
                pass
            case _:
                self.answer.add(event)
                if isinstance(event, ToolFinished):
                    self.tools.append(_tool_done(event))

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return self.answer.text

    @property
    def metadata(self) -> dict[str, Any]:
        """The answer's metadata, as clients get it."""
        finished, notice = self.finished, self._notice()
        error_id = finished.error_id if finished else None
        return {
            "status": finished.outcome if finished else "interrupted",
            "tokens": finished.tokens if finished else None,
            "tools": self.tools,
            "finish_reason": finished.finish_reason if finished else None,
            **({"notice": notice} if notice else {}),
            **({"error_id": error_id} if error_id else {}),
            **self._further(),
        }

    def _notice(self) -> str:
        sentence = self.finished.sentence if self.finished is not None else None
        is_unseen = self.answer.stored_pictures and self.shape.files_url is None
        notice = joined(sentence, UNSEEN if is_unseen else None)
        return self.shape.language.translate(notice)

    def _further(self) -> dict[str, Any]:
        answer, shape = self.answer, self.shape
        pictures = [shape.picture(item.file_id, item.name) for item in answer.stored_pictures]
        further: dict[str, Any] = {
            "sources": source_items(answer.sources),
            "pictures": pictures,
            "model": answer.switched.model if answer.switched is not None else None,
            "thinking": answer.thinking if shape.with_thinking else "",
        }
        return {name: value for name, value in further.items() if value}

    @property
    def failure(self) -> UserError | None:
        """Why there is no answer at all; None where there is one."""
        finished = self.finished
        if finished is None or finished.outcome != "failed":
            return None
        return UserError(finished.sentence, status=502, error_id=finished.error_id)


async def read_result(turn: TurnReader, shape: Shape | None = None) -> TurnResult:
    """Wait until a turn has ended and return its result.

    Raises:
        UserError: It could not begin, or ended without an answer.
    """
    result = TurnResult(shape or Shape())
    async with turn:
        async for event in turn:
            result.add(event)
    if (failure := result.failure) is not None:
        raise failure
    return result


class TurnResponse(StreamingResponse):
    """A streamed response of a turn's events; the turn is left when the response ends.

    Args:
        turn: Left when the client goes, also before the first event was written.
        events: What is written of it.
        headers: Of the response.
    """

    media_type = EVENTS

    def __init__(
        self,
        turn: TurnReader,
        events: AsyncIterator[bytes],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(events, headers=UNBUFFERED | dict(headers or {}))
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turn:
            await super().__call__(scope, receive, send)


@contextlib.asynccontextmanager
async def stop_when_client_leaves(request: Request, turn: TurnReader) -> AsyncIterator[None]:
    """Stop a turn when the client of `request` goes while the block runs.

    What has come of it is kept. The request's body must have been read.
    """
    watch = asyncio.create_task(_watch(request, turn), name="client-watch")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def _watch(request: Request, turn: TurnReader) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    turn.stop()


async def wait_until_begun(turn: TurnReader) -> TurnEvent:
    """Wait until a turn has begun, and return its first event.

    Raises:
        UserError: It could not begin, or was stopped before it did; nothing was stored, and a
            stream of events was of no use then.
    """
    try:
        return await anext(turn)
    except StopAsyncIteration:
        raise ServiceUnavailableError(STOPPED) from None
    except BaseException:
        await turn.close()
        raise


async def first_of_stream(turn: TurnReader) -> TurnEvent | None:
    """Return a turn's first event; None after a silence, when its stream begins without it.

    Raises:
        UserError: See `wait_until_begun`.
    """
    # A model may think for minutes, and proxies end a request that is silent for so long.
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            return await anext(turn)
    except TimeoutError:
        return None
    except StopAsyncIteration:
        raise ServiceUnavailableError(STOPPED) from None
    except BaseException:
        await turn.close()
        raise


async def server_sent(
    turn: TurnReader,
    first: TurnEvent,
    extra: Mapping[str, Any] | None = None,
    shape: Shape | None = None,
) -> AsyncIterator[bytes]:
    """Yield a turn's events as server-sent events (WHATWG HTML, section 9.2).

    Args:
        turn: A `TurnResponse`'s, which leaves it.
        first: The event that `wait_until_begun` has returned.
        extra: Fields that ``started`` and ``done`` get beside their own.
        shape: What the reader gets beside the answer's text.
    """
    result = TurnResult(shape or Shape())
    extra_fields = dict(extra or {})
    async with contextlib.aclosing(events_until_end(turn, first)) as events:
        async for event in events:
            if event is None:
                yield ALIVE
                continue
            result.add(event)
            if (chunk := _event_bytes(event, result, extra_fields)) is not None:
                yield chunk


async def events_until_end(
    turn: TurnReader, first: TurnEvent | None
) -> AsyncGenerator[TurnEvent | None]:
    """Yield a turn's events; None after each silence, and a `TurnFinished` last of all.

    Args:
        turn: The turn; nothing is raised where it ends without a last event, or is refused midway.
        first: The event that `wait_until_begun` or `first_of_stream` has returned.
    """
    event = first
    yield event
    while not isinstance(event, TurnFinished):
        event = await next_event(turn)
        yield event


async def next_event(turn: TurnReader) -> TurnEvent | None:
    """Return the next event, or None after a silence.

    A turn that has none left, and gave no `TurnFinished`, gets one here.
    """
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            return await anext(turn)
    except TimeoutError:
        return None
    except StopAsyncIteration:
        return TurnFinished("interrupted")
    except UserError as error:
        return TurnFinished("failed", error.sentence, error.error_id)


def _event_bytes(
    event: TurnEvent, result: TurnResult, extra_fields: dict[str, Any]
) -> bytes | None:
    match event:
        case TurnStarted(turn_id):
            return sse("started", extra_fields | {"turn": turn_id})
        case TextDelta(text):
            return sse("delta", {"text": text})
        case ToolStarted(call_id, name, arguments):
            return sse("tool", {"call": call_id, "name": name, "arguments": dict(arguments)})
        case ToolProgressed():
            return sse("tool_progress", _tool_progress(event))
        case ToolFinished():
            return sse("tool_done", _tool_done(event))
        case ApprovalRequested(call_id, name, approval_id):
            return sse("approval", {"call": approval_id, "name": name, "tool_call": call_id})
        case ApprovalSettled(call_id, answer, arguments, approval_id):
            done = {"call": approval_id, "answer": answer, "arguments": dict(arguments)}
            return sse("approval_done", done | {"tool_call": call_id})
        case TurnFinished():
            if (failure := result.failure) is not None:
                return sse("error", document(failure, result.shape.language))
            return sse(
                "done", extra_fields | {"response": result.text, "metadata": result.metadata}
            )
    return _further_bytes(event, result)


def _further_bytes(event: TurnEvent, result: TurnResult) -> bytes | None:
    match event:
        case ThinkingDelta(text) if result.shape.with_thinking:
            return sse("thinking", {"text": text})
        case TextWasThinking():
            return sse("replaced", {"response": result.text})
        case SourcesCited(sources):
            return sse("sources", {"sources": source_items(sources)})
        case PictureStored(file_id, name):
            return sse("picture", result.shape.picture(file_id, name))
        case ModelSwitched(failed, model):
            return sse("model", {"failed": failed, "model": model})
    return None


def source_items(sources: Iterable[CitedSource]) -> list[dict[str, str]]:
    """Return sources as readers get them."""
    return [{"url": source.url, "title": source.title} for source in sources]


def _tool_progress(event: ToolProgressed) -> dict[str, Any]:
    progress = {"call": event.call_id, "name": event.name, "done": event.done}
    more = {"total": event.total, "message": event.message or None}
    return progress | {key: value for key, value in more.items() if value is not None}


def _tool_done(event: ToolFinished) -> dict[str, Any]:
    done = {"call": event.call_id, "name": event.name, "ok": event.ok, "seconds": event.seconds}
    return done | {"link": event.link} if event.link else done


def sse(name: str, content: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(dict(content)))

"""Writes the steps of an answer of the OpenAI double to a connection, streamed or whole."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.doubles.openai_http import Connection
from tests.doubles.openai_steps import (
    Cut,
    Fail,
    Gate,
    Hang,
    Plain,
    Raw,
    Request,
    Start,
    Step,
    Stop,
    Text,
    Thoughts,
    ToolCalls,
    Wait,
)
from tests.doubles.openai_wire import (
    DONE,
    EVENT_STREAM,
    LAST_FRAME,
    Completion,
    error_body,
    frame,
    head,
)

PIECE = 8  # characters of a tool call's arguments in one chunk


class Answer:
    """One answer while it is written.

    Args:
        connection: The client's connection.
        request: The request; its record is updated.
        rate: The endpoint's rate in tokens a second; 0 for no pause.
        changed: Called whenever a field of `request` that tests wait for has changed.
    """

    def __init__(
        self, connection: Connection, request: Request, rate: float, changed: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._request = request
        self._rate = rate
        self._changed = changed
        self._streamed = bool(request.body.get("stream"))
        options = request.body.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._completion = Completion(request.model, with_usage=with_usage)
        self._head_sent = False
        self._role_sent = False
        self._text: list[str] = []
        self._calls: list[Mapping[str, Any]] = []

    async def play(self, plan: Sequence[Step]) -> bool:
        """Write the whole answer; return False when a step dropped the connection."""
        for step in plan:
            if isinstance(step, Cut):
                self._connection.drop()
                return False
            if self._write_end(step):
                return True
            await self._write_step(step)
        self._finish()
        return True

    def _write_end(self, step: Step) -> bool:
        """Write the end of the answer if `step` is one; return whether it is."""
        match step:
            case Plain(status, body, headers, content_type):
                self._respond(status, body, headers, content_type)
            case Raw(_, plain) if plain and not self._streamed:
                self._respond(200, plain)
            case Fail(message):
                self._fail(message)
            case Stop(done):
                self._stop(done)
            case _:
                return False
        return True

    async def _write_step(self, step: Step) -> None:
        match step:
            case Start():
                self._open()
            case Text(tokens, rate):
                await self._write_text(tokens, self._rate if rate is None else rate)
            case Thoughts(tokens, rate):
                await self._write_thoughts(tokens, self._rate if rate is None else rate)
            case ToolCalls(calls, call_id):
                self._call(calls, call_id)
            case Gate():
                await self._wait_at_gate()
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Raw(data, _) if self._streamed:
                self._write(frame(data))

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"content-type": content_type, "x-request-id": self._completion.id}
        if self._request.set_cookie:
            headers["set-cookie"] = self._request.set_cookie
        return headers

    def _open(self) -> None:
        if self._streamed and not self._head_sent:
            self._head_sent = True
            headers = {**self._headers(EVENT_STREAM), "cache-control": "no-cache"}
            self._connection.write(head(200, {**headers, "transfer-encoding": "chunked"}))

    def _write(self, data: bytes) -> None:
        self._open()
        self._connection.write(data)

    def _respond(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        length = {"content-length": str(len(body))}
        fields = {**self._headers(content_type), **(headers or {}), **length}
        self._connection.write(head(status, fields) + body)

    def _begin_message(self) -> None:
        if not self._role_sent:
            self._role_sent = True
            self._write(self._completion.role())

    async def _write_text(self, tokens: Sequence[str], rate: float) -> None:
        if not self._streamed:
            self._text.extend(tokens)
            self._sent(len(tokens))
            await asyncio.sleep(len(tokens) / rate if rate else 0)
            return
        if tokens:
            self._begin_message()
        await self._write_frames(map(self._completion.token, tokens), rate)

    async def _write_thoughts(self, tokens: Sequence[str], rate: float) -> None:
        if self._streamed:  # a whole answer goes without them
            self._begin_message()
            delta = self._completion.delta
            await self._write_frames((delta({"reasoning_content": t}) for t in tokens), rate)

    async def _write_frames(self, frames: Iterator[bytes], rate: float) -> None:
        if rate:
            await self._connection.paced(frames, rate, self._sent)
        else:
            await self._connection.burst(frames, self._sent)

    def _sent(self, count: int) -> None:
        self._request.tokens_sent += count
        self._changed()

    def _call(self, calls: Sequence[tuple[str, str]], same_id: str) -> None:
        for index, (name, arguments) in enumerate(calls, start=len(self._calls)):
            call_id = f"call_{self._completion.id.removeprefix('chatcmpl-')}{index}"
            call = {"id": same_id or call_id, "type": "function"}
            self._calls.append({**call, "function": {"name": name, "arguments": arguments}})
            if not self._streamed:
                continue
            self._begin_message()
            first = {**call, "function": {"name": name, "arguments": ""}}
            self._write_call({"index": index, **first})
            for at in range(0, len(arguments), PIECE):
                piece = {"arguments": arguments[at : at + PIECE]}
                self._write_call({"index": index, "function": piece})

    def _write_call(self, fragment: Mapping[str, Any]) -> None:
        self._write(self._completion.delta({"tool_calls": [fragment]}))

    async def _wait_at_gate(self) -> None:
        self._request.held = True
        self._changed()
        await self._request.gate.acquire()
        self._request.held = False

    def _fail(self, message: str) -> None:
        if self._streamed:
            event = self._completion.failure(message)
            self._write(frame(event) + frame(DONE) + LAST_FRAME)
        else:
            self._respond(200, error_body(message, kind="server_error", code=None))

    def _stop(self, done: bool) -> None:
        if self._streamed:
            self._write((frame(DONE) if done else b"") + LAST_FRAME)
        else:
            self._respond(200, self._completion.whole(None, [], None, self._usage()))

    def _finish(self) -> None:
        reason = "tool_calls" if self._calls else "stop"
        if self._streamed:
            self._begin_message()
            self._write(self._completion.end(reason, self._usage()))
        else:
            content = "".join(self._text) if self._text or not self._calls else None
            whole = self._completion.whole(content, self._calls, reason, self._usage())
            self._respond(200, whole)

    def _usage(self) -> dict[str, int]:
        """Return the usage: words of the request's messages, and tokens and tool calls of the answer."""
        prompt = sum(len(str(m.get("content", "")).split()) for m in self._request.messages)
        completion = self._request.tokens_sent + len(self._calls)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

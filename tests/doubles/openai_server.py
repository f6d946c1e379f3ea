"""An OpenAI-compatible endpoint for tests and benchmarks: a real HTTP server.

Inside a test's event loop::

    async with OpenAIDouble() as endpoint:
        client = AsyncOpenAI(base_url=endpoint.base_url, api_key="key", max_retries=0)

As a process that prints its base URL on the first line and serves until it is told to stop::

    python -m tests.doubles.openai_server --port 0 --rate 40 --tokens 200

The model's name selects the answer; an unknown name is answered like `default`. N is optional
where brackets name a default.

=================  =================================================================================
echo               "You said: " and the last user message, word by word
memory             greets a user who gives a name, and finds it later in the request's messages
tokens-N[@RATE]    N tokens of fixed text, the user's first `canary-…` in front
tool:NAME:JSON     calls the tool with these arguments (`$message` in them is the user's text); once
                   the request holds its result, quotes it
tools:[{…}, …]     the same with several calls (name, arguments) in one answer
strict             echo, but 400 on stream_options and other fields beyond the oldest ones
gated-N [1]        echo that stops after N tokens until `release`
slow-first-N [300] echo after N milliseconds of silence (for a test, `gated-0` needs no clock)
fail-STATUS        an HTTP error; fail-429 says `Retry-After: 0`, fail-429-bare does not. Messages
                   quote the user's text, and for 401 the key, so leaks of them can be seen
cut-N [3]          N tokens, then the connection is dropped
truncated-N [3]    N tokens, then the end of the body without finish reason and [DONE]
hang, hang-before  one token, or nothing at all, then silence until the client goes away
not-sse            200 and an HTML page
bad-json           a data line that is not JSON
error-in-stream    an `error` object after the text, with status 200, as OpenRouter sends it
empty              200 and [DONE]
=================  =================================================================================

`/responses` has models of its own; see openai_responses.

Anything else is a script of one's own: `OpenAIDouble(scripts={"mine": script})`, a function from
the Request to the steps of its answer (see openai_steps). A script that raises is answered with
500, and the error is raised again when the endpoint closes.

With rate 0 the tokens of an answer go out in as few writes as possible, so that a client may find
several in one read; set a rate, or use `gated`, where a test needs them apart.
"""

import argparse
import asyncio
import json
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import uvloop

from tests.doubles import openai_embeddings, openai_responses
from tests.doubles.openai_answer import Answer
from tests.doubles.openai_audio import transcription
from tests.doubles.openai_http import Connection, Message
from tests.doubles.openai_models import LISTED_MODELS, built_in
from tests.doubles.openai_records import Records
from tests.doubles.openai_steps import Gate, Plain, Request, Script, Step
from tests.doubles.openai_wire import encode, error_body

_CHAT_PATH = "/v1/chat/completions"


class OpenAIDouble(Records):
    """The endpoint: an async context manager that serves on 127.0.0.1 while it is open.

    Args:
        rate: Tokens a second of every model; 0 for as fast as the client reads.
        default: The model that answers for unknown names.
        scripts: Further models by name; they take precedence over the built-in ones.
        set_cookie: Whether every response sets a new cookie, which no client may ever send back.
        keep: The largest number of recorded requests.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
    """

    def __init__(
        self,
        *,
        rate: float = 0.0,
        default: str = "echo",
        scripts: Mapping[str, Script] | None = None,
        set_cookie: bool = True,
        keep: int = 5000,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(keep)
        self.base_url = ""
        self.failures: list[Exception] = []
        self._rate = rate
        self._scripts = dict(scripts or {})
        fallback = self._script(default)
        if fallback is None:
            raise ValueError(f"no model {default!r} to fall back on")
        self._fallback = fallback
        self._set_cookie = set_cookie
        self._address = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        host, port = self._address
        self._server = await loop.create_server(
            lambda: Connection(self._handle, self._connections), host, port, backlog=2048
        )
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._server:
            self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while (
            self._connections
        ):  # transports close, and a last one may open, in the loop's next iterations
            for connection in list(self._connections):
                connection.abort()
            await asyncio.sleep(0)
        if self._server:
            await self._server.wait_closed()
        if self.failures and error is None:
            raise ExceptionGroup("scripts of the OpenAI double failed", self.failures)

    def _handle(self, connection: Connection, message: Message) -> asyncio.Task[bool]:
        """Record a request, select its answer, and return the task that writes it."""
        request = Request(
            message.method,
            message.path,
            message.headers,
            _json_object(message.body),
            asyncio.get_running_loop().time(),
        )
        if self._set_cookie:
            request.set_cookie = f"double={secrets.token_hex(8)}; Path=/"
        plan = transcription(message) or self._plan(request)
        request.gated = any(isinstance(step, Gate) for step in plan)
        answer = Answer(connection, request, self._rate, self._changed)
        task = asyncio.create_task(answer.play(plan))
        task.add_done_callback(lambda done: self._settle(connection, request, done))
        self._arrived(request, chat=request.path in (_CHAT_PATH, openai_responses.PATH))
        return task

    def _plan(self, request: Request) -> Sequence[Step]:
        if (request.method, request.path) == ("POST", _CHAT_PATH):
            return self._chat_plan(request)
        if (request.method, request.path) == ("POST", openai_responses.PATH):
            return openai_responses.plan(request)
        if (request.method, request.path) == ("POST", openai_embeddings.PATH):
            return openai_embeddings.embeddings(request)
        if (request.method, request.path) == ("GET", "/v1/models"):
            entry = {"object": "model", "created": 0, "owned_by": "double"}
            models = [{"id": name, **entry} for name in (*LISTED_MODELS, *self._scripts)]
            return [Plain(200, encode({"object": "list", "data": models}))]
        return [_invalid(404, f"no {request.method} {request.path} here")]

    def _script(self, name: str) -> Script | None:
        return self._scripts.get(name) or built_in(name)

    def _chat_plan(self, request: Request) -> Sequence[Step]:
        messages = request.body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            return [_invalid(400, "messages must be a list of objects")]
        name = request.model
        try:
            return (self._script(name) or self._fallback)(request)
        except Exception as error:  # noqa: BLE001 - raised again when the endpoint closes
            self.failures.append(error)
            return [_invalid(500, f"the script of {name} failed: {error!r}")]

    def _settle(self, connection: Connection, request: Request, done: asyncio.Task[bool]) -> None:
        if done.cancelled():
            request.aborted = connection.lost
        elif isinstance(error := done.exception(), Exception):
            self.failures.append(error)
            connection.abort()
        else:
            request.finished = done.result()
        self._settled(request)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _invalid(status: int, message: str) -> Plain:
    return Plain(status, error_body(message, kind="invalid_request_error", code=None))


@contextmanager
def refused_url() -> Iterator[str]:
    """Yield a base URL that refuses connections during the block.

    The port is bound but not listened on, so that no other program can use it.
    """
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    endpoint = OpenAIDouble(
        rate=arguments.rate,
        default=f"tokens-{arguments.tokens}",
        keep=0,  # nobody can read the record of another process
        port=arguments.port,
    )
    async with endpoint:
        print(endpoint.base_url, flush=True)  # noqa: T201 - whoever started it reads this
        await stop.wait()


def main() -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible endpoint for benchmarks")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--rate", type=float, default=40.0, help="tokens a second, 0: no pause")
    parser.add_argument("--tokens", type=int, default=200, help="of an answer of unknown models")
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()

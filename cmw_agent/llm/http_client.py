"""HTTP client of the model's server.

One connection pool serves all users, so it stores no cookies. Requests go directly
through aiohttp: the openai SDK inspects every message by its type hints and copies headers
and URLs at each layer, which takes longer than the rest of a turn's start; see
``docs/adr/0004-coalescing-at-the-source.md``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from cmw_agent.core.logs import get_logger
from cmw_agent.core.retry import retry
from cmw_agent.llm.adaptation import Adaptation
from cmw_agent.llm.adapted_request import AdaptedRequest
from cmw_agent.llm.endpoint import CONNECT_SECONDS, NO_HEADERS, Endpoint, read_error_body
from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import (
    RequestRefusedError,
    StreamCutError,
    StreamSilentError,
    UpstreamError,
)
from cmw_agent.llm.response_body import ResponseBody
from cmw_agent.llm.retries import RETRIES, RetryBudget, pause_before_retry, read_advice
from cmw_agent.recording.tape import Exchange, RunTape

log = get_logger(__name__)

KEEPALIVE_SECONDS = 30.0
MAX_MODELS = 200  # whose adaptations are remembered
# Errors of an adapted request that are reported instead of the first one: the request got further.
LATER_KINDS = frozenset({"too_long", "rate_limited", "no_credit", "moderated", "timeout"})


@dataclass(frozen=True, slots=True)
class _Sending:
    """One request on its way: its time-outs, its budget, the visitor's key, the tape that takes it."""

    request: AdaptedRequest
    limits: aiohttp.ClientTimeout
    budget: RetryBudget
    visitor_key: SecretStr | None
    model: str
    tape: RunTape | None


class Upstream:
    """Requests streamed completions from one endpoint. Close it before its event loop ends.

    What the endpoint refuses is left out: tools, parameters, the system role. That is remembered
    for each model, and holds nothing of any user.

    Args:
        base_url: URL of the endpoint, to which `path` is appended.
        key: API key, or None.
        read_seconds: Time-out of one read, in seconds.
        connections: Maximum number of open connections.
        headers: Further headers of each request.
        path: The path of the interface below `base_url`.
        endpoint: Takes the requests in place of the one at `base_url`.

    Raises:
        StartupError: A proxy or certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        read_seconds: float,
        connections: int,
        headers: Mapping[str, str] = NO_HEADERS,
        path: str = "/chat/completions",
        endpoint: Endpoint | None = None,
    ) -> None:
        self._endpoint = endpoint or Endpoint(base_url, key=key, headers=headers)
        self._url = self._endpoint.url(path)
        self._errors = ErrorReader(self._endpoint.secrets)
        self._learned: dict[str, tuple[Adaptation, ...]] = {}
        self._limits = _limits(read_seconds)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def open(
        self,
        payload: Mapping[str, Any],
        *,
        silence: float | None = None,
        adapts: bool = True,
        refused: UpstreamError | None = None,
        budget: RetryBudget | None = None,
        visitor_key: SecretStr | None = None,
        tape: RunTape | None = None,
    ) -> "Reply":
        """Send a request and return its streamed reply, which the caller closes.

        A request that failed before the first byte of the answer is retried up to `RETRIES`
        times if its failure may be temporary and `budget` is not spent. If it was refused for a part that can be left out,
        it is sent once more without that part.

        Args:
            payload: The request.
            silence: Seconds of one read; None for `read_seconds`.
            adapts: Whether parts may be left out.
            refused: The error with which the stream of the same request began, if it was sent
                before: what that error names is left out.
            budget: Of the answer that the request belongs to; one of its own when absent.
            visitor_key: Replaces the endpoint's key in this request and its repetitions alone.
            tape: Takes the request, its repetitions and what comes of them.

        Raises:
            RequestRefusedError: The server answered with an HTTP error.
            UpstreamError: No answer arrived.
        """
        model = str(payload.get("model"))
        request = AdaptedRequest(
            payload, self._learned.get(model, ()) if adapts else (), adapts=adapts
        )
        if refused is not None:
            self.clean(refused, payload, visitor_key)
            request.adapt(refused)
        limits = self._limits if silence is None else _limits(silence)
        sending = _Sending(request, limits, budget or RetryBudget(), visitor_key, model, tape)
        reply = await self._adapted(sending)
        learn = partial(self.learn, model, request.applied)
        if refused is None:
            learn()
            return reply
        # Such a server refuses in its stream: only a complete answer shows that it does not.
        reply.on_complete = learn
        return reply

    def can_adapt(self, error: UpstreamError, payload: Mapping[str, Any]) -> bool:
        """Return whether a stream's error names a part of the request that can be left out."""
        if error.details is None:
            return False
        learned = self._learned.get(str(payload.get("model")), ())
        return AdaptedRequest(payload, learned, adapts=True).refused_part(error) is not None

    def clean(
        self,
        error: UpstreamError,
        payload: Mapping[str, Any],
        visitor_key: SecretStr | None = None,
    ) -> None:
        """Strike out keys, and what is quoted of a request, in the details of an error.

        Args:
            error: An error that a stream reported.
            payload: The request.
            visitor_key: The key that it was sent with, where it is a visitor's.
        """
        if error.details is not None:
            errors = self._errors.striking(visitor_key)
            error.set_details(errors.cleaned(error.details, orjson.dumps(payload)))

    async def _adapted(self, sending: "_Sending") -> "Reply":
        first: UpstreamError | None = None
        request, budget = sending.request, sending.budget
        while True:
            try:
                reply = await self._send(sending)
            except UpstreamError as error:
                if not budget.is_spent and request.adapt(error):
                    first = first or error
                    continue
                if first is None or error.kind in LATER_KINDS:
                    raise
                raise first from error
            reply.adaptations = request.applied
            return reply

    async def _send(self, sending: "_Sending") -> "Reply":
        request, budget = sending.request, sending.budget

        async def attempt() -> "Reply":
            try:
                return await self._try(sending)
            except UpstreamError:
                budget.count()
                raise

        def pause_after(error: Exception, tries: int) -> float | None:
            if budget.is_spent or request.refused_part(error) is not None:
                return None
            return pause_before_retry(error, tries)

        return await retry(attempt, tries=RETRIES + 1, pause_after=pause_after)

    async def _try(self, sending: "_Sending") -> "Reply":
        request, tape = sending.request, sending.tape
        exchange = (
            tape.request(sending.model, request.applied, request.body) if tape is not None else None
        )
        try:
            answer = await self._post(sending)
        except UpstreamError as error:
            if exchange is not None:
                exchange.failed(error.kind)
            raise
        if exchange is not None:
            exchange.opened(answer.status, answer.headers)
        if answer.status == 200:
            return Reply(answer, exchange)
        body = await read_error_body(answer)
        if exchange is not None:
            exchange.received(body)
        details = self._errors.striking(sending.visitor_key)
        refusal = RequestRefusedError(
            answer.status, details.of_body(answer.status, body, request.body)
        )
        read_advice(refusal, answer.headers)
        raise refusal

    async def _post(self, sending: "_Sending") -> aiohttp.ClientResponse:
        request = sending.request
        accepted = "text/event-stream" if request.streams else "application/json"
        return await self._endpoint.post(
            self._session,
            self._url,
            lambda: request.body,
            headers={"content-type": "application/json", "accept": accepted},
            limits=sending.limits,
            visitor_key=sending.visitor_key,
        )

    def learn(self, model: str, applied: tuple[Adaptation, ...]) -> None:
        """Remember what the endpoint refuses for a model."""
        learned = self._learned.get(model, ())
        new = [part for part in applied if part not in learned]
        if not new:
            return
        while len(self._learned) >= MAX_MODELS and model not in self._learned:
            del self._learned[next(iter(self._learned))]
        self._learned[model] = (*learned, *new)
        for part in new:
            log.warning("the endpoint refuses %s for model %s, which is not sent", part, model)


class Reply:
    """The bytes of one streamed response.

    Args:
        answer: aiohttp's response, whose status line and headers have been read.
        exchange: Takes the bytes; None where nothing is recorded.

    Attributes:
        adaptations: Parts that were left out of the request, since the endpoint refuses them.
        on_complete: Called when a complete answer has been read.
    """

    def __init__(self, answer: aiohttp.ClientResponse, exchange: Exchange | None = None) -> None:
        self._answer = answer
        self._exchange = exchange
        self._body = ResponseBody(answer)
        self.adaptations: tuple[Adaptation, ...] = ()
        self.on_complete: Callable[[], None] | None = None

    async def read(self) -> bytes:
        """Wait for bytes and return all that have arrived; empty at the end of the response.

        Bytes that arrived before the connection broke are returned first.

        Raises:
            StreamSilentError: No data arrived within the read time-out.
            StreamCutError: The connection broke.
        """
        if self._exchange is None:
            return await self._read()
        try:
            data = await self._read()
        except UpstreamError as error:
            self._exchange.failed(error.kind)
            raise
        self._exchange.received(data)
        return data

    async def _read(self) -> bytes:
        try:
            return await self._body.read()
        except aiohttp.SocketTimeoutError as error:
            raise StreamSilentError from error
        except (aiohttp.ClientError, OSError) as error:
            if rest := self._body.rest(error):
                return rest
            raise StreamCutError from error

    def pause(self) -> None:
        """Stop reading from the socket."""
        self._body.pause()

    def resume(self) -> None:
        """Continue reading from the socket."""
        self._body.resume()

    def close(self) -> None:
        """Close the connection, which aborts an unfinished answer upstream."""
        self._answer.close()

    def release(self) -> None:
        """Return the connection of a complete answer to the pool."""
        if self.on_complete is not None:
            self.on_complete()
        self._answer.release()


def _limits(read_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=read_seconds)

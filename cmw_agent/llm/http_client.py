"""HTTP client of the model's server.

One connection pool serves all users, so it stores no cookies. Requests go directly
through aiohttp: the openai SDK inspects every message by its type hints and copies headers
and URLs at each layer, which takes longer than the rest of a turn's start; see
``docs/adr/0004-coalescing-at-the-source.md``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import aiohttp
import orjson

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

log = get_logger(__name__)

KEEPALIVE_SECONDS = 30.0
MAX_MODELS = 200  # whose adaptations are remembered
# Failures of an adapted request that are told in place of the first one: it got further.
LATER_KINDS = frozenset({"too_long", "rate_limited", "no_credit", "moderated", "timeout"})


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
    ) -> None:
        self._endpoint = Endpoint(base_url, key=key, headers=headers)
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

        Raises:
            RequestRefusedError: The server answered with an HTTP error.
            UpstreamError: No answer arrived.
        """
        model = str(payload.get("model"))
        request = AdaptedRequest(
            payload, self._learned.get(model, ()) if adapts else (), adapts=adapts
        )
        if refused is not None:
            self.clean(refused, payload)
            request.adapt(refused)
        limits = self._limits if silence is None else _limits(silence)
        reply = await self._adapted(request, limits, budget or RetryBudget())
        learn = partial(self._learn, model, request.applied)
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

    def clean(self, error: UpstreamError, payload: Mapping[str, Any]) -> None:
        """Strike out keys, and what is quoted of a request, in the details of an error.

        Args:
            error: An error that a stream reported.
            payload: The request.
        """
        if error.details is not None:
            error.set_details(self._errors.cleaned(error.details, orjson.dumps(payload)))

    async def _adapted(
        self, request: AdaptedRequest, limits: aiohttp.ClientTimeout, budget: RetryBudget
    ) -> "Reply":
        first: UpstreamError | None = None
        while True:
            try:
                reply = await self._send(request, limits, budget)
            except UpstreamError as error:
                if not budget.is_spent and request.adapt(error):
                    first = first or error
                    continue
                if first is None or error.kind in LATER_KINDS:
                    raise
                raise first from error
            reply.adaptations = request.applied
            return reply

    async def _send(
        self, request: AdaptedRequest, limits: aiohttp.ClientTimeout, budget: RetryBudget
    ) -> "Reply":
        async def attempt() -> "Reply":
            try:
                return await self._try(request, limits)
            except UpstreamError:
                budget.count()
                raise

        def pause_after(error: Exception, tries: int) -> float | None:
            if budget.is_spent or request.refused_part(error) is not None:
                return None
            return pause_before_retry(error, tries)

        return await retry(attempt, tries=RETRIES + 1, pause_after=pause_after)

    async def _try(self, request: AdaptedRequest, limits: aiohttp.ClientTimeout) -> "Reply":
        accepted = "text/event-stream" if request.streams else "application/json"
        answer = await self._endpoint.post(
            self._session,
            self._url,
            lambda: request.body,
            headers={"content-type": "application/json", "accept": accepted},
            limits=limits,
        )
        if answer.status == 200:
            return Reply(answer)
        body = await read_error_body(answer)
        details = self._errors.of_body(answer.status, body, request.body)
        error = RequestRefusedError(answer.status, details)
        read_advice(error, answer.headers)
        raise error

    def _learn(self, model: str, applied: tuple[Adaptation, ...]) -> None:
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

    Attributes:
        adaptations: Parts that were left out of the request, since the endpoint refuses them.
        on_complete: Called when a complete answer has been read.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
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

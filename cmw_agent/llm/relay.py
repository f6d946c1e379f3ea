"""Sends requests on to the model's endpoint as they are: embeddings, transcriptions."""

from dataclasses import dataclass
from functools import partial

import aiohttp
from pydantic import SecretStr

from cmw_agent.config.model_loader import OPENAI_URL
from cmw_agent.config.settings import Settings
from cmw_agent.core.bodies import CHUNK_BYTES, BodyTooLargeError, read_bounded
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.core.logs import get_logger
from cmw_agent.core.retry import retry
from cmw_agent.language import wording
from cmw_agent.llm.endpoint import CONNECT_SECONDS, Endpoint, failure_of, read_error_body
from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import NotAStreamError, RequestRefusedError, UpstreamError
from cmw_agent.llm.explanations import explain
from cmw_agent.llm.retries import RETRIES, pause_before_retry, read_advice
from cmw_agent.llm.visitor_keys import KeyMissingError, key_page

log = get_logger(__name__)

MAX_ANSWER = 67_108_864  # bytes
NO_ENDPOINT = wording("This app runs its demo model, and has no endpoint to pass this request to.")
REFUSED = wording(
    "The model's server did not accept this request; please check its model and its other fields."
)
# Kinds of failures that are the request's own.
OF_REQUEST = frozenset({"rejected", "too_long", "moderated", "no_such_model", "wrong_address"})


@dataclass(frozen=True, slots=True)
class RelayedAnswer:
    """What the endpoint has answered.

    Args:
        body: The whole body.
        media_type: Its type, without parameters.
    """

    body: bytes
    media_type: str


class EndpointRelay:
    """Client of the first model's endpoint for what is no chat; one connection for each request.

    Args:
        settings: URL, key and time-outs of the endpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key = settings.endpoint_key
        self._endpoint = Endpoint(
            settings.openai_base_url or OPENAI_URL,
            key=None if key is None else key.get_secret_value(),
            headers=settings.openai_headers(),
        )
        self._errors = ErrorReader(self._endpoint.secrets)
        self._limits = aiohttp.ClientTimeout(
            total=settings.turn_timeout,
            sock_connect=CONNECT_SECONDS,
            sock_read=settings.model_timeout,
        )

    async def send(
        self, path: str, body: bytes, content_type: str, visitor_key: SecretStr | None = None
    ) -> RelayedAnswer:
        """Return the endpoint's answer to a POST request.

        Args:
            path: Below the endpoint's address, such as `/embeddings`.
            body: The request's body.
            content_type: The body's type with its parameters.
            visitor_key: The caller's own key for the endpoint.

        Raises:
            InvalidMessageError: There is no endpoint.
            KeyMissingError: The endpoint needs a caller's own key.
            UserError: The endpoint does not accept the request, or has failed, also after the retries.
        """
        if self._settings.demo:
            raise InvalidMessageError(NO_ENDPOINT)
        if self._settings.needs_visitor_key and visitor_key is None:
            raise KeyMissingError(is_page=False, address=key_page(self._settings))
        has_key = visitor_key is not None
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
                ask = partial(self._ask, session, path, body, content_type, visitor_key)
                return await retry(ask, tries=RETRIES + 1, pause_after=pause_before_retry)
        except UpstreamError as error:
            is_its_own = error.kind in OF_REQUEST
            failure = (
                UserError(REFUSED, status=400)
                if is_its_own
                else explain(error, self._settings, has_visitor_key=has_key)
            )
            # What the endpoint says may quote the request.
            status = error.status_code if isinstance(error, RequestRefusedError) else None
            log.warning(
                "request not passed on", error_id=failure.error_id, kind=error.kind, status=status
            )
            raise failure from None

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: bytes,
        content_type: str,
        visitor_key: SecretStr | None,
    ) -> RelayedAnswer:
        answer = await self._endpoint.post(
            session,
            self._endpoint.url(path),
            lambda: body,
            headers={"content-type": content_type},
            limits=self._limits,
            visitor_key=visitor_key,
        )
        if answer.status != 200:
            errors = self._errors.striking(visitor_key)
            raise _refusal(errors, answer, await read_error_body(answer))
        try:
            async with answer:
                whole = await read_bounded(answer.content.iter_chunked(CHUNK_BYTES), MAX_ANSWER)
                return RelayedAnswer(whole, answer.content_type)
        except BodyTooLargeError as error:
            raise NotAStreamError from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise failure_of(error) from error


def _refusal(
    errors: ErrorReader, answer: aiohttp.ClientResponse, body: bytes
) -> RequestRefusedError:
    error = RequestRefusedError(answer.status, errors.of_body(answer.status, body, b""))
    read_advice(error, answer.headers)
    return error

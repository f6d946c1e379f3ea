"""Transcribes voice recordings at the model's endpoint: `/audio/transcriptions`."""

import asyncio
import io
from functools import partial
from pathlib import Path

import aiohttp
import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.bodies import CHUNK_BYTES, BodyTooLargeError, read_bounded
from cmw_agent.core.errors import InvalidMessageError, ModelFailedError
from cmw_agent.core.logs import get_logger
from cmw_agent.core.retry import retry
from cmw_agent.language import wording
from cmw_agent.llm.endpoint import CONNECT_SECONDS, Endpoint, failure_of, read_error_body
from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import NotAStreamError, RequestRefusedError, UpstreamError, log_fields
from cmw_agent.llm.explanations import SENTENCES as MODEL_SENTENCES
from cmw_agent.llm.retries import RETRIES, pause_before_retry, read_advice

log = get_logger(__name__)

NO_MODEL = wording("Recordings cannot be written down here: this app runs its demo model.")
NO_KEY = wording("Recordings cannot be written down here: this app has no key of its own.")
MAX_BYTES = 2_000_000  # of an answer
ENDINGS = {
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/webm": "webm",
    "audio/mp4": "m4a",
    "audio/amr": "amr",
    "audio/aac": "aac",
}
SENTENCES = {
    **{
        kind: MODEL_SENTENCES[kind]
        for kind in ("unauthorised", "no_credit", "rate_limited", "certificate", "unreachable")
    },
    "timeout": wording("Writing down this recording took too long; please send a shorter one."),
    "too_long": wording(
        "This recording is too long to be written down; please send a shorter one."
    ),
    "no_such_model": wording(
        "The model's server does not write down recordings; "
        "whoever runs this app should check CMW_TRANSCRIPTION_MODEL."
    ),
    "rejected": wording("The model's server could not read this recording."),
}


class Transcription:
    """Client of the endpoint's transcriptions; it opens one connection for each recording.

    Args:
        settings: URL, key, model and time-outs of the endpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._demo = settings.demo
        self._has_no_key = settings.needs_visitor_key
        key = settings.endpoint_key
        self._endpoint = Endpoint(
            settings.openai_base_url or "https://api.openai.com/v1",
            key=None if key is None else key.get_secret_value(),
            headers=settings.openai_headers(),
        )
        self._errors = ErrorReader(self._endpoint.secrets)
        self._model = settings.transcription_model
        self._limits = aiohttp.ClientTimeout(
            total=settings.turn_timeout,
            sock_connect=CONNECT_SECONDS,
            sock_read=settings.model_timeout,
        )

    def check(self) -> None:
        """Check that the app has an endpoint.

        Raises:
            InvalidMessageError: It runs the demo model, which transcribes nothing, or has no key of
                its own: visitors' keys are for their turns.
        """
        if self._demo:
            raise InvalidMessageError(NO_MODEL)
        if self._has_no_key:
            raise InvalidMessageError(NO_KEY)

    async def text(self, path: Path, media_type: str) -> str:
        """Return the transcript of the recording at `path`; raises as `text_of` does."""
        self.check()
        return await self.text_of(await asyncio.to_thread(path.read_bytes), media_type)

    async def text_of(self, recording: bytes, media_type: str) -> str:
        """Return the transcript of a recording.

        Raises:
            InvalidMessageError: There is no endpoint.
            ModelFailedError: The endpoint failed, also after the retries.
        """
        self.check()
        try:
            return await self._tried(recording, media_type)
        except UpstreamError as error:
            failure = ModelFailedError(
                SENTENCES.get(
                    error.kind, wording("This recording could not be written down; try again.")
                ),
                kind=error.kind,
            )
            fields = log_fields(error)
            log.warning(
                "transcription failed", error_id=failure.error_id, kind=error.kind, **fields
            )
            raise failure from None

    async def _tried(self, recording: bytes, media_type: str) -> str:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            ask = partial(self._ask, session, recording, media_type)
            return await retry(ask, tries=RETRIES + 1, pause_after=pause_before_retry)

    async def _ask(self, session: aiohttp.ClientSession, recording: bytes, media_type: str) -> str:
        answer = await self._endpoint.post(
            session,
            self._endpoint.url("/audio/transcriptions"),
            partial(self._form, recording, media_type),
            headers={},
            limits=self._limits,
        )
        if answer.status != 200:
            body = await read_error_body(answer)
            raise self._refusal(answer, body)
        try:
            async with answer:
                parts = answer.content.iter_chunked(CHUNK_BYTES)
                return _text_of(await read_bounded(parts, MAX_BYTES))
        except BodyTooLargeError as error:
            raise NotAStreamError from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise failure_of(error) from error

    def _form(self, recording: bytes, media_type: str) -> aiohttp.FormData:
        # The file's own name is not sent.
        form = aiohttp.FormData()
        form.add_field("model", self._model)
        form.add_field("response_format", "json")
        name = f"recording.{ENDINGS.get(media_type, 'mp3')}"
        form.add_field("file", io.BytesIO(recording), filename=name, content_type=media_type)
        return form

    def _refusal(self, answer: aiohttp.ClientResponse, body: bytes) -> RequestRefusedError:
        details = self._errors.of_body(answer.status, body, b"")
        error = RequestRefusedError(answer.status, details)
        if error.kind == "wrong_address":
            error.kind = "no_such_model"  # an endpoint without the route writes down nothing
        read_advice(error, answer.headers)
        return error


def _text_of(body: bytes) -> str:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotAStreamError from None
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise NotAStreamError
    return text.replace("\0", "").encode(errors="ignore").decode().strip()

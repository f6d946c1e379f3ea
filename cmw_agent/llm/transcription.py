"""Transcribes voice recordings at the model's endpoint: `/audio/transcriptions`."""

import asyncio
from functools import partial
from pathlib import Path

import aiohttp
import orjson

from cmw_agent.config.settings import Settings
from cmw_agent.core.bodies import CHUNK_BYTES, BodyTooLargeError, read_bounded
from cmw_agent.core.errors import InvalidMessageError, ModelFailedError
from cmw_agent.core.logs import get_logger
from cmw_agent.core.retry import retry
from cmw_agent.llm.errors import (
    NotAStreamError,
    RequestRefusedError,
    StreamCutError,
    StreamSilentError,
    UnreachableError,
    UpstreamError,
)
from cmw_agent.llm.http_client import CONNECT_SECONDS, RETRIED, RETRIES, has_proxy

log = get_logger(__name__)

NO_MODEL = "Recordings cannot be written down here: this app runs its demo model."
MAX_BYTES = 2_000_000  # of an answer
PAUSE = 0.5  # seconds before the second try, and double before the third
ENDINGS = {
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/webm": "webm",
    "audio/mp4": "m4a",
}
SENTENCES = {
    "timeout": "Writing down this recording took too long; please send a shorter one.",
    "unauthorised": "The model's server did not accept this app's key; "
    "whoever runs this app should check OPENAI_API_KEY.",
    "no_such_model": "The model's server does not write down recordings; "
    "whoever runs this app should check CMW_TRANSCRIPTION_MODEL.",
    "rate_limited": "The model is busy right now; please try again in a minute.",
    "rejected": "The model's server could not read this recording.",
}


class Transcription:
    """Client of the endpoint's transcriptions; it opens one connection for each recording.

    Args:
        settings: URL, key, model and time-outs of the endpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._demo = settings.demo
        base = settings.openai_base_url or "https://api.openai.com/v1"
        self._url = base.rstrip("/") + "/audio/transcriptions"
        key = settings.openai_api_key
        self._headers = {} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"}
        self._model = settings.transcription_model
        self._timeout = aiohttp.ClientTimeout(
            total=settings.turn_timeout,
            sock_connect=CONNECT_SECONDS,
            sock_read=settings.model_timeout,
        )

    def check(self) -> None:
        """Check that the app has an endpoint.

        Raises:
            InvalidMessageError: It runs the demo model, which transcribes nothing.
        """
        if self._demo:
            raise InvalidMessageError(NO_MODEL)

    async def text(self, path: Path, media_type: str) -> str:
        """Return the transcript of the recording at `path`.

        Raises:
            InvalidMessageError: There is no endpoint.
            ModelFailedError: The endpoint failed, also after the retries.
        """
        self.check()
        try:
            return await self._tried(path, media_type)
        except UpstreamError as error:
            failure = ModelFailedError(
                SENTENCES.get(error.kind, "This recording could not be written down; try again."),
                kind=error.kind,
            )
            log.warning("transcription failed", error_id=failure.error_id, kind=error.kind)
            raise failure from None

    async def _tried(self, path: Path, media_type: str) -> str:
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=has_proxy(self._url),
        ) as session:
            ask = partial(self._ask, session, path, media_type)
            return await retry(ask, tries=RETRIES + 1, pause_after=_pause_after)

    async def _ask(self, session: aiohttp.ClientSession, path: Path, media_type: str) -> str:
        # Made for each try: sending consumes the form. The file's own name is not sent.
        with await asyncio.to_thread(path.open, "rb") as recording:
            form = aiohttp.FormData()
            form.add_field("model", self._model)
            form.add_field("response_format", "json")
            name = f"recording.{ENDINGS.get(media_type, 'mp3')}"
            form.add_field("file", recording, filename=name, content_type=media_type)
            try:
                async with session.post(self._url, data=form, headers=self._headers) as answer:
                    if answer.status != 200:
                        raise RequestRefusedError(answer.status)
                    parts = answer.content.iter_chunked(CHUNK_BYTES)
                    return _text_of(await read_bounded(parts, MAX_BYTES))
            except BodyTooLargeError as error:
                raise NotAStreamError from error
            except TimeoutError as error:
                raise StreamSilentError from error
            except aiohttp.ClientConnectorError as error:
                raise UnreachableError from error
            except aiohttp.ClientError as error:
                raise StreamCutError from error


def _pause_after(error: Exception, tries: int) -> float | None:
    may_help = isinstance(error, UnreachableError | StreamCutError) or (
        isinstance(error, RequestRefusedError) and error.status_code in RETRIED
    )
    return PAUSE * 2 ** (tries - 1) if may_help else None


def _text_of(body: bytes) -> str:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotAStreamError from None
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise NotAStreamError
    return text.replace("\0", "").encode(errors="ignore").decode().strip()

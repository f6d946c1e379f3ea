"""The chat model from the settings, and what its failures mean to a user."""

import contextlib
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from cmw_agent.demo import DemoModel
from cmw_agent.errors import ModelFailed
from cmw_agent.settings import Settings
from cmw_agent.streaming import CoalescedCompletions, StreamSilent, UpstreamError, Window

CONNECT_SECONDS = 10.0
RETRIES = 2


@contextlib.asynccontextmanager
async def open_model(settings: Settings, window: Window) -> AsyncIterator[BaseChatModel]:
    """Make the app's one chat model and its connections; close them at the end.

    All users share the connections, so they keep no cookies: a cookie that one user's
    answer set would go out with another's request.
    """
    if settings.demo:
        yield DemoModel()
        return
    async with _http_client(settings) as http:
        key = settings.openai_api_key
        client = openai.AsyncOpenAI(
            # A local server asks for no key, yet the SDK wants one.
            api_key=key.get_secret_value() if key is not None else "none",
            base_url=settings.openai_base_url or "https://api.openai.com/v1",
            http_client=http,
            max_retries=RETRIES,
            timeout=_timeout(settings),
        )
        yield ChatOpenAI(
            model_name=settings.model,
            openai_api_key=SecretStr(client.api_key),
            openai_api_base=str(client.base_url),
            async_client=CoalescedCompletions(client, window),
            stream_usage=settings.stream_usage,
            # Reads have a time-out of their own, below; no second clock per chunk.
            stream_chunk_timeout=None,
            use_responses_api=False,
        )


@contextlib.asynccontextmanager
async def _http_client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    # One connection per running turn: the pool must never be what a turn waits for.
    size = settings.max_turns * 2
    client = openai.DefaultAioHttpClient(
        timeout=_timeout(settings),
        limits=httpx2.Limits(max_connections=size, max_keepalive_connections=size),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    # The SDK's transport would make an aiohttp session that keeps cookies.
    transport: Any = client._transport  # noqa: SLF001 (see above)
    transport.client = lambda: aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=size, keepalive_timeout=30, ssl=transport.ssl_context),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    async with client:
        yield client


def _timeout(settings: Settings) -> httpx2.Timeout:
    return httpx2.Timeout(settings.model_timeout, connect=CONNECT_SECONDS)


def explain(error: BaseException, settings: Settings) -> ModelFailed:
    """Return what `error`, raised while the model was asked, means to a user."""
    kind = classify(error)
    model = settings.model
    sentences = {
        "timeout": f"The model stayed silent for {settings.model_timeout:g} seconds; "
        "please try again.",
        "cut": "The connection to the model broke in the middle of the answer; please try again.",
        "not_a_stream": "The model's server sent something that is not an answer; "
        "whoever runs this app should check OPENAI_BASE_URL.",
        "refused": "The model's server reported an error in the middle of the answer; "
        "please try again.",
        "unauthorised": "The model's server did not accept this app's key; "
        "whoever runs this app should check OPENAI_API_KEY.",
        "no_such_model": f"The model's server does not know the model {model!r}; "
        "whoever runs this app should check CMW_MODEL and OPENAI_BASE_URL.",
        "rate_limited": "The model is busy right now; please try again in a minute.",
        "rejected": "The model's server did not accept this request; "
        "please rephrase the message or start a new chat.",
        "server_error": "The model's server has a problem; please try again in a moment.",
        "unreachable": "The model's server cannot be reached; please try again in a moment.",
        "too_many_steps": "The model called tools again and again without an answer; "
        "please ask in another way.",
    }
    return ModelFailed(sentences.get(kind), kind=kind)


def classify(error: BaseException) -> str:
    """Return a fixed word for the failure, fit for logs and metrics."""
    if isinstance(error, UpstreamError):
        return error.kind
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return StreamSilent.kind
    if isinstance(error, openai.APIConnectionError):
        return "unreachable"
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _by_status(status)
    if type(error).__name__ == "GraphRecursionError":
        return "too_many_steps"
    return "failed"


def _by_status(status: int) -> str:
    known = {401: "unauthorised", 403: "unauthorised", 404: "no_such_model", 429: "rate_limited"}
    if status in known:
        return known[status]
    if status == 408:
        return StreamSilent.kind
    return "server_error" if status >= 500 else "rejected"

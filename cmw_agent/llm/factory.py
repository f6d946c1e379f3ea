"""The chat model from the settings, and what its failures mean to a user."""

import contextlib
from collections.abc import AsyncIterator

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.llm.chat_model import CoalescedChatOpenAI
from cmw_agent.llm.coalescing import CoalescedCompletions, FlushInterval
from cmw_agent.llm.demo_model import DemoModel
from cmw_agent.llm.http_client import StreamSilentError, Upstream, UpstreamError


@contextlib.asynccontextmanager
async def open_model(settings: Settings, window: FlushInterval) -> AsyncIterator[BaseChatModel]:
    """Make the app's one chat model and its connections; close them at the end."""
    if settings.demo:
        yield DemoModel(pause=settings.demo_pause)
        return
    key = settings.openai_api_key
    base_url = settings.openai_base_url or "https://api.openai.com/v1"
    upstream = Upstream(
        base_url,
        key=key.get_secret_value() if key is not None else None,
        read_seconds=settings.model_timeout,
        # One connection per running turn: the pool must never be what a turn waits for.
        connections=settings.max_turns * 2,
    )
    completions = CoalescedCompletions(upstream, window)
    try:
        yield CoalescedChatOpenAI(
            model_name=settings.model,
            openai_api_base=base_url,
            openai_api_key=SecretStr("unused"),
            # Without both LangChain makes a client that nobody uses, with certificates and a key.
            client=completions,
            async_client=completions,
            streaming=True,
            stream_usage=settings.stream_usage,
            # Reads have a time-out of their own; no second clock per chunk.
            stream_chunk_timeout=None,
            use_responses_api=False,
        )
    finally:
        await upstream.close()


def explain(error: BaseException, settings: Settings) -> ModelFailedError:
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
    }
    return ModelFailedError(sentences.get(kind), kind=kind)


def classify(error: BaseException) -> str:
    """Return a fixed word for the failure, fit for logs and metrics."""
    if isinstance(error, UpstreamError):
        return error.kind
    if isinstance(error, TimeoutError):
        return StreamSilentError.kind
    return UpstreamError.kind

"""Builds the chat model from the settings, and explains its failures to users."""

import contextlib
from collections.abc import AsyncIterator

from langchain_core.language_models import BaseChatModel

from cmw_agent.config.model_loader import load_models
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.llm.catalog import open_models
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.errors import StreamSilentError, UpstreamError


@contextlib.asynccontextmanager
async def open_model(settings: Settings, interval: FlushInterval) -> AsyncIterator[BaseChatModel]:
    """Yield the settings' first model alone, and close its connections at the end.

    Args:
        settings: Endpoint and model; the demo model where they name none.
        interval: Time between two updates of a stream, shared by all streams.
    """
    async with open_models(settings, load_models(settings), interval) as catalog:
        yield catalog.default


def explain(error: BaseException, settings: Settings) -> ModelFailedError:
    """Return the error to show to the user for `error`, which a model call raised."""
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
    """Return the kind of a failure for logs and metrics, such as ``"timeout"``."""
    if isinstance(error, UpstreamError):
        return error.kind
    if isinstance(error, TimeoutError):
        return StreamSilentError.kind
    return UpstreamError.kind

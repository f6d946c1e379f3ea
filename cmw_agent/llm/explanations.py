"""Explains failures of the model to users: one sentence for each kind, which says what to do."""

from collections.abc import Mapping
from types import MappingProxyType

from cmw_agent.config.model_profiles import ModelProfile
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.llm.errors import StreamSilentError, UpstreamError

# {model} is the model's name, {seconds} how long it may be silent; the others name settings.
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "timeout": "The model stayed silent for {seconds:g} seconds; please try again.",
        "cut": "The connection to the model broke in the middle of the answer; please try again.",
        "not_a_stream": "The model's server sent something that is not an answer; "
        "whoever runs this app should check {address}.",
        "refused": "The model's server reported an error in the middle of the answer; "
        "please try again.",
        "unauthorised": "The model's server did not accept this app's key; "
        "whoever runs this app should check {key}.",
        "no_credit": "This app's account at the model's server has no credit or quota left; "
        "whoever runs this app should check its plan and billing.",
        "no_such_model": "The model's server does not know the model {model!r}; "
        "whoever runs this app should check {name}.",
        "wrong_address": "There is no model's server at the address that this app asks; "
        "whoever runs this app should check {address}, which often ends in /v1.",
        "certificate": "The certificate of the model's server is not trusted; "
        "whoever runs this app should name its authority in SSL_CERT_FILE.",
        "rate_limited": "The model is busy right now; please try again in a minute.",
        "too_long": "This conversation is longer than the model can read; "
        "please send a shorter message or start a new chat.",
        "moderated": "The model's server refused this message under its content rules; "
        "please rephrase it or start a new chat.",
        "rejected": "The model's server did not accept this request; "
        "please rephrase the message or start a new chat.",
        "server_error": "The model's server has a problem; please try again in a moment.",
        "unreachable": "The model's server cannot be reached; please try again in a moment.",
        "too_large": "The model's answer was larger than this app reads; "
        "please ask for a shorter one.",
        "blank": "The model's answer was empty; please try again.",
        "withheld": "The model's server withheld this answer under its content rules; "
        "please rephrase the message.",
        "thoughts_only": "The model stopped thinking before it answered; "
        "please try again or ask for less at once.",
        "cut_call": "The model's limit cut off a tool's call, which did not run; "
        "please ask for less at once.",
    }
)

# Where whoever runs the app finds what is wrong: in the settings, or in the file of models.
OF_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "address": "OPENAI_BASE_URL",
        "key": "OPENAI_API_KEY",
        "name": "CMW_MODEL and OPENAI_BASE_URL",
    }
)
OF_FILE: Mapping[str, str] = MappingProxyType(
    {
        "address": "the model's endpoint in agents.toml",
        "key": "the model's key in agents.toml",
        "name": "the model's name and endpoint in agents.toml",
    }
)


def explain(
    error: BaseException, settings: Settings, profile: ModelProfile | None = None
) -> ModelFailedError:
    """Return the error to show to the user for `error`, which a model call raised.

    Args:
        error: The failure.
        settings: Those of the first model.
        profile: Of the model that was asked, where it is not the first one.
    """
    kind = classify(error)
    sentence = SENTENCES.get(kind)
    if sentence is not None:
        is_own = profile is None or profile.base_url == settings.openai_base_url
        sentence = sentence.format(
            model=profile.name if profile is not None else settings.model,
            seconds=profile.silence if profile is not None else settings.model_timeout,
            **(OF_SETTINGS if is_own else OF_FILE),
        )
    return ModelFailedError(sentence, kind=kind)


def classify(error: BaseException) -> str:
    """Return the kind of a failure for logs and metrics, such as ``"timeout"``."""
    if isinstance(error, UpstreamError):
        return error.kind
    if isinstance(error, TimeoutError):
        return StreamSilentError.kind
    return UpstreamError.kind

"""Explains failures of the model to users: one sentence for each kind, which says what to do."""

from collections.abc import Mapping
from types import MappingProxyType

from cmw_agent.config.model_profiles import ModelProfile
from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import ModelFailedError
from cmw_agent.language import Wording, wording
from cmw_agent.llm.errors import StreamSilentError, UpstreamError

# {model} is the model's name, {seconds} how long it may be silent; the others name settings.
SENTENCES: Mapping[str, Wording] = MappingProxyType(
    {
        "timeout": wording("The model stayed silent for {seconds} seconds; please try again."),
        "cut": wording(
            "The connection to the model broke in the middle of the answer; please try again."
        ),
        "not_a_stream": wording(
            "The model's server sent something that is not an answer; "
            "whoever runs this app should check {address}."
        ),
        "refused": wording(
            "The model's server reported an error in the middle of the answer; please try again."
        ),
        "unauthorised": wording(
            "The model's server did not accept this app's key; "
            "whoever runs this app should check {key}."
        ),
        "no_credit": wording(
            "This app's account at the model's server has no credit or quota left; "
            "whoever runs this app should check its plan and billing."
        ),
        "no_such_model": wording(
            "The model's server does not know the model {model}; "
            "whoever runs this app should check {name}."
        ),
        "wrong_address": wording(
            "There is no model's server at the address that this app asks; "
            "whoever runs this app should check {address}, which often ends in /v1."
        ),
        "certificate": wording(
            "The certificate of the model's server is not trusted; "
            "whoever runs this app should name its authority in SSL_CERT_FILE."
        ),
        "rate_limited": wording("The model is busy right now; please try again in a minute."),
        "too_long": wording(
            "This conversation is longer than the model can read; "
            "please send a shorter message or start a new chat."
        ),
        "moderated": wording(
            "The model's server refused this message under its content rules; "
            "please rephrase it or start a new chat."
        ),
        "rejected": wording(
            "The model's server did not accept this request; "
            "please rephrase the message or start a new chat."
        ),
        "server_error": wording("The model's server has a problem; please try again in a moment."),
        "unreachable": wording(
            "The model's server cannot be reached; please try again in a moment."
        ),
        "too_large": wording(
            "The model's answer was larger than this app reads; please ask for a shorter one."
        ),
        "blank": wording("The model's answer was empty; please try again."),
        "withheld": wording(
            "The model's server withheld this answer under its content rules; "
            "please rephrase the message."
        ),
        "thoughts_only": wording(
            "The model stopped thinking before it answered; "
            "please try again or ask for less at once."
        ),
        "cut_call": wording(
            "The model's limit cut off a tool's call, which did not run; "
            "please ask for less at once."
        ),
    }
)

# Where whoever runs the app finds what is wrong: in the settings, or in the file of models.
OF_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "address": "OPENAI_BASE_URL",
        "key": "OPENAI_API_KEY",
        "name": wording("CMW_MODEL and OPENAI_BASE_URL"),
    }
)
OF_FILE: Mapping[str, str] = MappingProxyType(
    {
        "address": wording("the model's endpoint in agents.toml"),
        "key": wording("the model's key in agents.toml"),
        "name": wording("the model's name and endpoint in agents.toml"),
    }
)


# The same, where the request has brought the visitor's own key.
OF_VISITOR: Mapping[str, Wording] = MappingProxyType(
    {
        "unauthorised": wording("The model's server did not accept your key; please check it."),
        "no_credit": wording(
            "Your account at the model's server has no credit or quota left; "
            "please check its plan and billing."
        ),
    }
)


def explain(
    error: BaseException,
    settings: Settings,
    profile: ModelProfile | None = None,
    *,
    has_visitor_key: bool = False,
) -> ModelFailedError:
    """Return the error to show to the user for `error`, which a model call raised.

    Args:
        error: The failure.
        settings: Those of the first model.
        profile: Of the model that was asked, where it is not the first one.
        has_visitor_key: Whether it was asked with the visitor's own key.
    """
    kind = classify(error)
    own = OF_VISITOR.get(kind) if has_visitor_key else None
    sentence = own or SENTENCES.get(kind)
    if sentence is not None:
        is_own = profile is None or profile.base_url == settings.openai_base_url
        seconds = profile.silence if profile is not None else settings.model_timeout
        sentence = sentence.using(
            model=repr(profile.name if profile is not None else settings.model),
            seconds=f"{seconds:g}",
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

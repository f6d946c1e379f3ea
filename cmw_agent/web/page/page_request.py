"""Reads what a request of the page carries: principal, session key and the values of the event."""

import secrets

import gradio as gr
import orjson
from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError, MissingSessionError
from cmw_agent.core.time_zones import zone_names
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.language import Language, languages, wording
from cmw_agent.language.request_language import request_language
from cmw_agent.llm.visitor_keys import visitor_key
from cmw_agent.observability.observers import request_id_of
from cmw_agent.web.security.guard import PRINCIPAL

MAX_KEY_CHARS = 100
ZONE = "x-cmw-zone"  # the header with the time zone of the page's user


def identify(request: gr.Request | None) -> tuple[SessionKey, Principal]:
    """Return the session key and the principal that the guard has put into a request.

    Raises:
        MissingSessionError: The request did not pass the guard, or carries no session hash.
        MalformedSessionError: The session hash is not one that the guard derives.
    """
    if request is None or request.request is None:
        raise MissingSessionError
    principal = request.request.scope.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise MissingSessionError
    return SessionKey.parse(request.session_hash), principal


def time_zone(request: gr.Request) -> str | None:
    """Return the IANA name of the time zone that the page says its user is in; None for others."""
    name = request.request.headers.get(ZONE, "") if request.request is not None else ""
    return zone_names().get(name.lower())


def language_of(request: gr.Request) -> Language:
    """Return the language in which the page that sent a request is drawn."""
    if request.request is None:
        return languages().english
    return request_language(request.request.scope)


def model_key(request: gr.Request, settings: Settings) -> SecretStr | None:
    """Return the user's own key for the model, which the page sends with each turn.

    Raises:
        InvalidMessageError: It cannot be one.
    """
    return visitor_key(request.request.headers, settings) if request.request is not None else None


def request_id(request: gr.Request) -> str:
    """Return the id of the request in the logs."""
    return request_id_of(request.request.scope) if request.request is not None else "-"


def idempotency_key(value: object) -> str:
    """Return the key that the page sent with a message, or a fresh one."""
    is_key = isinstance(value, str) and 0 < len(value) <= MAX_KEY_CHARS
    return str(value) if is_key else secrets.token_urlsafe(16)


def file_ids(value: object) -> tuple[str, ...]:
    """Return the ids of the attached files, which the page sends as a JSON list of strings.

    Raises:
        InvalidMessageError: `value` is not such a list.
    """
    if not isinstance(value, str) or not value:
        return ()
    try:
        ids = orjson.loads(value)
    except orjson.JSONDecodeError:
        ids = None
    if not isinstance(ids, list) or not all(isinstance(file_id, str) for file_id in ids):
        raise InvalidMessageError(wording("The attached files are not named as they should be."))
    return tuple(ids)


def model_choice(value: object) -> tuple[str | None, str | None]:
    """Return the model and the effort that the page sent with a message; None for what it left out.

    The page sends the model's id, or a list of the id and the effort where the model has one.
    """
    parts = value if isinstance(value, list) else [value]
    model, effort = (*parts, None, None)[:2]
    return (
        model if isinstance(model, str) else None,
        effort if isinstance(effort, str) else None,
    )


def message_seq(value: object) -> int | None:
    """Return the seq of a message that the page or its address names; None without one."""
    is_seq = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9
    return int(str(value)) if is_seq else None

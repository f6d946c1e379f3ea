"""Finds the errors that servers report inside a reply with status 200, in all their shapes.

Known shapes: ``{"error": {…}}``, ``{"error": "…"}``, ``{"object": "error", …}``, ``{"detail": …}``,
``{"message": …, "code": …}``, ``{"errors": […]}``, an error inside a choice, ``event: error``.
"""

from collections.abc import Mapping
from typing import Any

from cmw_agent.llm.errors import ErrorDetails, StreamCutError, StreamRefusedError, UpstreamError

MAX_MESSAGE = 300  # characters
# Fields that report an error in an object that is no chunk.
ERROR_FIELDS = (
    "error",
    "errors",
    "detail",
    "message",
    "error_message",
    "error_msg",
    "errorMessage",
)
MESSAGE_FIELDS = (
    "message", "detail", "error_message", "error_msg", "errorMessage", "msg", "status_msg",
    "error", "errors", "base_resp",
)  # fmt: skip
STATUS_FIELDS = ("status", "status_code", "http_status", "http_code", "code", "error_code")
CODE_FIELDS = ("code", "error_code", "status")
MAX_DEPTH = 4  # of errors within errors
RETRIED_STATUSES = frozenset({408, 409, 425, 429})
NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_credits"})


def error_in(value: Mapping[str, Any]) -> StreamRefusedError | None:
    """Return the error that an object of the stream reports, or None if it is not an error."""
    if value.get("error") or value.get("object") == "error" or value.get("type") == "error":
        return refusal(value)
    choices = value.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return refusal(choice)
    if not choices and not value.get("usage") and _is_failure(value):
        return refusal(value)
    return None


def refusal(value: Any) -> StreamRefusedError:
    """Return the error for what a server said of a failure: a text, or an object of any shape."""
    layers = list(_layers(value))
    return StreamRefusedError(
        ErrorDetails(
            status=next((n for layer in layers if (n := _status(layer)) is not None), None),
            code=_first(layers, CODE_FIELDS),
            type=_first(layers, ("type", "error_type")),
            param=_first(layers, ("param",)),
            message=_message(value, MAX_DEPTH).strip()[:MAX_MESSAGE],
        )
    )


def may_pass(error: UpstreamError) -> bool:
    """Return whether the same request may succeed after a reply that failed with `error`."""
    if not isinstance(error, StreamRefusedError):
        return isinstance(error, StreamCutError)
    details = error.details or ErrorDetails()
    if NO_CREDIT & {details.code, details.type}:
        return False
    status = details.status
    return status is None or status >= 500 or status in RETRIED_STATUSES


def _is_failure(value: Mapping[str, Any]) -> bool:
    """Return whether an object without choices tells of a failure rather than of something else."""
    if isinstance(value.get("message"), dict):  # Ollama's own protocol
        return False
    if any(value.get(name) for name in ERROR_FIELDS):
        return True
    base = value.get("base_resp")  # MiniMax
    return bool(value.get("code") and value.get("msg")) or bool(
        isinstance(base, dict) and base.get("status_code")
    )


def _layers(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of an error, the innermost first."""
    layers: list[Mapping[str, Any]] = []
    for _ in range(MAX_DEPTH):
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict):
            break
        layers.append(value)
        inner = (value.get(name) for name in ("error", "errors", "detail", "base_resp"))
        value = next((item for item in inner if item), None)
    return layers[::-1]


def _status(layer: Mapping[str, Any]) -> int | None:
    for name in STATUS_FIELDS:
        value = layer.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _first(layers: list[Mapping[str, Any]], names: tuple[str, ...]) -> str | None:
    for layer in layers:
        for name in names:
            value = layer.get(name)
            if isinstance(value, str | int) and value:
                return str(value)[:MAX_MESSAGE]
    return None


def _message(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and depth:
        for name in MESSAGE_FIELDS:
            if value.get(name) and (message := _message(value[name], depth - 1)):
                return message
    return value if isinstance(value, str) else ""

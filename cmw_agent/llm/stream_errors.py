"""Finds the errors that servers report inside a reply with status 200, in all their shapes.

Known shapes: ``{"error": {…}}``, ``{"error": "…"}``, ``{"object": "error", …}``, ``{"detail": …}``,
``{"message": …, "code": …}``, ``{"errors": […]}``, an error inside a choice, ``event: error``.
"""

from collections.abc import Mapping
from typing import Any

from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import StreamRefusedError

# Fields that report an error in an object that is no chunk.
ERROR_FIELDS = ("errors", "detail", "message", "error_message", "error_msg", "errorMessage")


def error_in(value: Mapping[str, Any]) -> StreamRefusedError | None:
    """Return the error that an object of the stream reports, or None if it is not an error."""
    if value.get("error") or value.get("object") == "error" or value.get("type") == "error":
        return refusal(value)
    choices = value.get("choices")
    if not choices:
        return refusal(value) if _is_failure(value) else None
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return refusal(choice)
    return None


def refusal(value: Any) -> StreamRefusedError:
    """Return the error for what a server said of a failure: a text, or an object of any shape."""
    return StreamRefusedError(ErrorReader(()).of_event(value, b""))


def _is_failure(value: Mapping[str, Any]) -> bool:
    """Return whether an object without choices tells of a failure rather than of something else."""
    if value.get("usage") or isinstance(value.get("message"), dict):  # Ollama's own protocol
        return False
    if any(value.get(name) for name in ERROR_FIELDS):
        return True
    base = value.get("base_resp")  # MiniMax
    is_refused = isinstance(base, dict) and bool(base.get("status_code"))
    return is_refused or bool(value.get("code") and value.get("msg"))

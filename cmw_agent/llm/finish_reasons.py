"""How servers say that an answer ended, in one vocabulary."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cmw_agent.core.events import FinishReason
from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

_WORDS: Mapping[FinishReason, tuple[str, ...]] = MappingProxyType({
    "stop": (
        "stop", "stopped", "tool_calls", "tool_call", "tool_use", "function_call", "end_turn", "eos",
        "eos_token", "stop_sequence", "stop_token", "end", "done", "complete", "completed",
        "finished", "finish", "success", "pause_turn", "endoftext",
    ),
    "length": (
        "length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length",
        "max_new_tokens", "model_length", "token_limit", "context_length", "context_window",
        "model_context_window_exceeded", "context_length_exceeded", "incomplete", "truncated",
    ),
    "content_filter": (
        "content_filter", "content_filtered", "contentfilter", "guardrail_intervened", "safety",
        "recitation", "blocklist", "prohibited_content", "spii", "image_safety",
        "image_prohibited_content", "language", "sensitive", "refusal", "moderation", "blocked",
        "error_toxic",
    ),
    "error": (
        "error", "network_error", "failed", "failure", "abort", "aborted", "cancelled", "canceled",
        "timeout", "insufficient_system_resource", "malformed_function_call",
        "unexpected_tool_call", "too_many_tool_calls", "server_error", "error_limit", "other",
    ),
})  # fmt: skip
REASONS = MappingProxyType({word: reason for reason, words in _WORDS.items() for word in words})
PREFIX = "finish_reason_"
MAX_LOGGED = 40  # characters of a word that nobody knows


def finish_reason(value: Any) -> FinishReason | None:
    """Return what a server's word means; None where it gave none.

    A word that is not known counts as ``stop``: the text that came is whole for all one knows.
    """
    if not isinstance(value, str) or not value.strip():
        return None
    if (reason := REASONS.get(value)) is not None:
        return reason
    plain = value.strip().lower().replace("-", "_").replace(" ", "_").removeprefix(PREFIX)
    if plain in ("null", "none", "finish_reason_unspecified", "unspecified"):
        return None
    # Gemini's "function_call_filter: MALFORMED_FUNCTION_CALL"
    reason = REASONS.get(plain) or REASONS.get(plain.rpartition(":")[2].strip("_ "))
    if reason is None:
        log.warning("unknown finish reason", word=plain[:MAX_LOGGED])
    return reason or "stop"

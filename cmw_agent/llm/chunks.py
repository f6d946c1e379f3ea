"""Reads the JSON of a streamed completion's events, and brings its shapes to one.

Format: https://platform.openai.com/docs/api-reference/chat-streaming. Every chunk that this module
returns has a list of choices, each an object whose ``delta`` is an object.
"""

import json
from typing import Any

import orjson

from cmw_agent.llm.errors import NotAStreamError
from cmw_agent.llm.stream_errors import error_in
from cmw_agent.llm.text_joiner import clean_text

Chunk = dict[str, Any]

# Fields whose text comes in pieces, and which are cleaned once these are joined.
SPLIT = frozenset(
    {"content", "reasoning_content", "reasoning", "thinking", "reasoning_text", "arguments"}
)


def read_json(payload: bytes) -> Any:
    """Return the value of a JSON text, also one with NaN, lone surrogates or bytes that are not UTF-8.

    Half a character stays in `SPLIT` fields, where the other half may follow, and is U+FFFD elsewhere.

    Raises:
        NotAStreamError: It is not JSON.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    try:
        text = payload.decode("utf-8", "surrogateescape")
        return _cleaned(json.loads(text, strict=False))
    except (ValueError, RecursionError) as error:
        raise NotAStreamError from error


def chunks_of(value: Any) -> list[Chunk]:
    """Return the chunks of an event's JSON: one, none where it is no part of an answer, or a list.

    Raises:
        StreamRefusedError: It reports an error.
        NotAStreamError: It is neither a chunk nor an error.
    """
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [chunk for item in value for chunk in chunks_of(item)]
    if not isinstance(value, dict):
        raise NotAStreamError
    if error := error_in(value):
        raise error
    choices = value.get("choices")
    if choices is None:
        return [{**value, "choices": []}] if value.get("usage") else []
    if not isinstance(choices, list):
        raise NotAStreamError
    for choice in choices:
        if not isinstance(choice, dict):
            raise NotAStreamError
        if not isinstance(choice.get("delta"), dict):
            return [{**value, "choices": [_with_delta(choice) for choice in choices]}]
    return [value]


def has_message(chunk: Chunk) -> bool:
    """Return whether a chunk holds messages instead of deltas."""
    for choice in chunk["choices"]:  # noqa: SIM110 (a generator takes three times as long)
        if choice.get("message") is choice["delta"]:
            return True
    return False


def has_content(chunk: Chunk) -> bool:
    """Return whether a chunk has part of the answer: text, thoughts, a tool call or the like."""
    return any(
        value
        for choice in chunk["choices"]
        for key, value in choice["delta"].items()
        if key != "role"
    )


def without_message(chunk: Chunk) -> Chunk:
    """Return a chunk without its whole message, which some servers send after its deltas."""
    choices = [
        {**choice, "delta": {}} if choice.get("message") is choice["delta"] else choice
        for choice in chunk["choices"]
    ]
    return {**chunk, "choices": choices}


def _with_delta(choice: Any) -> dict[str, Any]:
    """Return a choice whose `delta` is an object, made of its message or text if it has none."""
    if not isinstance(choice, dict):
        raise NotAStreamError
    delta, message = choice.get("delta"), choice.get("message")
    if isinstance(delta, dict):
        return choice
    if delta:
        raise NotAStreamError
    if isinstance(message, str):
        message = {"content": message}
    if isinstance(message, dict):
        return {**choice, "message": message, "delta": message}
    text = choice.get("text")
    return {**choice, "delta": {"content": text} if text else {}}


def _cleaned(value: Any) -> Any:
    """Return a JSON value without surrogates, except in texts that come in pieces."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {
            clean_text(key): item if key in SPLIT and isinstance(item, str) else _cleaned(item)
            for key, item in value.items()
        }
    return value

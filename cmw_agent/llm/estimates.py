"""Estimates the tokens of a model call whose server has reported none: cut, stopped, or silent.

Close enough to charge for, without a tokenizer; see `memory.conversations.context_window.tokens_in`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from cmw_agent.llm.http_client import StreamSilentError
from memory.conversations.context_window import MESSAGE_TOKENS, tokens_in

IMAGE_TOKENS = 1_000  # of one picture, whatever its size
BYTES_PER_TOKEN = 4  # of JSON


def is_chargeable(error: BaseException, *, has_begun: bool) -> bool:
    """Return whether a call that ended by `error` has made its server work.

    Args:
        error: What the call ended by.
        has_begun: Whether any of the answer came. Before that, a server that refuses has done
            nothing; one that was stopped, or was too slow, was at work.
    """
    stopped = not isinstance(error, Exception)
    return has_begun or stopped or isinstance(error, StreamSilentError | TimeoutError)


def prompt_tokens(contents: Iterable[Any], tools: Iterable[Any] = ()) -> int:
    """Return about how many tokens a request has.

    Args:
        contents: The content of each message: a text or a list of OpenAI's content parts.
        tools: What the model is told of each tool, as JSON values.
    """
    tokens = sum(MESSAGE_TOKENS + _content_tokens(content) for content in contents)
    return tokens + sum(len(orjson.dumps(tool)) // BYTES_PER_TOKEN for tool in tools)


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return tokens_in(content)
    parts = content if isinstance(content, list) else ()
    return sum(_part_tokens(part) for part in parts)


def _part_tokens(part: Any) -> int:
    if isinstance(part, Mapping):
        text = part.get("text")
        return tokens_in(text) if isinstance(text, str) else IMAGE_TOKENS
    return tokens_in(part) if isinstance(part, str) else 0
